"""OpenAI's embeddings API, both sides: its answers come whole, there is no stream."""

from infron.wires.errors import parse_error, render_error
from infron.wires.openai.embeddings.answer import Accumulator, Encoder
from infron.wires.openai.embeddings.decoder import Decoder
from infron.wires.openai.embeddings.request import NAME, NEAR, PATHS, encode_request, no_conversation, parse
from infron.wires.unstreamed import MEDIA_TYPE

DEFAULTS = {"chat_path": "/embeddings", "usage": "always", "completes": False}
CAN_CALL = False
ID_HEADER = b""
whole_request = None

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
    "no_conversation",
    "parse",
    "parse_error",
    "render_error",
    "whole_request",
]
