"""How far an answer of an OpenAI host has come: its choices, repaired chunk by chunk, and their ends, told last.

It never knows the bytes of a frame, nor whose answer it is.

A finish reason is kept until the answer has ended, for hosts say one before the content, with each chunk, or `stop`
where they have called tools. What a host says beside the choices, in a chunk without any, goes with the next that has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, ValidationError

from infron.catalog.definitions import AnswerQuirks
from infron.events import Event, Finished, Verbatim
from infron.wires import sse
from infron.wires.openai.chat.choices import CHUNK, ROOT
from infron.wires.openai.chat.delta import MOST_CHOICES, Delta, as_delta, content_of
from infron.wires.openai.chat.frame import ChoiceFacts, delta_in, fields_in, objects_in
from infron.wires.openai.chat.repair import NO_REASON, Choice, repaired
from infron.wires.openai.chat.shapes import reshaped_delta

_plain = msgspec.json.Encoder().encode
_NULL = Raw(b"null")
_USUAL = frozenset(("stop", "length", "tool_calls", "content_filter"))  # OpenAI's own
# Finish reasons that are failures, at whichever host.
_FAILURES = frozenset(("abort", "aborted", "cancelled", "canceled", "error", "failed", "network_error"))


def _encode(value: Any) -> bytes:
    """Without the line ends of Unicode, which strings that were read hold again."""
    return sse.unbroken(_plain(value))


def _is_text(choice: dict[str, Any]) -> bool:
    """Whether it is a choice of the older completions API."""
    return bytes(choice.get("text", b""))[:1] == b'"'


def _says_nothing(choice: dict[str, Any]) -> bool:
    return all(name == "index" or _plain(value) in (b"{}", b"null") for name, value in choice.items())


class Failure(NamedTuple):
    """What failed, in words that show the host's word at `{}`; or the error that it told."""

    what: str
    word: str = ""
    error: bytes = b""


class Progress:
    """`plain`: the choices that have told their role. `riding`: root fields that wait for a chunk with a choice.
    `finished`: every choice seen has a finish reason. `seed`: what tells this answer from others.
    `names`: of tools that the request renamed: the host's -> the caller's own. `alone`: one choice was asked for.
    """

    seed: object = ""
    alone = True
    _first = 0  # the index that the host gives the first choice
    finished = False
    names: Mapping[str, str] = {}
    _noted = (-1, "")  # the choice that was noted last, and how it ended

    def __init__(self, quirks: AnswerQuirks) -> None:
        self._quirks = quirks
        self._dropped = ("message", *quirks.drop_choice)
        own = quirks.finish or quirks.error_finish
        self._usual = _USUAL.difference(quirks.finish, quirks.error_finish) if own else _USUAL
        self.choices: dict[int, Choice] = {}
        self.plain: dict[int | None, Choice] = {}
        self.riding: dict[str, Raw] = {}

    def begin(self, seed: object) -> None:
        """The first choice, which has told its role."""
        self.seed = seed
        self.choices[0] = self.plain[0] = Choice(0, seed, role=True, names=self.names)

    def end(self, choice: Choice, finish: str, root: dict[str, Raw], rest: bytes, events: list[Event]) -> bool:
        """Keep a chunk that does nothing but end a choice as it came. False: its word is not OpenAI's."""
        if finish not in self._usual:
            return False
        if choice.is_open:
            choice.native = choice.reason = finish
            choice.frame = (root, rest)
        if choice.calls:
            self._complete_calls(choice, root, events)
        self._look_finished()
        return True

    def _look_finished(self) -> None:
        self.finished = all([choice.reason for choice in self.choices.values()])

    def _complete_calls(self, choice: Choice, root: dict[str, Raw], events: list[Event]) -> None:
        """Tell what the calls of a choice that has ended still lack."""
        if choice.calls and (rest := choice.calls.rest()):
            delta = {"tool_calls": rest}
            found, text = content_of(Delta(tool_calls=rest))
            now = Raw(_encode([{"index": choice.index, "delta": delta, "finish_reason": None}]))
            events.append(Verbatim({**ROOT, **root, "object": CHUNK, "choices": now}, found, text))

    # ---- a chunk

    def take(
        self, choices: list[ChoiceFacts], raws: Raw, fields: dict[str, Raw], events: list[Event]
    ) -> Failure | None:
        """The choices of a chunk, whose other root fields are `fields`. None: nothing failed."""
        told: list[dict[str, Any]] = []
        changed = content = False
        ended: list[Choice] = []
        text = ""
        for place, (facts, raw) in enumerate(zip(choices, objects_in(raws), strict=True)):
            choice = self._choice(self._index(place if facts.index is None else facts.index))
            if choice is None:
                return Failure(f"sent more than {MOST_CHOICES} choices")
            delta, made = self._repaired(facts, raw, choice)
            found, words = content_of(delta)
            if found:
                content = True
                text = text + words if text else words
            self._tell_role(choice, delta, found, events)
            native = facts.finish_reason
            if native is not None and self._is_failure(native):
                said_so = bytes(raw.get("error", b""))
                return Failure(
                    "ended the answer with the finish reason {}", native, said_so and b'{"error":%b}' % said_so
                )
            reason = self._reason_of(native)
            said: dict[str, Any] | None = raw
            if reason:
                made = True
                ended.append(choice)
                said = choice.ended(native or "", reason, raw, fields)
            elif native is not None:
                raw["finish_reason"], made = _NULL, True
            changed = changed or made
            if said is not None and not (made and _says_nothing(said)):
                told.append(said)
        if told:
            now = Raw(_encode(told)) if changed else raws
            events.append(Verbatim({**fields, "object": CHUNK, **self._ridden(), "choices": now}, content, text))
        for choice in ended:
            self._complete_calls(choice, fields, events)
        if ended:
            self._look_finished()
        return None

    def _index(self, index: int) -> int:
        """The index of a choice here: the only one that was asked for is the first, whatever its host counts from."""
        if self.alone and index and not self.choices:
            self._first = index
        return 0 if index == self._first else self._first if index == 0 else index

    def _choice(self, index: int) -> Choice | None:
        choice = self.choices.get(index)
        if choice is None and len(self.choices) < MOST_CHOICES:
            choice = self.choices[index] = Choice(index, self.seed, names=self.names)
            self.finished = False
        return choice

    def _repaired(self, facts: ChoiceFacts, raw: dict[str, Any], choice: Choice) -> tuple[Delta, bool]:
        """The delta of a choice, and whether the choice was changed, in place."""
        changed = False
        if facts.index != choice.index:
            raw["index"], changed = choice.index, True
        delta = facts.delta
        if delta is None:  # a whole message is said in place of it, or, at the end, once more; or text alone
            anew = bytes(facts.message)[:1] == b"{" and not choice.role
            said = as_delta(facts.message) if anew else {"content": raw["text"]} if _is_text(raw) else {}
            raw["delta"], changed = Raw(_encode(said)), True
            try:
                delta = delta_in(raw["delta"])
            except ValidationError:
                raw["delta"] = Raw(reshaped_delta(raw["delta"]))
                delta = delta_in(raw["delta"])
        for name in ("message", "text", *self._quirks.drop_choice) if facts.delta is None else self._dropped:
            changed = raw.pop(name, None) is not None or changed
        return delta, repaired(choice, raw, delta, self._quirks) or changed

    def _tell_role(self, choice: Choice, delta: Delta, found: bool, events: list[Event]) -> None:
        if found and not (choice.role or delta.role):
            first = [{"index": choice.index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
            events.append(Verbatim({**ROOT, "choices": Raw(_encode(first))}, False, ""))
        if delta.role or found:
            choice.role = True
            self.plain[choice.index] = choice

    def _is_failure(self, native: str) -> bool:
        return native.lower() in _FAILURES or native in self._quirks.error_finish

    def _reason_of(self, native: str | None) -> str:
        """Why a choice has ended, in the host's word or in that which its definition has for it; "" if it has not."""
        finish = self._quirks.finish
        if native is None or (native not in finish and native.lower() in NO_REASON):
            return ""
        return finish.get(native, native)

    def _ridden(self) -> dict[str, Raw]:
        riding, self.riding = self.riding, {}
        return riding

    # ---- the ends

    def tell_ends(self, events: list[Event]) -> None:
        """The chunks that end the choices, now that nothing follows them."""
        choices = [*self.choices.values()]
        if len(choices) > 1:
            choices.sort(key=lambda choice: choice.index)
        for choice in choices:
            if choice.frame is None and choice.end is None:
                continue
            reason = choice.finish_reason()
            if choice.frame and reason == choice.native and not (self.riding or choice.calls):
                self._hand_on(*choice.frame, choice, events)
            else:
                self._tell_end(choice, events)
            choice.frame = choice.end = None
            if self._noted[0] == choice.index and self._noted[1] != reason:
                self.note(events)

    def _hand_on(self, root: dict[str, Raw], rest: bytes, choice: Choice, events: list[Event]) -> None:
        """Tell an end as it came."""
        events.append(Verbatim(root, False, "", rest))

    def _tell_end(self, choice: Choice, events: list[Event]) -> None:
        if choice.frame:
            root = {**choice.frame[0], **fields_in(b'{"choices":' + choice.frame[1])}
            choice.end, choice.root = dict(objects_in(root.pop("choices"))[0]), root
        whole = {**(choice.root or ROOT), "object": CHUNK, **self._ridden(), "choices": Raw(_encode([choice.last()]))}
        events.append(Verbatim(whole, False, ""))

    def note(self, events: list[Event]) -> None:
        """For the record: how the answer ends, as far as that is known. It is told the client by the last chunks."""
        last = next(reversed(self.choices.values()))
        reason = last.finish_reason()
        self._noted = (last.index, reason)
        events.append(Finished(reason, last.native or "", last.index, told=True))
