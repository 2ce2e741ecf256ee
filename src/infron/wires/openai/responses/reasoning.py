"""What a model thought, in the `encrypted_content` of a reasoning item and back.

It never knows which provider the reasoning goes to: signatures of other providers travel in an envelope of our own, so
that a client that keeps its history by itself gives them back unharmed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from infron.conversation import Part, Thinking, ToolCall

OPENAI = "openai-responses-v1"  # the format of what OpenAI's own servers encrypt
_MARK = "infron1."


class _Envelope(Struct, omit_defaults=True):
    format: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    text: bool = False  # the summary beside it is the signed text itself
    calls: int = 0  # of the same answer before it


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode


def sealed(format: str, signature: str, data: str, id: str = "", calls: int = 0) -> str | None:
    """`encrypted_content` for a thought; None where there is nothing that must come back with it.

    `calls`: how many the model had made before it in this answer. Clients such as Codex keep items in the order in
    which they were done, and calls are done at the end.
    """
    if data and format == OPENAI:
        return data
    if not (signature or data):
        return None
    envelope = _Envelope(format=format, signature=signature, data=data, id=id, text=bool(signature), calls=calls)
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
    place = f"{_PLACE}{envelope.calls}" if envelope.calls else ""
    return Thinking(
        text=summary, signature=envelope.signature, data=envelope.data, format=envelope.format, id=envelope.id or place
    )


_PLACE = "behind_"


def in_order(parts: Iterable[Part]) -> Iterator[Part]:
    """What the model said in one go, each thought behind as many calls as it was made behind."""
    given = list(parts)
    placed = [part for part in given if isinstance(part, Thinking) and part.id.startswith(_PLACE)]
    made = 0
    for part in given:
        if isinstance(part, ToolCall):
            yield from _taken(placed, made)
            made += 1
        if not (isinstance(part, Thinking) and part.id.startswith(_PLACE)):
            yield part
    yield from _taken(placed, made)
    yield from _taken(placed, None)


def _taken(placed: list[Thinking], made: int | None) -> Iterator[Thinking]:
    """Those that stand behind so many calls, or all that are left."""
    while placed and (made is None or placed[0].id == f"{_PLACE}{made}"):
        yield replace(placed.pop(0), id="")


def texts_of(parts: Any) -> str:
    """The text of `summary` or `content` of a reasoning item."""
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)
