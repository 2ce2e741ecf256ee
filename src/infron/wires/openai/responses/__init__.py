"""OpenAI's Responses API, both sides."""

from infron.wires.errors import render_error
from infron.wires.openai.responses.decoder import MEDIA_TYPE, parse_error
from infron.wires.openai.responses.encoder import Accumulator, Encoder
from infron.wires.openai.responses.parse import NAME, NEAR, PATHS, parse
from infron.wires.openai.responses.request import encode_request
from infron.wires.openai.responses.verbatim import Decoder
from infron.wires.whole import by_member

DEFAULTS = {"chat_path": "/responses", "usage": "always"}
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
