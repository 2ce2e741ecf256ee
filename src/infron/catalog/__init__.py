"""Who serves which model, where and how: definitions of providers and models, loaded and checked."""
