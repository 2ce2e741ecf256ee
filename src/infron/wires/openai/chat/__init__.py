"""The chat completions wire, both sides."""

from infron.wires.errors import parse_error, render_error
from infron.wires.openai.chat.answer import Accumulator
from infron.wires.openai.chat.decoder import MEDIA_TYPE
from infron.wires.openai.chat.encoder import Encoder
from infron.wires.openai.chat.neutral import Decoder
from infron.wires.openai.chat.request import NAME, NEAR, PATHS, encode_request, parse
from infron.wires.whole import by_member

DEFAULTS = {
    "chat_path": "/chat/completions",
    "usage": "try",
    "also": {"openai-completions": {"path": "/completions"}, "openai-embeddings": {"path": "/embeddings"}},
}
CAN_CALL = False
ID_HEADER = b""
whole_request = by_member

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
