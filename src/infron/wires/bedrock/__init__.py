"""Bedrock's Converse wire, of AWS."""

from infron.wires.bedrock.decoder import Decoder, parse_error
from infron.wires.bedrock.eventstream import MEDIA_TYPE
from infron.wires.bedrock.request import encode_request

__all__ = ["MEDIA_TYPE", "Decoder", "encode_request", "parse_error"]
