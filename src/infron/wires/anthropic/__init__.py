"""Anthropic's Messages wire, both sides."""

from infron.wires.anthropic.client_request import NAME, PATHS, parse
from infron.wires.anthropic.decoder import MEDIA_TYPE, Decoder, parse_error
from infron.wires.anthropic.encoder import Accumulator, Encoder, render_error
from infron.wires.anthropic.request import encode_request

__all__ = [
    "MEDIA_TYPE",
    "NAME",
    "PATHS",
    "Accumulator",
    "Decoder",
    "Encoder",
    "encode_request",
    "parse",
    "parse_error",
    "render_error",
]
