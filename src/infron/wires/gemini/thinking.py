"""What other models thought, in a `thoughtSignature` of Gemini's API and back.

It never knows which provider a thought goes to. Clients of this API give signatures back on the part that they came
with, and leave thinking itself out of their history: so a thought of another model travels whole in the signature
of the part behind it, which is base64, as its libraries want.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from infron.conversation import Thinking

# What Google documents for a call of a function in the history that other models, or nobody, made.
UNSIGNED = "skip_thought_signature_validator"

_MARK = b"infron:1:"  # of as many bytes as end with a whole letter of base64
_SEALED = base64.b64encode(_MARK).decode()


class _Thought(Struct, omit_defaults=True):
    text: str = ""
    signature: str = ""
    data: str = ""
    format: str = ""
    id: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_Thought]).decode
_FIELDS = _Thought.__struct_fields__


def sealed(thinking: Iterable[Thinking]) -> str:
    """The signature that brings this thinking back."""
    kept = [_Thought(*(getattr(thought, name) for name in _FIELDS)) for thought in thinking]
    return base64.b64encode(_MARK + _encode(kept)).decode()


def is_sealed(signature: str) -> bool:
    """Whether only this gateway can read it."""
    return signature.startswith(_SEALED)


SEALED = _SEALED.encode()  # how one begins, for who looks for it in bytes


def opened(signature: str) -> list[Thinking]:
    """The thinking in a sealed signature, in either alphabet of base64; none where it was cut."""
    plain = signature.translate(_PLAIN).rstrip("=")
    try:
        kept = _decode(base64.b64decode(plain + "=" * (-len(plain) % 4))[len(_MARK) :])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return []
    return [Thinking(**{name: getattr(thought, name) for name in _FIELDS}) for thought in kept]


_PLAIN = str.maketrans("-_", "+/")


def readable(signature: str) -> str:
    """The signature; "" for one that Google's libraries could not read, so that it is not Google's either."""
    return signature if _SIGNATURE.fullmatch(signature) and len(signature.rstrip("=")) % 4 != 1 else ""


_SIGNATURE = re.compile(r"(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}")


def is_google(signature: str) -> bool:
    """Whether it means something to Google: not what clients put where they have none."""
    return bool(signature) and signature != UNSIGNED and not is_sealed(signature)
