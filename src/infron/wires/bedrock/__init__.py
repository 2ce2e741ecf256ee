"""Bedrock's Converse wire, of AWS."""

from infron.wires.bedrock.decoder import Decoder, parse_error
from infron.wires.bedrock.eventstream import MEDIA_TYPE
from infron.wires.bedrock.request import encode_request

DEFAULTS = {"chat_path": "/model/{model}/converse-stream", "usage": "always"}
CAN_CALL = False

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error"]
