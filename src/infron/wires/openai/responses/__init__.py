"""OpenAI's Responses API, the client's side."""

from infron.wires.errors import render_error
from infron.wires.openai.responses.encoder import MEDIA_TYPE, Accumulator, Encoder
from infron.wires.openai.responses.parse import NAME, PATHS, parse

__all__ = [
    "MEDIA_TYPE",
    "NAME",
    "PATHS",
    "Accumulator",
    "Encoder",
    "parse",
    "render_error",
]
