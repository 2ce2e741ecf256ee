"""`infron providers probe`: what disconnecting does at a provider, by experiment."""
