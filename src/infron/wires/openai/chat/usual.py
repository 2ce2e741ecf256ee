"""Histories of the chat wire in which nothing has to be changed on any host, as nearly all are, known by one reading.

It never says what is wrong with another one, nor what is changed for one host alone.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from infron.wires import lenient_json

# OpenAI, API reference of chat completions: the name of a function; what errors say of the length of an id.
NAME, MAX_ID = "[A-Za-z0-9_-]{1,64}", 40
# All that stands in such a history: what a host wants otherwise there it wants otherwise in each.
WORDS = frozenset(("assistant", "content", "role", "system", "tool", "tool_call_id", "tool_calls", "user"))

Said = Annotated[str, Meta(min_length=1)]


class _Text(Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: Said


class _Function(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: str


class _Call(Struct, forbid_unknown_fields=True, gc=False):
    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    type: Literal["function"]
    function: _Function


class _Message(Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant", "system", "tool", "user"]
    content: Said | Annotated[list[_Text], Meta(min_length=1)] | None = None
    tool_calls: Annotated[list[_Call], Meta(min_length=1)] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


_is_name = re.compile(NAME).fullmatch
_read = msgspec.json.Decoder(list[_Message]).decode


def is_usual(messages: Raw) -> bool:
    """Whether each message says something in texts and calls alone, and each call has its one result right behind."""
    try:
        history = _read(messages)
    except msgspec.ValidationError:
        return False
    due: set[str] = set()  # calls whose results must come now
    for message in history:
        if message.role == "tool":
            if message.tool_call_id not in due or message.content is None or message.tool_calls is not UNSET:
                return False
            due.remove(message.tool_call_id)
            continue
        if due or message.tool_call_id is not UNSET:
            return False
        calls = message.tool_calls
        if calls is UNSET:
            if message.content is None:
                return False
        elif message.role != "assistant" or not all(map(_is_right, calls)):
            return False
        else:
            due = {call.id for call in calls}
            if len(due) < len(calls):
                return False
    return not due


def _is_right(call: _Call) -> bool:
    function = call.function
    return _is_name(function.name) is not None and lenient_json.fields_in(function.arguments) is not None
