"""Cohere's chat wire."""

from infron.wires.cohere.decoder import MEDIA_TYPE, Decoder, parse_error
from infron.wires.cohere.request import encode_request

__all__ = ["MEDIA_TYPE", "Decoder", "encode_request", "parse_error"]
