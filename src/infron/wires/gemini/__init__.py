"""Gemini's wire, of AI Studio and Vertex AI, both sides."""

from functools import partial

from infron.wires.gemini.client_request import NAME, NEAR, PATHS, parse
from infron.wires.gemini.decoder import MEDIA_TYPE, parse_error
from infron.wires.gemini.encoder import Accumulator, Encoder, render_error
from infron.wires.gemini.request import encode_request
from infron.wires.gemini.verbatim import Decoder
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
ID_HEADER = b""
whole_request = partial(by_address, streams=":streamGenerateContent?alt=sse", whole=":generateContent")

__all__ = [
    "CAN_CALL",
    "DEFAULTS",
    "ID_HEADER",
    "MEDIA_TYPE",
    "NAME",
    "NEAR",
    "PATHS",
    "Accumulator",
    "Decoder",
    "Encoder",
    "encode_request",
    "parse",
    "parse_error",
    "render_error",
    "whole_request",
]
