"""The OpenAI chat completions wire, both directions.

It never knows who the caller is, what a token costs, or when to write: it only turns bytes into values and back.
Between two ends that both speak it the provider's own JSON is handed on: only the root members `id`, `created`,
`model`, `usage` and `error` are ours.
"""

from __future__ import annotations

import email.utils
import json
import math
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.catalog import Provider
from infron.errors import (
    InfronError,
    InvalidRequest,
    ProviderError,
    ProviderMisconfigured,
    ProviderUnavailable,
)
from infron.model import Charge, Chunk, Done, Event, Failed, Finished, Preferences, Request, Usage, UsageReported
from infron.model import PICODOLLARS
from infron.wires import sse

KEEP_ALIVE = sse.comment("Infron AI PROCESSING")
DONE = sse.encode(b"[DONE]")

# Fields of the gateway itself: consumed by name, never sent to a provider.
GATEWAY_FIELDS = frozenset(
    "provider models fallback_models fallback_rules usage plugins session_id route transforms preset trace debug"
    " stop_server_tools_when".split()
)
MAX_DEPTH = 200

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


# ---------------------------------------------------------------- client side: requests


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidRequest(f"The body names `{name[:100]}` twice in one object; send it once.", param=name[:100])
    return members


def _no_constant(name: str) -> Any:
    raise InvalidRequest(f"The body holds {name}, which is not JSON; send a number or null.")


_strict = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant).decode


def parse_request(body: bytes) -> Request:
    """The request in a body. Raises InvalidRequest that names the field or the place in the JSON."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (byte {error.start}); send JSON in UTF-8.") from None
    try:
        values = _strict(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    if not isinstance(values, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if "\\u" in text or "\\U" in text:
        _refuse_surrogates(text, values)
    model = _field(values, "model", str, required=True)
    if not model:
        raise InvalidRequest("`model` is empty; name a model, for example one of GET /v1/models.", param="model")
    _check_messages(_field(values, "messages", list, required=True))
    stream_options = _field(values, "stream_options", dict) or {}
    usage = _field(values, "usage", dict) or {}
    fields = {name: raw for name, raw in _members(body).items() if name not in GATEWAY_FIELDS}
    return Request(
        model=model,
        stream=bool(_field(values, "stream", bool)),
        include_usage=stream_options.get("include_usage") is True or usage.get("include") is True,
        fields=fields,
        models=_strings(values, "models") or _strings(values, "fallback_models"),
        preferences=_preferences(_field(values, "provider", dict) or {}),
        user=_field(values, "user", str),
        session_id=_field(values, "session_id", str),
    )


def _refuse_surrogates(text: str, values: Any) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("The body holds half of a surrogate pair (\\ud800-\\udfff) in a string.") from None


def _field(values: dict[str, Any], name: str, kind: type, required: bool = False) -> Any:
    value = values.get(name)
    if value is None:
        if required:
            raise InvalidRequest(f"`{name}` is missing.", param=name)
        return None
    if not isinstance(value, kind):
        wanted = {str: "a string", list: "an array", dict: "an object", bool: "true or false"}[kind]
        raise InvalidRequest(f"`{name}` must be {wanted}.", param=name)
    return value


def _strings(values: dict[str, Any], name: str) -> tuple[str, ...]:
    value = _field(values, name, list) or []
    if not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f"`{name}` must be an array of strings.", param=name)
    return tuple(value)


def _preferences(values: dict[str, Any]) -> Preferences:
    allow = values.get("allow_fallbacks")
    return Preferences(
        order=_strings(values, "order"),
        only=_strings(values, "only"),
        ignore=_strings(values, "ignore"),
        allow_fallbacks=allow is not False,
    )


def _check_messages(messages: list[Any]) -> None:
    if not messages:
        raise InvalidRequest("`messages` is empty; send at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest(f"`messages[{index}]` must be an object.", param=f"messages[{index}]")
        if not isinstance(message.get("role"), str):
            raise InvalidRequest(
                f"`messages[{index}].role` must be a string such as user.", param=f"messages[{index}].role"
            )
        if not isinstance(message.get("content"), str | list | None):
            raise InvalidRequest(
                f"`messages[{index}].content` must be a string or an array of parts.",
                param=f"messages[{index}].content",
            )


# ---------------------------------------------------------------- client side: answers


class Encoder:
    """Events to the bytes of a client's stream. `id`, `created` (unix s) and `model` are the same in every frame."""

    def __init__(self, id: str, created: int, model: str) -> None:
        self._own = {"id": Raw(_encode(id)), "created": Raw(_encode(created)), "model": Raw(_encode(model))}

    def encode(self, chunk: Chunk) -> bytes:
        members = chunk.members
        members.update(self._own)
        return b"data: %b\n\n" % _encode(members)

    def keep_alive(self) -> bytes:
        return KEEP_ALIVE

    def usage(self, usage: dict[str, Any], cost: dict[str, Any], provider: str) -> bytes:
        """The usage frame: counts, and `cost` and `cost_details` at the root (USD)."""
        return sse.encode(_encode({**self._head(), "provider": provider, "choices": [], "usage": usage, **cost}))

    def fail(self, error: InfronError) -> bytes:
        """The last frame of a stream that failed, and its end. No `choices`: some clients stay silent if they stand beside."""
        body = error_object(error)
        return sse.encode(_encode({**self._head(), "error": body})) + DONE

    def close(self) -> bytes:
        return DONE

    def _head(self) -> dict[str, Any]:
        own = self._own
        return {"id": own["id"], "object": "chat.completion.chunk", "created": own["created"], "model": own["model"]}


class Folder:
    """Chunks to the one JSON of an answer that is not streamed."""

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Chunk) -> None:
        members = {name: msgspec.json.decode(raw) for name, raw in chunk.members.items()}
        for choice in members.pop("choices", None) or []:
            index = choice.get("index") or 0
            folded = self._choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
            _merge(folded["message"], choice.pop("delta", None) or {})
            for name, value in choice.items():
                if name == "logprobs" and isinstance(value, dict):
                    _merge(folded.setdefault(name, {}), value)
                elif name != "index" and value is not None:
                    folded[name] = value
        self._members.update({name: value for name, value in members.items() if value is not None})

    def answer(self, id: str, created: int, model: str, provider: str, **more: Any) -> bytes:
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            message = choice["message"]
            choice["message"] = {"role": "assistant", "content": None, **message}
            for call in message.get("tool_calls") or []:
                call.pop("index", None)
        own = {"id": id, "object": "chat.completion", "created": created, "model": model, "provider": provider}
        rest = {name: value for name, value in self._members.items() if name not in own}
        return _encode({**own, **rest, "choices": choices, **more})


# Members of a delta that are said again rather than continued.
_SAID_ONCE = frozenset(("role", "id", "type", "name", "index", "format", "signature"))


def _merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    """Fold one delta into what came before: strings and lists are continued, objects merged, items of `index` matched."""
    for name, value in delta.items():
        old = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif isinstance(old, str) and isinstance(value, str):
            if name not in _SAID_ONCE:
                into[name] = old + value
            elif value:
                into[name] = value
        elif isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(value, list):
            into[name] = _merge_lists(old if isinstance(old, list) else [], value)
        else:
            into[name] = value


def _merge_lists(old: list[Any], new: list[Any]) -> list[Any]:
    for item in new:
        index = item.get("index") if isinstance(item, dict) else None
        same = next((o for o in old if isinstance(o, dict) and index is not None and o.get("index") == index), None)
        if same is not None:
            _merge(same, item)
        else:
            old.append(item)
    return old


def error_object(error: InfronError) -> dict[str, Any]:
    metadata = {"error_type": error.error_type, **error.metadata}
    if error.provider:
        metadata["provider"] = error.provider
    if error.retry_after is not None:
        metadata["retry_after"] = error.retry_after
    return {
        "code": error.status,
        "message": error.message,
        "type": error.error_type,
        "param": error.param,
        "metadata": metadata,
    }


def render_error(error: InfronError) -> bytes:
    """The body of an HTTP error."""
    return _encode({"error": error_object(error)})


def usage_object(usage: Usage, raw: dict[str, Any] | None, charge: Charge | None, estimated: bool) -> dict[str, Any]:
    """`usage` as the client sees it: the provider's own members, with the counts that were billed over them."""
    shown: dict[str, Any] = dict(raw or {})
    shown.update(
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        total_tokens=usage.prompt + usage.completion,
    )
    for name, member, count in (
        ("prompt_tokens_details", "cached_tokens", usage.cached),
        ("completion_tokens_details", "reasoning_tokens", usage.reasoning),
    ):
        old = shown.get(name)
        shown[name] = {**(old if isinstance(old, dict) else {}), member: count}
    if estimated:
        shown["estimated"] = True
    shown["cost"] = None if charge is None else charge.total / PICODOLLARS
    return shown


def cost_members(charge: Charge | None) -> dict[str, Any]:
    """`cost` and `cost_details`, USD, for the root of the usage frame; null where no price is known."""
    if charge is None:
        return {"cost": None, "cost_details": None}
    parts = {
        "prompt_cost": charge.prompt,
        "completion_cost": charge.completion,
        "prompt_cache_read_cost": charge.cached,
        "prompt_cache_write_cost": charge.cache_write,
        "request_cost": charge.request,
    }
    return {
        "cost": charge.total / PICODOLLARS,
        "cost_details": {name: value / PICODOLLARS for name, value in parts.items()},
    }


# ---------------------------------------------------------------- provider side: requests


def asks_usage(provider: Provider) -> bool:
    return provider.usage in ("ask", "try")


def encode_request(request: Request, provider: Provider, own_id: str, ask_usage: bool) -> bytes:
    """The body for one provider: always streamed, in the names that its row says it takes."""
    quirks = provider.quirks
    fields: dict[str, Any] = dict(request.fields)
    fields["model"] = own_id
    fields["stream"] = True
    options = msgspec.json.decode(fields.pop("stream_options", b"null"), type=dict[str, Any] | None) or {}
    options.pop("include_usage", None)
    if ask_usage:
        options["include_usage"] = True
    if options and provider.usage != "never":
        fields["stream_options"] = options
    if quirks.max_tokens:
        other = "max_tokens" if quirks.max_tokens == "max_completion_tokens" else "max_completion_tokens"
        if other in fields:
            fields.setdefault(quirks.max_tokens, fields.pop(other))
            fields.pop(other, None)
    for old, new in quirks.rename.items():
        if old in fields:
            fields.setdefault(new, fields.pop(old))
    for name in quirks.drop:
        fields.pop(name, None)
    for name, value in quirks.defaults.items():
        fields.setdefault(name, value)
    if quirks.only:
        fields = {name: value for name, value in fields.items() if name in quirks.only}
    if quirks.roles or quirks.strip_message:
        fields["messages"] = [_message(message, provider) for message in msgspec.json.decode(fields["messages"])]
    if quirks.strip_tool and "tools" in fields:
        fields["tools"] = [_tool(tool, quirks.strip_tool) for tool in msgspec.json.decode(fields["tools"]) or []]
    return _encode(fields)


def _message(message: dict[str, Any], provider: Provider) -> dict[str, Any]:
    quirks = provider.quirks
    kept = {name: value for name, value in message.items() if name not in quirks.strip_message}
    kept["role"] = quirks.roles.get(kept["role"], kept["role"])
    return kept


def _tool(tool: Any, names: Iterable[str]) -> Any:
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
        return tool
    return {**tool, "function": {name: value for name, value in tool["function"].items() if name not in names}}


# ---------------------------------------------------------------- provider side: answers


class _Delta(Struct, gc=False):
    content: Any = None
    role: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    images: Any = None


class _Choice(Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    usage: Any = None


class _Frame(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    id: Any = None


_facts = msgspec.json.Decoder(_Frame).decode
# Root members that say nothing of their own when `choices` is empty.
_FRAMING = frozenset("id object created model choices usage system_fingerprint service_tier provider obfuscation".split())
# Line ends of Unicode that naive line splitters break a JSON string at.
_ESCAPES = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


class Decoder:
    """A provider's stream to events. `finished`: every choice seen has a finish reason. Raises only InfronError."""

    def __init__(self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES) -> None:
        self._sse = sse.Decoder(max_frame_bytes)
        self._provider = provider
        self._quirks = provider.quirks
        self._usage_path = self._quirks.usage_path.split(".") if self._quirks.usage_path else []
        self._roles: set[int] = set()
        self._finishes: dict[int, str | None] = {}
        self.upstream_id: str | None = None
        self.finished = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for event in self._sse.feed(data):
            if event.comment is None:
                self._frame(event.data, events)
        if self._sse.stray:
            self._stray(events)
        return events

    def close(self) -> list[Event]:
        """The body ended. A whole frame that only lacked its blank line still counts."""
        return self.feed(b"\n\n")

    def whole(self, body: bytes) -> list[Event]:
        """An answer in one JSON though a stream was asked for: an error, or the whole completion."""
        events: list[Event] = []
        try:
            answer = json.loads(body)
        except ValueError:
            raise ProviderUnavailable(
                f"{self._provider.name} answered with something that is neither a stream nor JSON.",
                provider=self._provider.id,
            ) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
            error = parse_error(200, [], body, self._provider)
            return [Failed(error)]
        for choice in answer["choices"]:
            if isinstance(choice, dict) and "message" in choice:
                choice["delta"] = choice.pop("message")
                for index, call in enumerate(choice["delta"].get("tool_calls") or []):
                    call.setdefault("index", index)
        answer["object"] = "chat.completion.chunk"
        self._frame(_encode(answer), events)
        events.append(Done())
        return events

    def _stray(self, events: list[Event]) -> None:
        line, self._sse.stray = self._sse.stray, b""
        if b'"error"' in line or b'"detail"' in line:
            events.append(Failed(parse_error(200, [], line, self._provider)))

    def _frame(self, payload: bytes, events: list[Event]) -> None:
        if payload[:6] == b"[DONE]":
            events.append(Done())
            return
        if not payload.isascii():
            payload = _clean(payload)
        try:
            facts = _facts(payload)
            members = _members(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if b"\n" in payload:  # hosts that end events with one line end: each line is a frame
                for line in payload.split(b"\n"):
                    self._frame(line, events)
                return
            if not payload.strip():
                return
            events.append(Failed(self._broken("sent a frame that is not a chat completion chunk")))
            return
        if facts.error:
            events.append(Failed(parse_error(200, [], payload, self._provider)))
            return
        self._known_frame(facts, members, events)

    def _known_frame(self, facts: _Frame, members: dict[str, Raw], events: list[Event]) -> None:
        for name in self._quirks.skip_frames:
            if name in members:
                return
        if self.upstream_id is None and isinstance(facts.id, str) and facts.id:
            self.upstream_id = facts.id[:200]
        usage = facts.usage
        if "usage" in members:
            del members["usage"]
        if usage is None and self._usage_path:
            usage = _at(members, self._usage_path)
        content, text, reason = False, "", None
        for choice in facts.choices or ():
            index = choice.index or 0
            delta = choice.delta
            if usage is None and choice.usage:
                usage = choice.usage
            if index not in self._finishes:
                self._finishes[index] = None
            if delta is not None:
                if delta.role:
                    self._roles.add(index)
                found, words = _content(delta)
                if found:
                    content = True
                    text = text + words if text else words
                    if index not in self._roles:
                        self._roles.add(index)
                        events.append(_role_chunk(index))
            if choice.finish_reason:
                reason = str(choice.finish_reason)
                if reason == "error" or reason in self._quirks.error_finish:
                    events.append(Failed(self._broken(f"ended the answer with the finish reason {reason[:60]!r}")))
                    return
                self._finishes[index] = reason
        for name in self._quirks.drop_members:
            members.pop(name, None)
        if facts.choices:
            if "object" not in members:
                members["object"] = Raw(b'"chat.completion.chunk"')
            events.append(Chunk(members, content, text))
        elif not members.keys() <= _FRAMING:
            members["choices"] = Raw(b"[]")
            events.append(Chunk(members, False, ""))
        if isinstance(usage, dict):
            events.append(UsageReported(usage))
        if reason is not None:
            self.finished = all(self._finishes.values())
            if self.finished:
                events.append(Finished(reason))

    def _broken(self, what: str) -> ProviderUnavailable:
        return ProviderUnavailable(f"{self._provider.name} {what}.", provider=self._provider.id)


def _role_chunk(index: int) -> Chunk:
    choices = [{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    members = {"id": Raw(b'""'), "object": Raw(b'"chat.completion.chunk"'), "created": Raw(b"0"), "model": Raw(b'""')}
    return Chunk({**members, "choices": Raw(_encode(choices))}, False, "")


def _content(delta: _Delta) -> tuple[bool, str]:
    """Whether a delta commits us, and the text of it that is counted."""
    content = delta.content
    if content.__class__ is str and content and delta.tool_calls is None and delta.reasoning_content is None:
        return True, content
    words: list[str] = []
    media = bool(delta.audio or delta.images)
    for part in (content, delta.reasoning_content or delta.reasoning, delta.refusal):
        if isinstance(part, str):
            words.append(part)
        elif part:
            words.extend(_strings_in(part))
            media = True
    if not (delta.reasoning or delta.reasoning_content) and delta.reasoning_details:
        words.extend(_strings_in(delta.reasoning_details))
        media = True
    calls = delta.tool_calls if isinstance(delta.tool_calls, list) else []
    for call in [*calls, {"function": delta.function_call}]:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            words.extend(str(function[name]) for name in ("name", "arguments") if function.get(name))
            media = True
    text = "".join(words)
    return bool(text) or media, text


def _strings_in(part: Any) -> Iterable[str]:
    if isinstance(part, list):
        for item in part:
            yield from _strings_in(item)
    elif isinstance(part, dict):
        for name in ("text", "thinking", "summary"):
            if part.get(name):
                yield from _strings_in(part[name])
    elif isinstance(part, str):
        yield part


def _clean(payload: bytes) -> bytes:
    try:
        payload.decode()
    except UnicodeDecodeError:
        payload = payload.decode("utf-8", "replace").encode()
    for raw, escaped in _ESCAPES:
        if raw in payload:
            payload = payload.replace(raw, escaped)
    return payload


def _at(members: dict[str, Raw], path: list[str]) -> Any:
    raw = members.get(path[0])
    value = msgspec.json.decode(raw) if raw is not None else None
    for name in path[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


# ---------------------------------------------------------------- provider side: errors

_ERROR_TYPES = {
    400: "invalid_request",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    413: "payload_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "server",
    502: "provider_unavailable",
    503: "provider_overloaded",
    504: "timeout",
    529: "provider_overloaded",
}
_MODERATION = ("moderation", "content_policy", "content_filter", "flagged", "safety")
_NO_MONEY = ("insufficient_quota", "insufficient_balance", "billing_hard_limit_reached")


def parse_error(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """A provider's error, whatever its shape, as ours. `status` 200: it stood in a stream.

    `key` is never repeated. `now` (unix s) is what a date in retry-after is relative to.
    """
    message, code = _said(body)
    inner = code if isinstance(code, int) else int(code) if isinstance(code, str) and code.isdigit() else 0
    if status < 400:
        status = inner if 400 <= inner < 600 else 502
    words = f"{code} {message}".lower()
    if status in (401, 402) or (status == 403 and not any(word in words for word in _MODERATION)):
        what = {401: "refused the gateway's API key", 402: "says that the account has no credit"}.get(
            status, "refused the gateway's account"
        )
        return ProviderMisconfigured(
            f"{provider.name} {what} (HTTP {status}). The operator of this gateway must mend it.",
            provider=provider.id,
            provider_status=status,
        )
    if key:
        message = message.replace(key, "[key]")
    error = ProviderError(
        message[:2000] or f"{provider.name} answered with HTTP {status} and no message.",
        status=status,
        error_type="permission_denied" if status == 403 else _ERROR_TYPES.get(status, _ERROR_TYPES.get(status // 100 * 100, "unmapped")),
        safe_to_retry=status in (404, 408, 409, 429) or status >= 500,
        provider=provider.id,
        retry_after=_retry_after(headers, now),
        **({"provider_code": code} if isinstance(code, str) and code else {}),
    )
    if any(word in words for word in _NO_MONEY):
        error.should_retry = False
    return error


def _said(body: bytes) -> tuple[str, Any]:
    """The message and the code of an error body: all shapes that were met, and plain text."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return ("" if text[:1] == "<" else text[:300]), None
    code = value.get("code") or value.get("status_code") if isinstance(value, dict) else None
    for name in ("error", "errors", "detail", "fault", "base_resp", "message", "reason"):
        if isinstance(value, dict) and value.get(name):
            inner = value[name]
            if isinstance(inner, list) and inner:
                inner = inner[0]
            if isinstance(inner, dict):
                code = inner.get("code") or inner.get("type") or inner.get("status_code") or code
                inner = next(
                    (inner[k] for k in ("message", "msg", "faultstring", "status_msg", "detail") if inner.get(k)), ""
                )
            if isinstance(inner, str):
                return inner, code
            if isinstance(inner, int):
                code = inner
    return "", code


def _retry_after(headers: list[tuple[bytes, bytes]], now: float) -> float | None:
    found = dict(headers)
    for name, scale in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        raw = found.get(name, b"").decode("latin-1").strip()
        if not raw:
            continue
        try:
            seconds = float(raw) / scale
        except ValueError:
            when = email.utils.parsedate_tz(raw)
            seconds = email.utils.mktime_tz(when) - now if when else math.nan
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None
