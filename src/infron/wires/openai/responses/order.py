"""The events of a host of the Responses API in the order and with the places that client libraries insist on.

It never knows who reads them. Of a host that tells them right each goes on as it came: an item is added, grows and is
done; so is each part of its content; places and ids stay the same. What is missing is put in, what is said twice is
left out, and what shares a place with something else gets one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.wires.decoding import UNNAMED, made_id
from infron.wires.lenient_json import dicts_in, string_in
from infron.wires.openai.responses.event import CALLS, ENDS, Frame, lacks, part_of, text_of, told_whole
from infron.wires.openai.responses.frames import bare, grown

Step = tuple[str, Frame, bytes]  # the type of an event, what is read of it, and all of it

MOST_SAID = 100_000  # pieces of one text that are kept, for hosts that never tell it as a whole

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_frame = msgspec.json.Decoder(Frame).decode
_ADDED, _DONE = "response.output_item.added", "response.output_item.done"
_PART, _SUMMARY = "response.content_part.added", "response.reasoning_summary_part.added"
_FAMILIES = {  # how events are named that belong to an item of this kind
    "response.output_text": "message",
    "response.refusal": "message",
    "response.content_part": "message",
    "response.function_call_arguments": "function_call",
    "response.custom_tool_call_input": "custom_tool_call",
    "response.reasoning_summary_part": "reasoning",
    "response.reasoning_summary_text": "reasoning",
    "response.reasoning_text": "reasoning",
}
_PREFIXES = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}
_SUMMARIES = ("response.reasoning_summary_part", "response.reasoning_summary_text")
_PARTS = {  # how events are named that belong to a part of this kind; of any kind
    "response.output_text": "output_text",
    "response.refusal": "refusal",
    "response.reasoning_text": "reasoning_text",
    "response.content_part": "",
}
_TEXT = "response.output_text.delta"
_GROWS = {  # by the kind of a part, or how events are named: those that some libraries read alone
    "output_text": _TEXT,
    "refusal": "response.refusal.delta",
    "reasoning_text": "response.reasoning_text.delta",
    "response.function_call_arguments": "response.function_call_arguments.delta",
    "response.custom_tool_call_input": "response.custom_tool_call_input.delta",
    "response.reasoning_summary_text": "response.reasoning_summary_text.delta",
}
_LOGPROBS: dict[str, Any] = {"logprobs": []}


class _Piece(Struct):
    """A part of an item. `place`: among the parts as they are told."""

    kind: str
    place: int
    said: list[str]
    done: bool = False


class _Item(Struct):
    """`item`: as it was told; `host_id`: as its host calls it; `parts`, and places of
    `summaries`: by the host's number of them.
    """

    place: int
    item: dict[str, Any]
    host_id: str
    host_call: str
    said: list[str]
    parts: dict[int, _Piece]
    summaries: dict[int, int]
    keys: list[Any]
    many: int = 0  # parts
    done: bool = False

    @property
    def kind(self) -> str:
        return str(self.item["type"])


def _number(value: Any) -> int | None:
    return value if value.__class__ is int and value >= 0 else None


class Order:
    """Of one answer. `odd`: something was put right, so that events are numbered anew; `pieces`: items and parts so
    far; `seed`: what no other answer has.
    """

    def __init__(self) -> None:
        self.odd = False
        self.pieces = 0
        self.seed: tuple[object, ...] = ()
        self._items: list[_Item] = []
        self._at: dict[int, _Item] = {}  # the last one at a place of the host's
        self._named: dict[str, _Item] = {}  # the last one of an id of the host's
        self._growing: dict[Any, list[str]] = {}
        self._last: Any = None  # the key of what grew last
        self._said: list[str] = []  # and where it is kept
        self._calls: set[str] = set()

    def goes_on(self, kind: str, frame: Frame) -> bool:
        """Whether this event is one more piece of what grew so before."""
        if frame.delta.__class__ is not str:
            return False
        key = _key(kind, frame)
        if key == self._last:
            said = self._said
        else:
            try:
                said = self._growing[key]
            except (KeyError, TypeError):
                return False
            self._last, self._said = key, said
        if len(said) < MOST_SAID:
            said.append(frame.delta)
        return True

    def steps(self, kind: str, frame: Frame, payload: bytes) -> Iterator[Step]:
        """The event, with what has to come before it; nothing of one that says nothing."""
        if kind == _ADDED:
            yield from self._add(frame, payload)
        elif kind == _DONE:
            yield from self._finish(frame, payload)
        elif kind in ENDS and kind != "response.failed":
            yield from self._end(kind, frame, payload)
        else:
            stem = kind.rpartition(".")[0]
            if stem == "response.output_text.annotation":
                stem = "response.output_text"
            family = _FAMILIES.get(stem)
            if family is None:
                found = self._find(frame.output_index, frame.item_id)
                yield self._told(kind, frame, payload, _where(found)) if found else (kind, frame, payload)
            else:
                yield from self._grow(kind, stem, family, frame, payload)

    # ---- items

    def _find(self, place: Any, id: Any, kinds: tuple[str, ...] = ()) -> _Item | None:
        """The item that an event is of: by place and id, else by the id, else by the place, else the last one open."""
        number, id = _number(place), id if isinstance(id, str) else ""
        here = self._at.get(number) if number is not None else None
        there = self._named.get(id) if id else None
        if here is not None and kinds and here.kind not in kinds:
            here = None
        if there is not None and (not kinds or there.kind in kinds) and (here is None or here.host_id != id):
            return there
        if here is not None and (not id or here.host_id == id or not here.done):
            return here
        if number is None and not id and kinds:
            open = [item for item in self._items if not item.done and item.kind in kinds]
            return open[-1] if open else None
        return None

    def _add(self, frame: Frame, payload: bytes) -> Iterator[Step]:
        item = frame.item
        if not isinstance(item, dict) or not string_in(item, "type"):
            self.odd = True
            return
        number, id = _number(frame.output_index), string_in(item, "id")
        known = self._at.get(number) if number is not None else None
        same = known is not None and not known.done and (known.host_id, known.kind) == (id, string_in(item, "type"))
        if known is not None and same and known.host_call == string_in(item, "call_id"):
            self.odd = True
            return
        yield self._new(number, bare(item) if string_in(item, "type") in CALLS else item, _ADDED, frame, payload)
        if string_in(item, "type") in CALLS:  # its arguments come behind it, where libraries look for them
            yield from self._grown(self._items[-1], item, ".delta")

    def _new(self, number: int | None, item: dict[str, Any], kind: str, frame: Frame | None, payload: bytes) -> Step:
        self.pieces += 1
        place = len(self._items)  # some libraries count the items themselves
        told = self._repaired(item, place)
        found = _Item(place, told, string_in(item, "id"), string_in(item, "call_id"), [], {}, {}, [])
        self._items.append(found)
        self._at[place if number is None else number] = found
        if found.host_id:
            self._named[found.host_id] = found
        if frame is not None and place == frame.output_index and told == item:
            return kind, frame, payload
        return self._made(kind, {**(_fields(payload) if frame else {}), "output_index": place, "item": told})

    def _repaired(self, item: dict[str, Any], place: int) -> dict[str, Any]:
        """An item with all that libraries read of one."""
        kind = string_in(item, "type")
        if kind not in _PREFIXES:
            return item
        own: dict[str, Any] = {}
        if not string_in(item, "id"):
            own["id"] = f"{_PREFIXES[kind]}_{place}"
        if kind == "message":
            own |= {} if isinstance(item.get("content"), list) else {"content": []}
            own |= {} if string_in(item, "role") else {"role": "assistant"}
        elif kind == "reasoning":
            own |= {} if isinstance(item.get("summary"), list) else {"summary": []}
        else:
            name, call = string_in(item, "name"), string_in(item, "call_id")
            own |= {} if name else {"name": UNNAMED}
            if not call or call in self._calls:
                call = own["call_id"] = made_id(*self.seed, 0, len(self._calls), name)
            self._calls.add(call)
            said = "arguments" if kind == "function_call" else "input"
            own |= {} if isinstance(item.get(said), str) else {said: text_of(item.get(said))}
        return {**item, **own} if own else item

    def _finish(self, frame: Frame, payload: bytes, found: _Item | None = None) -> Iterator[Step]:
        item = frame.item
        kind = string_in(item, "type") if isinstance(item, dict) else ""
        if not kind:
            self.odd = True
            return
        found = found or self._find(frame.output_index, item.get("id"), (kind,))
        if found is not None and kind in CALLS and (call := string_in(item, "call_id")) and call != found.host_call:
            others = [one for one in self._items if one.host_call == call and one.kind == kind]
            found = others[-1] if others else None if found.host_call else found
        if found is not None and found.done:
            if string_in(item, "id") == found.host_id and (kind in CALLS or found.host_id):
                self.odd = True
                return
            found = None
        if found is None:
            yield self._new(_number(frame.output_index), bare(item), _ADDED, None, b"")
            found = self._items[-1]
            found.host_call = string_in(item, "call_id")
        whole = _whole(found, item)
        if not (found.said or found.many or found.summaries):
            yield from self._grown(found, whole)
        found.done = True
        for key in found.keys:
            self._growing.pop(key, None)
        self._last = None
        if whole == item and found.place == frame.output_index:
            yield _DONE, frame, payload
        else:
            yield self._made(_DONE, {**_fields(payload), "output_index": found.place, "item": whole})
        for said in (found.said, *[piece.said for piece in found.parts.values()]):
            said.clear()

    def _grown(self, found: _Item, item: dict[str, Any], only: str = "") -> Iterator[Step]:
        """What an item has grown by that was told in one piece; `only`: events of which the type ends so."""
        told = [fields for fields in grown(item, found.place) if fields["type"].endswith(only)]
        if any(fields.get("delta") for fields in told):
            for fields in told:
                yield from self._grow(*self._read({**fields, **_where(found)}), found)

    def _read(self, fields: dict[str, Any]) -> tuple[str, str, str, Frame, bytes]:
        """What `_grow` takes, of an event that is made here."""
        kind, frame, payload = self._made(fields["type"], fields)
        stem = kind.rpartition(".")[0].removesuffix(".annotation")
        return kind, stem, _FAMILIES[stem], frame, payload

    # ---- what they grow by

    def _grow(
        self, kind: str, stem: str, family: str, frame: Frame, payload: bytes, found: _Item | None = None
    ) -> Iterator[Step]:
        part = frame.part if isinstance(frame.part, dict) else {}
        if stem == "response.content_part" and string_in(part, "type") == "reasoning_text":
            family = "reasoning"
        if kind.endswith(".delta") and not isinstance(frame.delta, str):
            self.odd = True
            return
        found = found or self._find(frame.output_index, frame.item_id, (family,))
        if found is None:
            new = {"type": family, "id": frame.item_id if isinstance(frame.item_id, str) else ""}
            if family in CALLS:
                new["name"] = frame.name if isinstance(frame.name, str) else ""
            yield self._new(_number(frame.output_index), bare(new), _ADDED, None, b"")
            found = self._items[-1]
        said = found.said
        piece = None
        if stem in _PARTS:
            wanted = _PARTS[stem] or string_in(part, "type") or "output_text"
            if kind == _PART:
                yield from self._add_part(found, wanted, part, frame, payload)
                return
            piece = found.parts.get(_number(frame.content_index) or 0)
            if piece is None or piece.kind != wanted:
                yield self._made(_PART, self._new_part(found, wanted, part_of(wanted, ""), frame.content_index))
                piece = found.parts[_number(frame.content_index) or 0]
            said = piece.said
            piece.done = piece.done or kind == "response.content_part.done"
            where = {**_where(found), "content_index": piece.place}
        else:
            where = _where(found)
            if stem in _SUMMARIES:
                yield from self._add_summary(found, kind, frame)
                where["summary_index"] = found.summaries[_number(frame.summary_index) or 0]
        if kind.endswith(".done") and (whole := told_whole(stem, frame, part)):
            if not said and (grows := _GROWS.get(piece.kind if piece is not None else stem)):
                said.append(whole)
                yield self._made(grows, {**where, "delta": whole, **(_LOGPROBS if grows == _TEXT else {})})
        elif kind.endswith(".delta"):
            said.append(frame.delta)
        step = self._told(kind, frame, payload, where)
        if step[2] is payload and kind.endswith(".delta"):
            key = _key(kind, frame)
            self._growing[key] = said
            found.keys.append(key)
        yield step

    def _add_part(self, found: _Item, kind: str, part: dict[str, Any], frame: Frame, payload: bytes) -> Iterator[Step]:
        known = found.parts.get(_number(frame.content_index) or 0)
        if known is not None and not known.done and known.kind == kind and not known.said:
            self.odd = True  # said twice
            return
        whole = {**part_of(kind, ""), **part}
        fields = self._new_part(
            found, kind, part if whole.keys() - part.keys() <= {"logprobs"} else whole, frame.content_index
        )
        if all(getattr(frame, name) == fields[name] for name in ("output_index", "content_index", "item_id", "part")):
            yield _PART, frame, payload
        else:
            yield self._made(_PART, {**_fields(payload), **fields})

    def _new_part(self, found: _Item, kind: str, part: dict[str, Any], number: Any) -> dict[str, Any]:
        self.pieces += 1
        found.parts[_number(number) or 0] = _Piece(kind, found.many, [])
        found.many += 1
        return {**_where(found), "content_index": found.many - 1, "part": part}

    def _add_summary(self, found: _Item, kind: str, frame: Frame) -> Iterator[Step]:
        number = _number(frame.summary_index) or 0
        if number not in found.summaries:
            self.pieces += 1
            place = found.summaries[number] = len(found.summaries)
            if kind != _SUMMARY:
                yield self._made(
                    _SUMMARY, {**_where(found), "summary_index": place, "part": part_of("summary_text", "")}
                )

    def _told(self, kind: str, frame: Frame, payload: bytes, where: dict[str, Any]) -> Step:
        """An event with its place and its id as they were told before, and with texts that are some."""
        own = {name: value for name, value in where.items() if not _is(getattr(frame, name), value)}
        for name in ("arguments", "input"):
            value = getattr(frame, name)
            if value is not None and not isinstance(value, str):
                own[name] = text_of(value)
        if isinstance(frame.annotation, dict) and (more := lacks(frame.annotation)):
            own["annotation"] = {**frame.annotation, **more}
        return self._made(kind, {**_fields(payload), **own}) if own else (kind, frame, payload)

    def _made(self, kind: str, fields: dict[str, Any]) -> Step:
        self.odd = True
        payload = _encode({"type": kind, **{name: value for name, value in fields.items() if name != "type"}})
        return kind, _frame(payload), payload

    # ---- the end

    def _end(self, kind: str, frame: Frame, payload: bytes) -> Iterator[Step]:
        """What is not done is done now, and what was never told is told."""
        response = frame.response if isinstance(frame.response, dict) else {}
        output = dicts_in(response, "output")
        if not self._items:
            for place, item in enumerate(output):
                made = self._made(_DONE, {"output_index": place, "item": item})
                yield from self._finish(*made[1:])
        for found in [item for item in self._items if not item.done]:
            same = [item for item in output if _same(item, found)]
            whole = same[0] if same else {**found.item, "status": ENDS[kind]}
            yield from self._finish(*self._made(_DONE, {"output_index": found.place, "item": whole})[1:], found)
        if not self.odd and all(_fits(item, self._items) for item in output):
            yield kind, frame, payload
            return
        told = {**response, "status": ENDS[kind], "output": []}  # what was told stands there in its place
        yield self._made(kind, {**_fields(payload), "response": told})


def _key(kind: str, frame: Frame) -> Any:
    return kind, frame.output_index, frame.content_index, frame.summary_index, frame.item_id


def _is(value: Any, wanted: Any) -> bool:
    return value.__class__ is wanted.__class__ and value == wanted


def _where(found: _Item) -> dict[str, Any]:
    id = found.item.get("id")
    return {**({"item_id": id} if isinstance(id, str) else {}), "output_index": found.place}


def _whole(found: _Item, item: dict[str, Any]) -> dict[str, Any]:
    """An item that is done: as it was added, with what has grown where it says less."""
    kind = found.kind
    own: dict[str, Any] = {}
    if kind not in _PREFIXES:
        return item
    if "status" not in item and kind != "reasoning":
        own["status"] = "completed"
    for name in ("id", "call_id", "name", "role"):
        if name in found.item and (name != "name" or not string_in(item, "name")):
            own[name] = found.item[name]
    if kind in CALLS:
        said = "arguments" if kind == "function_call" else "input"
        value = item.get(said)
        own[said] = value if isinstance(value, str) and value else text_of(value) or "".join(found.said)
    elif kind == "message":
        if (content := _content(found, dicts_in(item, "content"))) != item.get("content"):
            own["content"] = content
    elif not isinstance(item.get("summary"), list) and kind == "reasoning":
        own["summary"] = []
    return {**item, **own}


def _content(found: _Item, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a message: as its host tells it at the end, or as it has grown."""
    if not told:
        parts = sorted(found.parts.values(), key=lambda part: part.place)
        return [part_of(part.kind, "".join(part.said)) for part in parts]
    content = []
    for part in told:
        sources = dicts_in(part, "annotations")
        whole = [{**source, **lacks(source)} for source in sources]
        less = part.get("type") == "output_text" and (whole != sources or "annotations" not in part)
        content.append({**part, "annotations": whole} if less else part)
    return content


def _same(item: dict[str, Any], found: _Item) -> bool:
    call = string_in(item, "call_id")
    return item.get("type") == found.kind and (call == found.host_call if call else item.get("id") == found.host_id)


def _fits(item: dict[str, Any], items: Any) -> bool:
    """Whether a library takes this item of the end for the one that was told, or for one of its own."""
    return all(item.get("id") == found.item.get("id") for found in items if _same(item, found))
