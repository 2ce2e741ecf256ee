"""Gemini's wire, of AI Studio and Vertex AI."""

from functools import partial

from infron.wires.gemini.decoder import MEDIA_TYPE, Decoder, parse_error
from infron.wires.gemini.request import encode_request
from infron.wires.whole import by_address

DEFAULTS = {
    "chat_path": "/models/{model}:streamGenerateContent?alt=sse",
    "version_path": "/v1beta",
    "models_path": "/models?pageSize=1000",
    "auth": {"header": "x-goog-api-key", "scheme": ""},
    "usage": "always",
    "also": {"openai-embeddings": {"wire": "gemini-embeddings", "path": "/models/{model}:batchEmbedContents"}},
}
CAN_CALL = False
whole_request = partial(by_address, streams=":streamGenerateContent?alt=sse", whole=":generateContent")

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]
