"""Replicate's predictions: created first, streamed then."""

from infron.wires.errors import parse_error
from infron.wires.replicate.decoder import MEDIA_TYPE, Decoder
from infron.wires.replicate.request import encode_request

DEFAULTS = {
    "chat_path": "/models/{model}/predictions",
    "version_path": "/v1",
    "usage": "always",
    "on_disconnect": "call",
    "retry_unanswered": False,  # a prediction that was made goes on, and is billed, whoever hears of it
}
CAN_CALL = True
whole_request = None  # a prediction is made in any case, and looked at where there is no stream of it

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]
