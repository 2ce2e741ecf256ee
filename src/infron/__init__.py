"""Infron: a streaming gateway for language models. One OpenAI-compatible API in front of any provider."""

__version__ = "0.1.0"
