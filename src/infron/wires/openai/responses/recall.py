"""What a request of the Responses API refers to, put in its place: earlier answers, and items of them.

It never knows where answers are kept, nor whose they are: it is given what may be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from infron.errors import InvalidRequest, PayloadTooLarge
from infron.records import Kept
from infron.request import Request
from infron.wires.json_guard import items_of, says_any
from infron.wires.openai.responses.parse import NAME, NOT_KEPT
from infron.wires.openai.responses.tools import items_said, kinds_in, with_tools

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_NULL = Raw(b"null")
_REFERENCE, _REASONING = b'"item_reference"', b'"reasoning"'
_THOUGHT = "rs_"  # how the id of a reasoning item begins

History = Callable[[str], Sequence[Raw] | None]  # id of a response -> the items before it, and its own
Find = Callable[[str], Raw | None]  # id of an item -> the item


class _Item(Struct, gc=False):
    type: Any = None
    id: Any = None
    encrypted_content: Any = None


class _Response(Struct, gc=False):
    output: list[Raw] = []


class _Named(Struct, gc=False):
    id: Any = None


class _Names(Struct, gc=False):
    output: list[_Named] = []


_item = msgspec.json.Decoder(_Item).decode
_response = msgspec.json.Decoder(_Response).decode
_names = msgspec.json.Decoder(_Names).decode


def ids_in(kept: Kept) -> tuple[str, ...]:
    """Those of the items of an answer."""
    return tuple([item.id for item in _names(kept.response).output if isinstance(item.id, str) and item.id])


def items_in(kept: Kept) -> Iterator[tuple[str, Raw]]:
    """The items of an answer as they go back to a model, each with its id; "" where it has none."""
    for raw in _response(kept.response).output:
        found = _item(raw).id
        id = found if isinstance(found, str) else ""
        sealed = kept.sealed.get(id)
        yield id, Raw(_encode({**_fields(raw), "encrypted_content": sealed})) if sealed else raw


def input_items(given: Raw) -> list[Raw]:
    """The `input` of a request, as items."""
    if bytes(memoryview(given)[:1]) == b"[":
        return items_of(given)
    content = [{"type": "input_text", "text": given}]
    return [Raw(_encode({"type": "message", "role": "user", "content": content}))]


def refers(request: Request) -> bool:
    """Whether it may refer to earlier answers."""
    if request.api != NAME:
        return False
    if request.fields.get("previous_response_id", _NULL) != _NULL:
        return True
    said = items_said(request.fields)
    return bool(said) and says_any(said, (_REFERENCE, _REASONING))


def names_in(request: Request) -> tuple[str, list[str]]:
    """(the response that it goes on from, or "", the items that it refers to), by their ids."""
    before, items = msgspec.json.decode(request.fields.get("previous_response_id", _NULL)), []
    for raw in input_items(request.fields["input"]):
        with suppress(msgspec.ValidationError):
            item = _item(raw)
            sealed = item.type != "item_reference" and (item.type != "reasoning" or item.encrypted_content)
            if isinstance(item.id, str) and not sealed:
                items.append(item.id)
    return before if isinstance(before, str) else "", items


def recalled(request: Request, history: History, find: Find, most: int) -> Request:
    """The request with all that it refers to. Raises InvalidRequest for what is not found, PayloadTooLarge where all of
    it has more bytes than `most`: a few words can refer to the same answer again and again.

    A reasoning item is not missed, for a model can go on without it.
    """
    given = request.fields["input"]
    said = input_items(given)
    items = list(_whole(said, find))
    before = request.fields.get("previous_response_id", _NULL)
    if before != _NULL:
        id = msgspec.json.decode(before)
        found = history(id) if isinstance(id, str) else None
        if found is None:
            what = f"`previous_response_id` refers to a response that {NOT_KEPT}"
            raise InvalidRequest(what, param="previous_response_id", code="previous_response_not_found")
        items = [*found, *items]
    elif all(item is own for item, own in zip(items, said, strict=True)):
        return request
    if sum(len(memoryview(item)) + 1 for item in items) > most:
        what = f"`input` has more than {most:,} bytes with all that it refers to; begin anew, or send less."
        raise PayloadTooLarge(what, param="input")
    text = b"[%b]" % b",".join([bytes(memoryview(item)) for item in items])
    fields = {**request.fields, "input": Raw(text)}
    more = max(0, len(text) - len(memoryview(given)))
    return with_tools(replace(request, fields=fields, size=request.size + more, kinds=kinds_in(fields)))


def _whole(items: Sequence[Raw], find: Find) -> Iterator[Raw]:
    for place, raw in enumerate(items):
        try:
            item = _item(raw)
        except msgspec.ValidationError:  # whoever reads it says what is wrong
            yield raw
            continue
        id = item.id if isinstance(item.id, str) else ""
        if item.type == "item_reference":
            found = find(id)
            if found is not None:
                yield found
            elif not id.startswith(_THOUGHT):
                what = f"`input[{place}]` refers to an item that {NOT_KEPT}"
                raise InvalidRequest(what, param=f"input[{place}].id", code="item_not_found")
        elif item.type == "reasoning" and not item.encrypted_content:
            yield find(id) or raw
        else:
            yield raw
