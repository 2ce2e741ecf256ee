"""Gemini's wire, of AI Studio and Vertex AI."""

from infron.wires.gemini.decoder import MEDIA_TYPE, Decoder, parse_error
from infron.wires.gemini.request import encode_request

__all__ = ["MEDIA_TYPE", "Decoder", "encode_request", "parse_error"]
