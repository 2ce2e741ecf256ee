"""What a model thought, in the `encrypted_content` of a reasoning item and back.

It never knows which provider the reasoning goes to: signatures of other providers travel in an envelope of our own, so
that a client that keeps its history by itself gives them back unharmed.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Struct

from infron.conversation import Thinking

OPENAI = "openai-responses-v1"  # the format of what OpenAI's own servers encrypt
_MARK = "infron1."


class _Envelope(Struct, omit_defaults=True):
    format: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    text: bool = False  # the summary beside it is the signed text itself


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode


def sealed(format: str, signature: str, data: str, id: str = "") -> str | None:
    """`encrypted_content` for a thought; None where there is nothing that must come back with it."""
    if data and format == OPENAI:
        return data
    if not (signature or data):
        return None
    envelope = _Envelope(format=format, signature=signature, data=data, id=id, text=bool(signature))
    return _MARK + base64.urlsafe_b64encode(_encode(envelope)).decode().rstrip("=")


def is_ours(content: str) -> bool:
    """Whether only this gateway can read it."""
    return content.startswith(_MARK)


def opened(content: str, summary: str, id: str) -> Thinking:
    """The thought of a reasoning item; a bare one where `content` is none that can be read."""
    if not content.startswith(_MARK):
        return Thinking(text=summary, data=content, format=OPENAI if content else "", id=id if content else "")
    coded = content[len(_MARK) :]
    try:
        envelope = _decode(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return Thinking(text=summary)
    return Thinking(
        text=summary, signature=envelope.signature, data=envelope.data, format=envelope.format, id=envelope.id
    )


def texts_of(parts: Any) -> str:
    """The text of `summary` or `content` of a reasoning item."""
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)
