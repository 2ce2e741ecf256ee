"""The chat completions wire, both directions."""

from infron.wires.errors import error_object, parse_error, render_error
from infron.wires.openai.chat.answer import Folder, cost_members, usage_object
from infron.wires.openai.chat.request import encode_request, parse_request
from infron.wires.openai.chat.stream import MEDIA_TYPE, Decoder, Encoder

__all__ = [
    "MEDIA_TYPE",
    "Decoder",
    "Encoder",
    "Folder",
    "cost_members",
    "encode_request",
    "error_object",
    "parse_error",
    "parse_request",
    "render_error",
    "usage_object",
]
