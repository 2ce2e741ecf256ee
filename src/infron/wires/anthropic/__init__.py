"""Anthropic's Messages wire, both sides."""

from infron.wires.anthropic.answer import Accumulator
from infron.wires.anthropic.client_request import NAME, NEAR, PATHS, parse
from infron.wires.anthropic.decoder import MEDIA_TYPE, parse_error
from infron.wires.anthropic.encoder import Encoder, render_error
from infron.wires.anthropic.request import encode_request
from infron.wires.anthropic.verbatim import Decoder
from infron.wires.whole import by_member

DEFAULTS = {
    "version_path": "/v1",  # Anthropic's libraries want the address without it
    "chat_path": "/messages",
    "models_path": "/models?limit=1000",
    "auth": {"header": "x-api-key", "scheme": ""},
    "headers": {"anthropic-version": "2023-06-01"},
    "usage": "always",
}
CAN_CALL = False
ID_HEADER = b"request-id"
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
