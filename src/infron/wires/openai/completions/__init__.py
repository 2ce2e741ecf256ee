"""OpenAI's legacy completions API, both sides: text that goes on from a prompt, without turns."""

from infron.wires.errors import parse_error, render_error
from infron.wires.openai.completions.answer import Accumulator, Encoder
from infron.wires.openai.completions.decoder import MEDIA_TYPE, Decoder
from infron.wires.openai.completions.request import NAME, NEAR, PATHS, encode_request, parse

DEFAULTS = {"chat_path": "/completions", "usage": "try"}
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
    "parse",
    "parse_error",
    "render_error",
    "whole_request",
]
