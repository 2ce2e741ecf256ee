"""One frame of a chat stream: what of it is looked at, and what makes it fit to be looked at.

It never knows what came before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct

from infron.wires import lenient_json, sse
from infron.wires.openai.chat.choices import CHUNK, ROOT
from infron.wires.openai.chat.delta import MOST_CHOICES, Delta, as_delta
from infron.wires.openai.chat.shapes import reshaped, reshaped_whole

_encode = msgspec.json.Encoder().encode
fields_in = msgspec.json.Decoder(dict[str, Raw]).decode
objects_in = msgspec.json.Decoder(list[dict[str, Raw]]).decode
delta_in = msgspec.json.Decoder(Delta).decode
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what these raise


NO_MESSAGE = Raw()
NULL = Raw(b"null")


class TopLogprob(Struct, gc=False):
    token: str
    logprob: float


class Logprob(TopLogprob, gc=False):
    top_logprobs: list[TopLogprob]


class Logprobs(Struct, gc=False):
    """Nothing of it is looked at, but it is of the form that strict libraries ask for."""

    content: list[Logprob] | None = None
    refusal: list[Logprob] | None = None


class ChoiceFacts(Struct, gc=False):
    index: Annotated[int, Meta(ge=0, lt=MOST_CHOICES)] | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    usage: Any = None
    message: Raw = NO_MESSAGE
    logprobs: Logprobs | None = None


class Frame(Struct, gc=False):
    choices: list[ChoiceFacts] | None = None
    usage: Any = UNSET
    error: Any = UNSET
    id: Any = None


class Counts(Struct, forbid_unknown_fields=True, gc=False):
    """What follows the empty `choices` of a frame that tells the counts and nothing else."""

    usage: dict[str, Any]


facts_in = msgspec.json.Decoder(Frame).decode
_counts_in = msgspec.json.Decoder(Counts).decode


def counts_alone(rest: bytes) -> dict[str, Any] | None:
    """The counts, where nothing else stands behind the empty `choices` of a frame, which begin `rest`."""
    try:
        return _counts_in(b"{" + rest[3:]).usage
    except BROKEN:
        return None


# ---- frames that begin alike

_CHOICES = b'"choices":'
_OURS = frozenset(ROOT)
# A role that is said in every frame, as it may stand there.
_ROLES = tuple(
    b"%b" % field
    for said in (b'"role":"assistant"', b'"role": "assistant"')
    for field in (said + b", ", said + b",", b", " + said, b"," + said, said)
)
_NO_ENDS = ((b'"finish_reason":""', b'"finish_reason":null'), (b'"finish_reason": ""', b'"finish_reason": null'))


def beginning(payload: bytes) -> tuple[bytes, dict[str, Raw]] | None:
    """How a frame begins, up to the value of `choices`, and the root fields that stand there, if those are all that
    are ours.
    """
    lead, found, _ = payload.partition(_CHOICES)
    try:
        fields = fields_in(lead + b'"choices":0}')
    except BROKEN:
        return None
    del fields["choices"]
    if lead.find(b"null") >= 0:
        fields = {name: raw for name, raw in fields.items() if raw != NULL}
    if not found or not fields.keys() >= _OURS or "usage" in fields or "error" in fields:
        return None
    fields["object"] = CHUNK
    return lead + found, fields


def silenced(rest: bytes, role: Any, finish: Any, empty_ends: bool) -> bytes:
    """What follows the beginning, without a role that is said again, and with null for a finish reason that is none.

    b"" where that cannot be done in its bytes. Neither can stand in a string, where its quotes would be escaped.
    """
    if role is not None:
        said = next((said for said in _ROLES if rest.count(said) == 1), None)
        if role != "assistant" or said is None:
            return b""
        rest = rest.replace(said, b"")
    if finish is None:
        return rest
    if finish == "" and not empty_ends:
        for said, null in _NO_ENDS:
            if rest.count(said) == 1:
                return rest.replace(said, null)
    return b""


_DELTAS = (b'"delta":{', b'"delta": {')


def named_twice(rest: bytes, thought: str) -> bytes:
    """What follows the beginning, its thought under the other name too; b"" where that cannot be done in its bytes."""
    said = next((said for said in _DELTAS if rest.count(said) == 1), None)
    held = [name for name in (b'"reasoning"', b'"reasoning_content"') if name in rest]
    if said is None or len(held) != 1:
        return b""
    other = b'"reasoning_content"' if held == [b'"reasoning"'] else b'"reasoning"'
    return rest.replace(said, b"%b%b:%b," % (said, other, _encode(thought)))


# ---- frames as they come


def is_frame(line: bytes) -> bool:
    """Whether a data line is a frame by itself, whatever follows."""
    if line[:1] != b"{" or line[-1:] != b"}":
        return line[:6] == b"[DONE]"
    try:
        fields_in(line)
    except BROKEN:
        return False
    return True


def one_line(data: bytes) -> bytes:
    """Line ends between the tokens of the JSON as spaces: ours is one line."""
    return data.replace(b"\n", b" ") if b"\n" in data else data


def clean(payload: bytes) -> bytes:
    """UTF-8 for certain, and without the characters at which naive clients break a line."""
    try:
        return sse.unbroken(payload)
    except UnicodeDecodeError:
        return sse.unbroken(payload.decode("utf-8", "replace").encode())


_READINGS: tuple[Callable[[bytes], bytes], ...] = (bytes, lenient_json.repaired, reshaped_whole)


def chunk_of(body: bytes) -> bytes | None:
    """A whole answer as the chunk that says all of it; None where it is none, an error for example."""
    for reading in _READINGS:
        try:
            answer: dict[str, Any] = fields_in(reading(body))
            choices: list[dict[str, Any]] = objects_in(answer["choices"])
            for choice in choices:
                if "message" in choice and "delta" not in choice:
                    choice["delta"] = as_delta(choice.pop("message"))
            chunk = _encode({**answer, "choices": choices, "object": CHUNK})
            places = [choice.index for choice in facts_in(chunk).choices or ()]
            known = [place for place in places if place is not None]
            if places and len(set(known)) == len(known):
                return chunk
        except (KeyError, *BROKEN):
            continue
    return None


def read_leniently(payload: bytes) -> tuple[bytes, Frame] | None:
    """A frame that could not be read as it came, repaired: its JSON first, then the shape of its choices. None: it is
    no frame.
    """
    payload = lenient_json.repaired(payload)
    try:
        return payload, facts_in(payload)
    except BROKEN:
        try:
            payload = reshaped(payload)
            return payload, facts_in(payload)
        except BROKEN:
            return None


# ---- errors

_SUCCESS = (None, 0, 200, "0", "200", "", "success", "ok")
_FAULTS = ("error", "failed", "failure")


def only_complains(fields: dict[str, Raw]) -> bool:
    """Whether a frame without choices is an error that does not stand under `error`."""
    if "detail" in fields or "errors" in fields:
        return True
    if "message" not in fields and "msg" not in fields:
        return False
    said = {name: msgspec.json.decode(fields[name]) for name in (*_KINDS, *_CODES) if name in fields}
    fault = any(isinstance(said.get(name), str) and said[name].lower() in _FAULTS for name in _KINDS)
    return fault or any(name in said and said[name] not in _SUCCESS for name in _CODES)


_KINDS = ("object", "type", "status", "event")
_CODES = ("code", "error_code", "status_code")


# ---- fields that stand elsewhere


def _value_at(fields: dict[str, Raw], path: list[str]) -> Any:
    raw = fields.get(path[0])
    value = msgspec.json.decode(raw) if raw is not None else None
    for name in path[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def failure_at(fields: dict[str, Raw], path: list[str], message_path: str) -> bytes:
    """The error that a frame reports at `path`, in the usual form, with the text at `message_path`; b"" for none."""
    code = _value_at(fields, path)
    if not code:
        return b""
    message = _value_at(fields, message_path.split(".")) if message_path else code
    return _encode({"error": {"code": code, "message": message if isinstance(message, str) else None}})


def taken(fields: dict[str, Raw], path: list[str]) -> Any:
    """What stands at `path`, taken out of the fields; an object that is empty then goes with it."""
    raw = fields.get(path[0])
    if raw is None:
        return None
    if len(path) == 1:
        return msgspec.json.decode(fields.pop(path[0]))
    if bytes(raw)[:1] != b"{":
        return None
    inner = fields_in(raw)
    size = len(inner)
    value = taken(inner, path[1:])
    if not inner:
        del fields[path[0]]
    elif value is not None or len(inner) != size:
        fields[path[0]] = Raw(_encode(inner))
    return value
