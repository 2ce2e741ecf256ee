"""OpenAI's wire formats, a folder an API."""
