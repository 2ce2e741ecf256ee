"""Amazon Bedrock's Converse wire, the provider's side: its stream of events, its errors; requests in `bedrock_request`.

It never knows who the caller is, which model answers, what a token costs, or how a request is signed. Source: the
service model `bedrock-runtime` (2023-09-30) of the AWS SDKs, operation ConverseStream, and recorded streams.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.conversation import CLAUDE, CONVERSE
from infron.errors import InfronError
from infron.events import (
    Annotated,
    Done,
    Event,
    Failed,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from infron.money import Usage
from infron.wires import errors as openai_errors
from infron.wires import lenient_json
from infron.wires.bedrock import eventstream
from infron.wires.decoding import AnswerDecoder
from infron.wires.errors import Headers
from infron.wires.json_answer import ANSWER_TOOL
from infron.wires.lenient_json import decode, dict_in, dicts_in, string_in
from infron.wires.usage import count_in, usage_of

# ---- errors

# The class of an exception, in lower case, as HTTP status. Where it differs from the service's own one, ours says
# better whose fault it is: a model that fails (424) or is slow (408) is no mistake of the request.
_STATUS = {
    "accessdeniedexception": 403,
    "expiredtokenexception": 403,
    "incompletesignature": 403,
    "internalserverexception": 500,
    "invalidsignatureexception": 403,
    "missingauthenticationtokenexception": 403,
    "modelerrorexception": 502,
    "modelnotreadyexception": 429,
    "modelstreamerrorexception": 502,
    "modeltimeoutexception": 504,
    "resourcenotfoundexception": 404,
    "servicequotaexceededexception": 429,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "unknownoperationexception": 404,
    "unrecognizedclientexception": 403,
    "validationexception": 400,
}


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """An error of Bedrock as ours, named by `x-amzn-errortype` or in the body; see `openai_errors.parse_error`."""
    value = lenient_json.value_of(body)
    if isinstance(value, list) and value:
        value = value[0]
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    given = dict(headers).get(b"x-amzn-errortype", b"").decode("latin-1")
    typed = given or string_in(fields, "__type") or string_in(dict_in(fields, "Output"), "__type")
    name = openai_errors.without_key(typed.partition(":")[0].rpartition("#")[2], key)[:100]
    if not fields.get("message"):
        if isinstance(text := fields.get("Message"), str):
            body = msgspec.json.encode({"message": text})
        elif name and "error" not in fields:
            body = msgspec.json.encode({"message": f"{provider.name} answered with {name} and no message."})
    status = _STATUS.get(name.lower(), status)
    error = openai_errors.parse_error(status, headers, body, provider, key, now)
    if name:
        error.metadata["provider_code"] = name
    return error


# ---- what the events say, as far as it is read


class _Thought(Struct, gc=False):
    text: str | None = None
    signature: str | None = None
    redactedContent: str | None = None


class _Input(Struct, gc=False):
    input: str | None = None


class _Delta(Struct, gc=False):
    text: str | None = None
    toolUse: _Input | None = None
    reasoningContent: _Thought | None = None
    citation: Any = None


class _DeltaEvent(Struct, gc=False):
    delta: _Delta | None = None
    contentBlockIndex: int | None = None


class _ToolUse(Struct, gc=False):
    toolUseId: str | None = None
    name: str | None = None
    type: str | None = None


class _Block(Struct, gc=False):
    toolUse: _ToolUse | None = None


class _StartEvent(Struct, gc=False):
    start: _Block | None = None
    contentBlockIndex: int | None = None


class _StopEvent(Struct, gc=False):
    stopReason: str | None = None
    contentBlockIndex: int | None = None


class _MetadataEvent(Struct, gc=False):
    usage: dict[str, Any] | None = None


_delta = msgspec.json.Decoder(_DeltaEvent)
_start = msgspec.json.Decoder(_StartEvent)
_stop = msgspec.json.Decoder(_StopEvent)
_metadata = msgspec.json.Decoder(_MetadataEvent)

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
}


@lru_cache(maxsize=64)  # the headers of a stream are the same few bytes again and again
def _kind(head: bytes) -> tuple[str, str, str]:
    """Type of a message (event, exception, error), the name of what it carries, and an error's own text."""
    headers = eventstream.headers_of(head)
    type = headers.get(":message-type", "event")
    name = {"exception": ":exception-type", "error": ":error-code"}.get(str(type), ":event-type")
    return str(type), str(headers.get(name, "")), str(headers.get(":error-message", ""))


_CACHED_HEAD_BYTES = 256
MOST_BLOCKS = 1000  # tool calls, and thinking, of one answer


class Decoder(AnswerDecoder):
    """A ConverseStream answer to events. Raises only InfronError. Nothing follows Done or Failed.

    The wire knows no other end than that of the body. What has no neutral event is dropped: guardrail traces, the tools
    that the provider runs by itself, pictures among the deltas.
    """

    def __init__(
        self,
        provider: Provider,
        max_frame_bytes: int = eventstream.MAX_MESSAGE_BYTES,
        key: str = "",
        verbatim: bool = False,
    ) -> None:
        super().__init__(provider, key)
        self._frames = eventstream.Decoder(max_frame_bytes)
        self._started = False
        self._calls: dict[int, int] = {}  # index of a content block -> which tool call it is, the last one there
        self._tool_ids: dict[int, str | None] = {}  # and the id that it came with
        self._made = 0  # tool calls
        self._argued: set[int] = set()  # tool calls that have got a piece of their arguments
        self._answering: set[int] = set()  # content blocks that are the answer itself, in the tool made for it
        self._thinking: dict[int, int] = {}  # index of a content block -> which block of thinking it is
        self._measured = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        frames = self._frames
        for message in frames.feed(data):
            self._message(message.head, message.payload, events)
            if self._over:
                return events
        if frames.broken is not None:
            frames.broken.provider = self._provider.id
            if self._is_complete:  # whatever follows is none of it
                events += [*self.close(), Done()]
            else:
                self._fail(frames.broken, events)
        return events

    def close(self) -> list[Event]:
        """The body ended. A message that was cut is nothing; the missing end of the answer tells of it."""
        events: list[Event] = []
        if not self._over:
            for call in self._calls.values() if self.finished else ():
                self._argue(call, events)
            self._tell_end(events)
            self._over = True
        return events

    @property
    def _is_complete(self) -> bool:
        return self.finished and self._measured

    def whole(self, body: bytes) -> list[Event]:
        """An answer of Converse, which does not stream, or an error."""
        if body.lstrip()[:1] not in (b"{", b"["):
            raise self._broken("answered with something that is neither an event stream nor JSON")
        answer = lenient_json.value_of(body)
        message = dict_in(dict_in(answer, "output"), "message") if isinstance(answer, dict) else {}
        if not isinstance(message.get("content"), list):
            return [Failed(parse_error(200, [], body, self._provider, self._key))]
        events: list[Event] = [Started()]
        for index, block in enumerate(dicts_in(message, "content")):
            self._block(block, index, events)
        if "usage" in answer:
            self._measure(dict_in(answer, "usage"), events)
        self._stop(string_in(answer, "stopReason"), events)
        return events if self._over else [*events, *self.close(), Done()]

    def _block(self, block: dict[str, Any], index: int, events: list[Event]) -> None:
        """A block of content that comes in one piece."""
        cited, thought, use = (dict_in(block, name) for name in ("citationsContent", "reasoningContent", "toolUse"))
        said = [string_in(piece, "text") for piece in (block, *dicts_in(cited, "content"))]
        events.extend(TextDelta(text) for text in said if text)
        events.extend(Annotated(_annotation(citation)) for citation in dicts_in(cited, "citations"))
        if use:
            given = msgspec.json.encode(use.get("input") or {}).decode()
            called = _ToolUse(*(string_in(use, name) or None for name in ("toolUseId", "name", "type")))
            self._tool(called, index, events)
            self._other_delta(_Delta(toolUse=_Input(given)), index, events)
        plain = dict_in(thought, "reasoningText")
        told = (string_in(plain, "text"), string_in(plain, "signature"), string_in(thought, "redactedContent"))
        if any(told):
            self._other_delta(_Delta(reasoningContent=_Thought(*told)), index, events)

    # ---- one message

    def _message(self, head: bytes, payload: bytes, events: list[Event]) -> None:
        try:
            type, name, said = _kind(head) if len(head) <= _CACHED_HEAD_BYTES else _kind.__wrapped__(head)
        except InfronError as error:
            error.provider = self._provider.id
            self._fail(error, events)
            return
        if type != "event" and self._is_complete:
            events += [*self.close(), Done()]
        elif type != "event":
            self._fail(self._told(name, said, payload), events)
        else:
            try:
                self._event(name, payload or b"{}", events)
            except InfronError:
                self._fail(self._broken(f"sent an event {self._shown(name)} that cannot be read"), events)

    def _event(self, name: str, payload: bytes, events: list[Event]) -> None:
        if name == "contentBlockDelta":
            event = decode(payload, _delta)
            if event is not None and event.delta is not None:
                if text := event.delta.text:
                    events.append(TextDelta(text))
                else:
                    self._other_delta(event.delta, event.contentBlockIndex or 0, events)
        elif name == "contentBlockStart":
            start = decode(payload, _start)
            if start is not None and start.start is not None and start.start.toolUse is not None:
                self._tool(start.start.toolUse, start.contentBlockIndex or 0, events)
        elif name == "contentBlockStop":
            ended = decode(payload, _stop)
            call = self._calls.get(ended.contentBlockIndex or 0) if ended is not None else None
            if call is not None:
                self._argue(call, events)
        elif name == "messageStop":
            ended = decode(payload, _stop)
            self._stop(ended.stopReason or "" if ended is not None else "", events)
        elif name == "metadata":
            metadata = decode(payload, _metadata)
            self._measure(metadata.usage if metadata is not None else None, events)
        elif name == "messageStart" and not self._started:
            self._started = True
            events.append(Started())

    def _other_delta(self, delta: _Delta, index: int, events: list[Event]) -> None:
        if delta.toolUse is not None:
            piece = delta.toolUse.input
            call = self._calls.get(index)
            if piece and index in self._answering:
                events.append(TextDelta(piece))
            elif piece and call is not None:
                self._argued.add(call)
                events.append(ToolCallDelta(call, piece))
        elif delta.reasoningContent is not None:
            thought = delta.reasoningContent
            block = self._thinking.get(index)
            if block is None:
                block = self._thinking[index] = len(self._thinking)
                if block >= MOST_BLOCKS:
                    self._fail(self._broken(f"told more than {MOST_BLOCKS} blocks of reasoning"), events)
                    return
            if thought.text:
                events.append(ThinkingDelta(text=thought.text, index=block))
            if thought.signature:
                events.append(ThinkingDelta(signature=thought.signature, format=CLAUDE, index=block))
            if thought.redactedContent:
                events.append(ThinkingDelta(data=thought.redactedContent, format=CONVERSE, index=block))
        elif isinstance(delta.citation, dict):
            events.append(Annotated(_annotation(delta.citation)))

    def _tool(self, tool: _ToolUse, index: int, events: list[Event]) -> None:
        known = self._calls.get(index)
        if tool.type == "server_tool_use" or (
            known is not None and tool.toolUseId in (None, "", self._tool_ids[index])
        ):
            return
        if known is not None:  # another call in the same place
            self._argue(known, events)
        if tool.name == ANSWER_TOOL:
            if len(self._answering) < MOST_BLOCKS:
                self._answering.add(index)
            return
        call = self._calls[index] = self._made
        self._made += 1
        self._tool_ids[index] = tool.toolUseId
        if call >= MOST_BLOCKS:
            self._fail(self._broken(f"made more than {MOST_BLOCKS} tool calls"), events)
            return
        events.append(self._called(call, tool.toolUseId, tool.name))  # some models send no id

    def _argue(self, call: int, events: list[Event]) -> None:
        if call not in self._argued:
            self._argued.add(call)
            events.append(ToolCallDelta(call, "{}"))

    def _stop(self, native: str, events: list[Event]) -> None:
        reason = _REASONS.get(native)
        if reason is None:
            self._fail(self._broken(f"ended the answer with the stop reason {self._shown(native)}"), events)
            return
        self._ends(reason, native, events)

    def _measure(self, usage: dict[str, Any] | None, events: list[Event]) -> None:
        if usage is not None:
            self._measured = True
            events.append(UsageReported(_usage(usage)))

    def _told(self, name: str, said: str, payload: bytes) -> InfronError:
        """An exception or an error inside the stream."""
        body = payload if payload.strip() or not said else msgspec.json.encode({"message": said})
        return parse_error(200, [(b"x-amzn-errortype", name.encode())], body, self._provider, self._key)


def _usage(usage: dict[str, Any]) -> Usage:
    """Converse's counts. `inputTokens` is without what the cache read or wrote."""
    read, written = count_in(usage, "cacheReadInputTokens"), count_in(usage, "cacheWriteInputTokens")
    prompt, completion = count_in(usage, "inputTokens") + read + written, count_in(usage, "outputTokens")
    hours = (part for part in dicts_in(usage, "cacheDetails") if "1h" in str(part.get("ttl")).lower())
    hour = sum(count_in(part, "inputTokens") for part in hours)
    return usage_of(prompt, completion, cached=read, written=written, written_1h=hour)


_PLACES = {
    "documentChar": ("char_location", "char_index"),
    "documentPage": ("page_location", "page_number"),
    "documentChunk": ("content_block_location", "block_index"),
}


def _annotation(citation: dict[str, Any]) -> dict[str, Any]:
    """A citation as a field of the chat wire's `annotations`: of a page, or of a document that the request held."""
    kind, place = next(iter(dict_in(citation, "location").items()), ("", None))
    place = place if isinstance(place, dict) else {}
    title = citation.get("title") or citation.get("source") or ""
    quote = "".join(string_in(piece, "text") for piece in dicts_in(citation, "sourceContent"))
    if kind == "web":
        found = {"url": place.get("url"), "title": title, "content": quote}
        return {"type": "url_citation", "url_citation": {name: value for name, value in found.items() if value}}
    found = {"cited_text": quote, "document_title": title or None}
    if kind in _PLACES:  # as Claude's own API says them
        type, unit = _PLACES[kind]
        at = {f"start_{unit}": count_in(place, "start"), f"end_{unit}": count_in(place, "end")}
        found = {"type": type, **found, "document_index": count_in(place, "documentIndex"), **at}
    return {"type": "file_citation", "file_citation": found}
