"""Anthropic's Messages wire, both directions."""

from infron.wires.anthropic.decoder import MEDIA_TYPE, Decoder, parse_error
from infron.wires.anthropic.encoder import Encoder, Folder, render_error
from infron.wires.anthropic.parse import parse_request
from infron.wires.anthropic.request import encode_request

__all__ = [
    "MEDIA_TYPE",
    "Decoder",
    "Encoder",
    "Folder",
    "encode_request",
    "parse_error",
    "parse_request",
    "render_error",
]
