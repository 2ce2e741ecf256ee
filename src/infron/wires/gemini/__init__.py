"""Gemini's wire, of AI Studio and Vertex AI."""

from infron.wires.gemini.decoder import MEDIA_TYPE, Decoder, parse_error
from infron.wires.gemini.request import encode_request

DEFAULTS = {
    "chat_path": "/models/{model}:streamGenerateContent?alt=sse",
    "auth": {"header": "x-goog-api-key", "scheme": ""},
    "usage": "always",
}
CAN_CALL = False
VERSION = "/v1beta"

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "VERSION", "Decoder", "encode_request", "parse_error"]
