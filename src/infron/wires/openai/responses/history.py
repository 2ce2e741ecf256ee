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

from infron.wires.json_guard import fields_of, items_of
from infron.wires.naming import CallIds, Ids
from infron.wires.openai.responses.reasoning import is_ours
from infron.wires.pairing import NOT_RUN, Said, answered_before, matched
from infron.wires.request_fields import arguments_of
from infron.wires.session import as_object

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")

_SIGNS = (b'"reasoning"', b'"call_id"')
_OUR_ID = re.compile(r"rs_[0-9a-f]{20}\d\d")  # as the encoder makes them, much shorter than those of OpenAI
_IDS = Ids(r"[\s\S]{1,64}")


class _Item(Struct, gc=False):
    """An item, as far as it may be a thought or belong to a call."""

    type: Any = None
    id: Any = None
    call_id: Any = None
    arguments: Any = ""
    encrypted_content: Any = None
    extra_content: Raw = _NULL
    output: Raw = _NULL

    @property
    def is_foreign(self) -> bool:
        """Whether it is what another model has thought: it means nothing to this one, which refuses it."""
        if self.type != "reasoning":
            return False
        if isinstance(self.encrypted_content, str) and self.encrypted_content:
            return is_ours(self.encrypted_content)
        return isinstance(self.id, str) and _OUR_ID.fullmatch(self.id) is not None


def fit_items(given: Raw, *, alone: bool = True) -> tuple[Raw, tuple[str, ...]]:
    """The `input` without thinking of other models, each call with an id of its own and a result; what was left out.

    `alone`: it is the whole history, so that no result may belong to a call elsewhere.
    """
    text = memoryview(given)
    if bytes(text[:1]) != b"[" or not any(sign in bytes(text) for sign in _SIGNS):
        return given, ()
    items = items_of(given)
    try:
        kinds = [msgspec.json.decode(item, type=_Item) for item in items]
    except msgspec.ValidationError:
        return given, ()  # the host says best what is wrong with it
    kept = [(item, kind) for item, kind in zip(items, kinds, strict=True) if not kind.is_foreign]
    lost = {"messages.thinking"} if len(kept) < len(items) else set()
    fitted = _with_own_ids(kept)
    if alone and b'"item_reference"' not in bytes(text):
        fitted = _with_results(fitted, [kind for _, kind in kept], lost)
    if len(fitted) == len(items) and all(new is old for new, old in zip(fitted, items, strict=True)):
        return given, ()
    return Raw(b"[%b]" % b",".join([bytes(memoryview(item)) for item in fitted])), tuple(sorted(lost))


def _with_own_ids(items: Sequence[tuple[Raw, _Item]]) -> list[Raw]:
    ids, fitted, answered = CallIds(_IDS), [], False
    for item, kind in items:
        if kind.type == "function_call":
            given = kind.arguments
            if (whole := as_object(arguments_of(given))) != given:
                item = Raw(_encode({**fields_of(item), "arguments": whole}))
        if isinstance(kind.type, str) and isinstance(kind.call_id, str):
            result = kind.type.endswith("_output")
            if answered and not result:  # calls after results are made in another message
                ids.next_message()
            answered = result
            ours = ids.of_result(kind.call_id) if result else ids.of_call(kind.call_id)
            if ours != kind.call_id or kind.extra_content != _NULL:  # which is ours, for clients to give back
                fields = {name: raw for name, raw in fields_of(item).items() if name != "extra_content"}
                item, kind.call_id = Raw(_encode({**fields, "call_id": ours})), ours
        fitted.append(item)
    return fitted


def _with_results(items: list[Raw], kinds: list[_Item], lost: set[str]) -> list[Raw]:
    """OpenAI wants an output for each call ("No tool output found for function call"), and a call for each output."""
    history = []
    for kind in kinds:
        type, id = str(kind.type), [kind.call_id] if isinstance(kind.call_id, str) else []
        result = type.endswith("_output")
        history.append(Said(not result, [] if result else id, id if result else []))
    answers, orphans = matched(history)
    out: list[Raw] = []
    due: list[Raw] = []
    for place, (item, kind, said) in enumerate(zip(items, kinds, history, strict=True)):
        if due and (said.results or not said.calls):
            out += due
            due = []
        if place in orphans:
            lost.add("messages.tool_results")
            out.append(_as_text(kind))
            continue
        out.append(item)
        if said.calls and (place, 0) not in answers and kind.type in _ANSWERED:
            lost.add("messages.tool_calls")
            due.append(Raw(_encode({"type": f"{kind.type}_output", "call_id": kind.call_id, "output": NOT_RUN})))
    return [*out, *due]


_ANSWERED = ("custom_tool_call", "function_call")


def _as_text(result: _Item) -> Raw:
    output = _decode(result.output)
    said = {"type": "input_text", "text": answered_before("")}
    parts = output if isinstance(output, list) else [{"type": "input_text", "text": output}] if output else []
    return Raw(_encode({"type": "message", "role": "user", "content": [said, *parts]}))
