"""The choices of a chunk as hosts write them, in the form that client libraries can read.

It never knows the root of a frame, nor how frames are told apart.

What is right goes on as it came. Repaired is what libraries choke on, on whichever host: a choice without `index` or
`delta`, a role that is said again, content in parts, tool calls (see `calls`), entries of lists without `index`, and an
end that is said too early, twice, or in a word that nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.catalog.definitions import AnswerQuirks
from infron.wires.openai.chat.calls import ToolCalls
from infron.wires.openai.chat.choices import cited
from infron.wires.openai.chat.delta import Delta, cut_details, once_named, split_content

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode

# What hosts say -> what is said of it. Others are `stop` here: new ones end an answer too.
REASONS = {
    "blocklist": "content_filter",
    "content_filter": "content_filter",
    "context_length_exceeded": "length",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "function_call": "tool_calls",
    "image_safety": "content_filter",
    "length": "length",
    "max_length": "length",
    "max_new_tokens": "length",
    "max_output": "length",
    "max_output_tokens": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "model_length": "length",
    "prohibited_content": "content_filter",
    "recitation": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "spii": "content_filter",
    "stop": "stop",
    "stop_sequence": "stop",
    "tool-calls": "tool_calls",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
}
NO_REASON = frozenset(("", "none", "null"))  # what some hosts say in place of null
_LISTS = ("reasoning_details", "annotations", "images")  # in a delta; libraries match their entries by `index`
_NULL = Raw(b"null")
NOTHING = Raw(b"{}")
_SAY_NOTHING = frozenset((b"null", b'""', b"[]", b"{}"))


class Entries(Struct, gc=False):
    """Of a list: the index that comes next, and the `type` of the last entry, unless nothing goes on in it."""

    next: int = 0
    kind: Any = ""


class Choice(Struct, gc=False):
    """What is known of one choice of an answer. `native`: why it has ended, in the host's word, if that was said;
    `reason`: the same in the word that its definition has for it.

    `role`: it was told. `legacy`: it has a function call of the older kind. `end`: the fields of the choice in the
    frame that ends it, kept until the answer has ended, and the `root` of that frame; or that `frame` as it came.
    `details`: what its reasoning details have said, by their index. `names`: of tools that the request renamed.
    """

    index: int
    seed: object
    calls: ToolCalls | None = None
    role: bool = False
    legacy: bool = False
    native: str | None = None
    reason: str = ""
    end: dict[str, Any] | None = None
    frame: tuple[dict[str, Raw], bytes] | None = None
    root: dict[str, Raw] | None = None
    entries: dict[str, Entries] = {}
    details: dict[int, str] = {}
    names: Mapping[str, str] = {}

    def finish_reason(self) -> str:
        """Why it has ended, in OpenAI's words: because of calls where there are some, and else not."""
        reason = REASONS.get(self.reason.lower(), "stop")
        if reason not in ("stop", "tool_calls"):
            return reason
        return "tool_calls" if self.calls else "function_call" if self.legacy else "stop"

    @property
    def is_open(self) -> bool:
        """Whether a further finish reason would say more than the one that was said, if any was."""
        return self.native is None or self.finish_reason() in ("stop", "tool_calls")

    def ended(self, native: str, reason: str, choice: dict[str, Any], fields: dict[str, Raw]) -> dict[str, Any] | None:
        """Keep the end of the choice until the answer has ended. What else it says there is to be told at once."""
        if self.is_open:
            self.native, self.reason = native, reason
        delta = choice["delta"] if isinstance(choice["delta"], dict) else _fields(choice["delta"])
        now: dict[str, Any] | None = None
        if any(_encode(value) not in _SAY_NOTHING for name, value in delta.items() if name != "role"):
            now = {"index": self.index, "delta": delta, "finish_reason": None}
            if "logprobs" in choice:
                now["logprobs"] = choice.pop("logprobs")
            choice["delta"] = NOTHING
        self.frame = None
        self.end, self.root = choice, {**(self.root or {}), **fields}
        return now

    def last(self) -> dict[str, Any]:
        """The choice as it stands in its last chunk."""
        end = {**(self.end or {}), "finish_reason": self.finish_reason()}
        known = bytes(end.get("native_finish_reason", b""))[:1] == b'"'
        if self.native and not known and end["finish_reason"] != self.native:
            end["native_finish_reason"] = self.native
        return end


def is_plain(delta: Delta, choice: Choice | None = None) -> bool:
    """Whether a delta is fit to be handed on as it came, as nearly all are. `choice`: None before its first."""
    return (
        delta.content.__class__ is not list
        and delta.images is None
        and delta.annotations is None
        and (choice is None or delta.reasoning_details is None or _are_numbered(delta.reasoning_details, choice))
        and not delta.tool_calls
        and (delta.function_call is None or (choice is not None and choice.legacy))
    )


def repaired(choice: Choice, raw: dict[str, Any], delta: Delta, quirks: AnswerQuirks) -> bool:
    """Whether the choice had to be changed; it is, in place, and so is `delta`, which says the same."""
    fields: dict[str, Any] | None = None  # of the delta, once one of them changes
    changed = False

    def opened() -> dict[str, Any]:
        nonlocal fields, changed
        if fields is None:
            raw["delta"] = fields = _fields(raw["delta"])
        changed = True
        return fields

    choice.legacy = choice.legacy or delta.function_call is not None
    if delta.role and choice.role:
        del opened()["role"]
        delta.role = None
    if delta.content.__class__ is list:
        split_content(delta, opened())
    if delta.tool_calls:
        known = choice.calls = choice.calls or ToolCalls(f"{choice.seed} {choice.index}", choice.names)
        calls = known.take(delta.tool_calls if isinstance(delta.tool_calls, list) else [delta.tool_calls])
        if calls != delta.tool_calls:
            if calls:
                opened()["tool_calls"] = calls
            else:
                del opened()["tool_calls"]
            delta.tool_calls = calls or None
    if quirks.cumulative_details and isinstance(delta.reasoning_details, list):
        cut_details(delta, opened(), choice.details)
    if thought := once_named(delta):
        delta.reasoning = delta.reasoning_content = thought
        opened().update(reasoning=thought, reasoning_content=thought)
    for name in _LISTS:
        given = getattr(delta, name)
        if not isinstance(given, list):
            continue
        entries = given if all(isinstance(entry, dict) for entry in given) else objects_in(given, name)
        if name == "annotations":
            entries = [cited(entry) if entry.get("type") == "url_citation" else entry for entry in entries]
        if _number(entries, choice.entries.setdefault(name, Entries())) or entries is not given:
            setattr(delta, name, entries)
            opened()[name] = entries
    return changed


def _are_numbered(entries: Any, choice: Choice) -> bool:
    if entries.__class__ is not list:
        return True
    known = choice.entries.setdefault("reasoning_details", Entries())
    for entry in entries:
        if entry.__class__ is not dict or entry.get("index").__class__ is not int or entry["index"] < 0:
            return False
        kind = "" if entry.get("signature") else entry.get("type")
        known.next, known.kind = max(known.next, entry["index"] + 1), kind
    return True


def objects_in(entries: list[Any], name: str) -> list[dict[str, Any]]:
    """The entries that are objects, as all have to be; of images also those that are an address alone."""
    kept = [
        {"type": "image_url", "image_url": {"url": entry}} if name == "images" and isinstance(entry, str) else entry
        for entry in entries
    ]
    return [entry for entry in kept if isinstance(entry, dict)]


def _number(entries: list[Any], known: Entries) -> bool:
    """Give an index to each entry that has none; whether there was one. Thinking of one kind goes on in one entry."""
    changed = False
    for entry in entries:
        index, kind = entry.get("index"), entry.get("type")
        if index.__class__ is not int or index < 0:
            goes_on = known.next and kind == known.kind and kind in ("reasoning.text", "reasoning.summary")
            index = entry["index"] = known.next - 1 if goes_on else known.next
            changed = True
        known.next, known.kind = max(known.next, index + 1), "" if entry.get("signature") else kind
    return changed
