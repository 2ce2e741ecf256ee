"""Input items of a client of the Responses API in the form that another host of this API takes.

It never knows which host. What is right already goes on byte for byte: a history without calls and reasoning is only
looked at, and of one with them only what has to be changed is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.wires.json_guard import items_of, members_of
from infron.wires.openai.responses.reasoning import is_ours
from infron.wires.session import CallIds, Ids

_encode = msgspec.json.Encoder().encode

_SIGNS = (b'"reasoning"', b'"call_id"')
_OUR_ID = re.compile(r"rs_[0-9a-f]{20}\d\d")  # as the encoder makes them, much shorter than those of OpenAI
_IDS = Ids(r"[\s\S]{1,64}")


class _Item(Struct, gc=False):
    """An item, as far as it may be a thought or belong to a call."""

    type: Any = None
    id: Any = None
    call_id: Any = None
    encrypted_content: Any = None

    @property
    def is_foreign(self) -> bool:
        """Whether it is what another model has thought: it means nothing to this one, which refuses it."""
        if self.type != "reasoning":
            return False
        if isinstance(self.encrypted_content, str) and self.encrypted_content:
            return is_ours(self.encrypted_content)
        return isinstance(self.id, str) and _OUR_ID.fullmatch(self.id) is not None


def fit_items(given: Raw) -> tuple[Raw, tuple[str, ...]]:
    """The `input` without thoughts of other models, and each call with an id of its own; what was left out."""
    text = memoryview(given)
    if bytes(text[:1]) != b"[" or not any(sign in bytes(text) for sign in _SIGNS):
        return given, ()
    items = items_of(given)
    try:
        kinds = [msgspec.json.decode(item, type=_Item) for item in items]
    except msgspec.ValidationError:
        return given, ()  # the host says best what is wrong with it
    kept = [(item, kind) for item, kind in zip(items, kinds, strict=True) if not kind.is_foreign]
    fitted = _with_own_ids(kept)
    lost = ("messages.thinking",) if len(kept) < len(items) else ()
    if not lost and all(new is old for new, old in zip(fitted, items, strict=True)):
        return given, ()
    return Raw(b"[%b]" % b",".join([bytes(memoryview(item)) for item in fitted])), lost


def _with_own_ids(items: Sequence[tuple[Raw, _Item]]) -> list[Raw]:
    ids, fitted, answered = CallIds(_IDS), [], False
    for item, kind in items:
        if isinstance(kind.type, str) and isinstance(kind.call_id, str):
            result = kind.type.endswith("_output")
            if answered and not result:  # calls after results are made in another message
                ids.next_message()
            answered = result
            ours = ids.of_result(kind.call_id) if result else ids.of_call(kind.call_id)
            if ours != kind.call_id:
                item = Raw(_encode({**members_of(item), "call_id": ours}))
        fitted.append(item)
    return fitted
