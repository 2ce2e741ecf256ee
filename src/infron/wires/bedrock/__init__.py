"""Bedrock's Converse wire, of AWS."""

from functools import partial

from infron.wires.bedrock.decoder import Decoder, parse_error
from infron.wires.bedrock.eventstream import MEDIA_TYPE
from infron.wires.bedrock.request import encode_request
from infron.wires.whole import by_address

DEFAULTS = {
    "chat_path": "/model/{model}/converse-stream",
    "usage": "always",
    "also": {"openai-embeddings": {"wire": "bedrock-embeddings", "path": "/model/{model}/invoke"}},
}
CAN_CALL = False
whole_request = partial(by_address, streams="/converse-stream", whole="/converse")

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]
