"""Cohere's chat wire."""

from infron.wires.cohere.decoder import MEDIA_TYPE, Decoder, parse_error
from infron.wires.cohere.request import encode_request
from infron.wires.whole import by_member

DEFAULTS = {
    "chat_path": "/v2/chat",
    "usage": "always",
    "also": {"openai-embeddings": {"wire": "cohere-embeddings", "path": "/v2/embed"}},
}
CAN_CALL = False
whole_request = by_member

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]
