"""What was said in a request of a client of Gemini's API, as messages.

It never knows which provider will take them. Calls and their responses are paired by id where there is one, else by
name and order, as Gemini itself does. Libraries keep a streamed answer in its pieces: what the model said in one go is
put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec

from infron.conversation import GEMINI, Media, Message, Part, Text, Thinking, ToolCall, ToolResult
from infron.wires.gemini.thinking import is_google, is_sealed, opened
from infron.wires.gemini.words import spelt
from infron.wires.request_fields import arguments_of, object_of, objects_of, string_of, unsupported, wrong

Values = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_ROLES = ("user", "model", "function", "system")


def messages_of(value: Any, place: str, lost: set[str]) -> Iterator[Message]:
    """The messages of `contents`. `lost` gets the names of what is left out. Raises InvalidRequest, Unsupported."""
    calls = _Calls()
    said: list[Part] = []  # by the model, since somebody else spoke
    told = False  # a thought of it came back in a signature
    for inner, given in objects_of([value] if isinstance(value, dict) else value, place):
        content = spelt(given)
        role = content.get("role") or "user"
        if role not in _ROLES:
            raise wrong(f"{inner}.role", "user or model")
        if role == "model" and not said:
            calls.next_turn()
        read = _Reader(calls, lost, model=role == "model")
        parts = [part for item in _parts(content.get("parts"), f"{inner}.parts") for part in read.part(*item)]
        if role == "model":
            said += parts
            told = told or read.opened
            continue
        if said:
            yield Message("assistant", tuple(_joined(said, told)))
            said, told = [], False
        yield from _messages("system" if role == "system" else "user", parts)
    if said:
        yield Message("assistant", tuple(_joined(said, told)))


def system_messages(value: Any, place: str, lost: set[str]) -> Iterator[Message]:
    """Those of `systemInstruction`, which is a content, or its text."""
    if isinstance(value, str):
        value = {"parts": [{"text": value}]}
    content = spelt(object_of(value, place))
    read = _Reader(_Calls(), lost, model=False)
    parts = tuple(part for item in _parts(content.get("parts"), f"{place}.parts") for part in read.part(*item))
    if parts:
        yield Message("system", parts)


def _messages(role: Literal["user", "system"], parts: list[Part]) -> Iterator[Message]:
    """Results are told apart from what the user says beside them, and come first."""
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    if results:
        yield Message("tool", results)
    if others or not results:
        yield Message(role, others)


def _parts(value: Any, place: str) -> Iterator[tuple[str, Values]]:
    """The parts, each with its place. A bare string is one text, and one part needs no array."""
    if isinstance(value, str):
        value = {"text": value}
    for inner, part in objects_of([value] if isinstance(value, dict) else value, place):
        yield inner, spelt(part)


# ---- calls


class _Calls:
    """Which call a response answers. An id that is made here is the same whenever the history is sent again."""

    def __init__(self) -> None:
        self._made = 0
        self._open: list[tuple[str, str]] = []  # (id, name) of the calls of the latest turn
        self._names: dict[str, str] = {}

    def next_turn(self) -> None:
        self._open = []

    def called(self, id: str, name: str) -> str:
        id = id or self._id()
        self._open.append((id, name))
        self._names[id] = name
        return id

    def answered(self, id: str, name: str) -> tuple[str, str]:
        """(id, name) of the call."""
        fits: Callable[[tuple[str, str]], bool] = (lambda call: call[0] == id) if id else (lambda call: call[1] == name)
        found = next(filter(fits, self._open), None)
        if found is None:
            return id or self._id(), self._names.get(id, name)
        self._open.remove(found)
        return found

    def _id(self) -> str:
        self._made += 1
        return f"call_{self._made}"


# ---- parts

# Fields of a part that say how another one is meant, or what Google's own servers did.
_BESIDE = frozenset(("thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"))
_AT_GOOGLE = frozenset(("toolCall", "toolResponse"))


class _Bare(Thinking, frozen=True, kw_only=True):
    """A thought that came without a signature."""


class _Reader:
    """The parts of one content. `model`: it is the model's. `opened`: thinking came back in a signature."""

    opened = False

    def __init__(self, calls: _Calls, lost: set[str], *, model: bool) -> None:
        self._calls = calls
        self._lost = lost
        self._model = model

    def part(self, place: str, part: Values) -> Iterator[Part]:
        signature = string_of(part, "thoughtSignature", place)
        if is_sealed(signature):
            self.opened = True
            yield from opened(signature)
        own = signature if is_google(signature) else ""
        if "functionCall" in part and self._model:
            yield self._call(part["functionCall"], f"{place}.functionCall", own)
            return
        if part.get("thought") is True:
            text = string_of(part, "text", place)
            if own:
                yield Thinking(text=text, signature=own, format=GEMINI)
            elif text:
                yield _Bare(text=text)
            return
        yield from self._said(part, place)
        if own and self._model:
            yield Thinking(data=own, format=GEMINI)

    def _said(self, part: Values, place: str) -> Iterator[Part]:
        kinds = part.keys() - _BESIDE
        if "videoMetadata" in part:
            self._lost.add("contents.videoMetadata")
        if "text" in kinds:
            if text := string_of(part, "text", place):
                yield Text(text)
        elif "functionResponse" in kinds:
            yield self._result(part["functionResponse"], f"{place}.functionResponse")
        elif "inlineData" in kinds:
            yield _blob(part["inlineData"], f"{place}.inlineData", "data")
        elif "fileData" in kinds:
            yield _blob(part["fileData"], f"{place}.fileData", "fileUri")
        elif "executableCode" in kinds:
            code = spelt(object_of(part["executableCode"], f"{place}.executableCode"))
            yield Text(_fence(code.get("code"), str(code.get("language") or "").lower()))
        elif "codeExecutionResult" in kinds:
            result = spelt(object_of(part["codeExecutionResult"], f"{place}.codeExecutionResult"))
            yield Text(_fence(result.get("output"), ""))
        elif kinds & _AT_GOOGLE:
            self._lost.add("contents.toolCall")
        elif kinds:
            raise unsupported(place, f"is of a kind that this provider does not take ({min(kinds)[:40]})")

    def _call(self, value: Any, place: str, signature: str) -> ToolCall:
        call = spelt(object_of(value, place))
        name = string_of(call, "name", place, required=True)
        arguments = arguments_of(call.get("args"))
        id = self._calls.called(string_of(call, "id", place), name)
        return ToolCall(id=id, name=name, arguments=arguments, signature=signature)

    def _result(self, value: Any, place: str) -> ToolResult:
        result = spelt(object_of(value, place))
        given = string_of(result, "id", place), string_of(result, "name", place, required=True)
        id, name = self._calls.answered(*given)
        text, failed = _told(result.get("response"))
        parts: list[Text | Media] = [Text(text)] if text else []
        for inner, part in _parts(result.get("parts"), f"{place}.parts"):
            parts += [said for said in self._said(part, inner) if isinstance(said, Text | Media)]
        return ToolResult(call_id=id, name=name, parts=tuple(parts), failed=failed)


def _told(response: Any) -> tuple[str, bool]:
    """What a function answered, and whether it failed: under the names that Google gives to an output and an error."""
    values = response if isinstance(response, dict) else {"output": response}
    for name, failed in (("output", False), ("result", False), ("error", True)):
        if values.keys() == {name}:
            value = values[name]
            return ("" if value is None else value if isinstance(value, str) else _encode(value).decode()), failed
    return _encode(values).decode(), False


_KINDS: dict[str, Literal["image", "audio", "video"]] = {"image": "image", "audio": "audio", "video": "video"}


def _blob(value: Any, place: str, field: str) -> Media:
    blob = spelt(object_of(value, place))
    mime, name = string_of(blob, "mimeType", place), string_of(blob, "displayName", place)
    said = string_of(blob, field, place, required=True)
    kind: Literal["image", "audio", "video", "document"] = _KINDS.get(mime.partition("/")[0], "document")
    data, url = (said, "") if field == "data" else ("", said)
    return Media(kind=kind, mime=mime, name=name, data=data, url=url)


def _fence(code: Any, language: str) -> str:
    """Code that ran at Google, or what it printed, as text."""
    return f"\n```{language}\n{code.rstrip() if isinstance(code, str) else ''}\n```\n"


def _joined(parts: Iterable[Part], told: bool) -> list[Part]:
    """What the model said in one go, its pieces put together. `told`: its thinking came back in signatures, so that
    those without one are copies.
    """
    whole: list[Part] = []
    for part in parts:
        last = whole[-1] if whole else None
        if isinstance(part, _Bare) and told:
            continue
        if isinstance(part, Text) and isinstance(last, Text):
            whole[-1] = Text(last.text + part.text)
        elif isinstance(part, Thinking) and isinstance(last, _Bare) and _goes_on(part):
            kind = _Bare if isinstance(part, _Bare) else Thinking
            whole[-1] = kind(text=last.text + part.text, signature=part.signature, format=part.format)
        else:
            whole.append(part)
    return [Thinking(text=part.text) if isinstance(part, _Bare) else part for part in whole]


def _goes_on(part: Thinking) -> bool:
    """Whether it is a further piece of a thought that is not signed yet, or its signature."""
    return isinstance(part, _Bare) or bool(part.signature and not part.text)
