"""A client's request on Anthropic's Messages wire as our own.

It never knows which provider will take it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.conversation import (
    Conversation,
    Effort,
    Media,
    Message,
    NativeTool,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    signed_calls,
)
from infron.errors import InvalidRequest, Unsupported
from infron.request import NO_TARGET, Request, Target
from infron.wires.anthropic.words import unmarked
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.request_fields import (
    arguments_of,
    cache_of,
    count_of,
    decoded,
    object_of,
    objects_of,
    string_of,
    strings_of,
    wrong,
)
from infron.wires.schemas import NO_ARGUMENTS

NAME = "anthropic"
PATHS = ("/v1/messages",)
NEAR = PATHS
_APART = frozenset(("model", "stream"))
VERSION = "anthropic_version"  # among the fields of a request: what its header says
_UNASKED = frozenset(("betas", "messages", "metadata", "system", VERSION))
_HEARD = frozenset((b"anthropic-version", b"x-claude-code-session-id"))
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
MAX_SESSION = 512  # characters of a name
BILLING = (
    "x-anthropic-billing-header:"  # how the line for its maker begins that Claude Code puts before the system text
)
_NULL = Raw(b"null")

Values = dict[str, Any]

_encode = msgspec.json.Encoder().encode


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body of the Messages API. Raises InvalidRequest that names the field.

    `headers`: of these `anthropic-beta` and `anthropic-version` are parts of the request: `betas` and VERSION among its
    fields.
    """
    request = parse_counted(body, headers)
    if request.fields.get("max_tokens", _NULL) == _NULL:
        raise InvalidRequest("`max_tokens` is missing.", param="max_tokens")
    return request


def parse_counted(body: bytes, headers: Headers) -> Request:
    """The same of one whose tokens are only to be counted, so that it needs no `max_tokens`."""
    request = read(body, NAME, conversation_of)
    fields = dict(request.fields)
    fields.pop(VERSION, None)
    if "thread" in fields:
        raise _no_threads()
    betas: list[str] = []
    said: dict[bytes, str] = {}
    for name, value in headers:
        if name == b"anthropic-beta":
            betas += [beta for item in value.decode("latin-1").split(",") if (beta := item.strip())]
        elif name in _HEARD:
            said[name] = value.decode("latin-1").strip()
    if betas:
        fields["betas"] = Raw(_encode(betas))
    if _DATE.fullmatch(version := said.get(b"anthropic-version", "")):
        fields[VERSION] = Raw(_encode(version))
    return replace(
        request,
        fields=fields,
        include_usage=True,
        user=_user(fields.get("metadata", _NULL)),
        session_id=request.session_id or _session(said.get(b"x-claude-code-session-id", "")),
    )


def _no_threads() -> InvalidRequest:
    """Both of Anthropic's libraries then send the whole conversation, and go on without threads."""
    return InvalidRequest(
        "`thread` is not supported here: only the new messages would be sent, and nothing keeps those before them. "
        "Send the whole conversation in `messages`, without `thread`.",
        param="thread",
        details={"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
    )


def _session(name: str) -> str | None:
    return name if name and len(name) <= MAX_SESSION and name.isprintable() else None


def _user(metadata: Raw) -> str | None:
    if metadata == _NULL:
        return None
    value = msgspec.json.decode(metadata)
    user = value.get("user_id") if isinstance(value, dict) else None
    return user if isinstance(user, str) and user else None


def conversation_of(fields: Mapping[str, Raw]) -> Conversation:
    """The conversation in the root fields of a Messages request. Raises InvalidRequest that names the place."""
    values = {name: decoded(raw, name) for name, raw in fields.items() if name not in _APART and raw != _NULL}
    asked: dict[str, tuple[str, ...]] = {name: (name,) for name in values if name not in _UNASKED}
    tools = tuple(_tools(values.pop("tools", None)))
    choice = object_of(values.pop("tool_choice", None) or {}, "tool_choice")
    lost: set[str] = set()
    system = list(_system(values.pop("system", None), lost, asked))
    messages = [*system, *_messages(values.pop("messages"), lost)]
    kind = string_of(choice, "type", "tool_choice")
    if kind not in _CHOICES:
        raise wrong("tool_choice.type", "auto, any, tool or none")
    parallel = False if choice.get("disable_parallel_tool_use") is True else None
    if parallel is False:
        asked["parallel_tool_calls"] = ("tool_choice",)
    if _CHOICES[kind] in (None, "auto"):
        asked.pop("tool_choice", None)
    output = object_of(values.pop("output_config", None) or {}, "output_config")
    reasoning = _reasoning(values, output)
    if reasoning is not None:
        asked["reasoning"] = tuple(name for name in ("thinking", "output_config") if asked.pop(name, None))
    wanted = _format(output)
    if wanted is not None:
        asked["response_format"] = ("output_config",)
    if not output:
        asked.pop("output_config", None)
    if "stop_sequences" in values:
        asked["stop"] = asked.pop("stop_sequences")
    return Conversation(
        messages=tuple(messages),
        tools=tools,
        tool_choice=_CHOICES[kind],  # type: ignore[arg-type]
        tool_name=string_of(choice, "name", "tool_choice") if kind == "tool" else "",
        parallel_tool_calls=parallel,
        max_tokens=count_of(values, "max_tokens", 1),
        stop=tuple(strings_of(values.pop("stop_sequences", None), "stop_sequences")),
        response_format=wanted,
        reasoning=reasoning,
        fields=_others(values, asked),
        asked=asked,
        lost=tuple(sorted(lost)),
    )


_CHOICES = {"": None, "any": "required", "auto": "auto", "none": "none", "tool": "tool"}


# Fields that mean nothing at any other provider.
_OWN = frozenset(
    (
        VERSION,
        "betas",
        "cache_control",
        "container",
        "context_management",
        "fallbacks",
        "inference_geo",
        "mcp_servers",
        "speed",
        "thinking",
    )
)


def _others(values: Values, asked: dict[str, tuple[str, ...]]) -> Values:
    """What is left, under neutral names; `asked` is brought in line with it."""
    metadata = object_of(values.pop("metadata", None) or {}, "metadata")
    if user := string_of(metadata, "user_id", "metadata"):
        values["user"], asked["user"] = user, ("metadata",)
    if values.get("service_tier") == "standard_only":
        values["service_tier"] = "default"
    for name in _OWN & asked.keys():
        asked[f"{NAME} {name}"] = asked.pop(name)  # whatever a provider calls by this name, it is something else
    return {name: value for name, value in values.items() if name not in _OWN}


def _reasoning(values: Values, output: Values) -> Reasoning | None:
    """`thinking` and `output_config.effort`; what they say beyond that stays where it is."""
    thinking = object_of(values.get("thinking") or {}, "thinking")
    effort = output.get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise wrong("output_config.effort", "one of " + ", ".join(_EFFORTS))
    kind = string_of(thinking, "type", "thinking")
    if kind == "disabled":
        output.pop("effort", None)
        del values["thinking"]
        return Reasoning(effort="none")
    known = thinking.keys() <= {"type", "budget_tokens", "display"} and kind in ("", "adaptive", "enabled")
    if not known:  # `between_tools`, or a field that only this wire has
        return None
    values.pop("thinking", None)
    wanted: Effort | None = output.pop("effort", None)
    if not kind and wanted is None:
        return None
    budget = count_of(thinking, "budget_tokens", 1, "thinking.") if kind == "enabled" else None
    return Reasoning(effort=wanted, max_tokens=budget, exclude=thinking.get("display") == "omitted")


_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _format(output: Values) -> ResponseFormat | None:
    value = output.pop("format", None)
    if value is None:
        return None
    wanted = object_of(value, "output_config.format")
    if wanted.get("type") != "json_schema":
        raise wrong("output_config.format.type", "json_schema")
    schema = object_of(wanted.get("schema"), "output_config.format.schema")
    return ResponseFormat(kind="schema", name="answer", schema=schema, strict=True)


# ---- tools


def _tools(value: Any) -> Iterator[Tool | NativeTool]:
    for place, item in objects_of(value, "tools"):
        if item.get("type", "custom") != "custom":
            yield NativeTool(item)
            continue
        schema = object_of(item.get("input_schema"), f"{place}.input_schema")
        strict = item.get("strict")
        yield Tool(
            name=string_of(item, "name", place, required=True),
            description=string_of(item, "description", place),
            schema=None if schema == NO_ARGUMENTS else schema,
            strict=strict if isinstance(strict, bool) else None,
            cache=cache_of(item, place),
        )


# ---- messages

_ROLES = ("user", "assistant", "system")


def _system(value: Any, lost: set[str], asked: dict[str, tuple[str, ...]]) -> Iterator[Message]:
    """Without the line that begins with BILLING: it differs in each version and session, and so no other provider's
    cache would find the prompt.
    """
    if not value:
        return
    first, *rest = [*_parts(value, "system", {}, lost)] or [Text("")]
    if isinstance(first, Text) and first.text.startswith(BILLING):
        asked[f"{NAME} billing"] = ("system.billing_header",)
        first = replace(first, text=first.text.partition("\n")[2].lstrip("\n"))
    if said := tuple(part for part in (first, *rest) if part != Text("")):
        yield Message("system", said)


def _messages(value: Any, lost: set[str]) -> Iterator[Message]:
    """Results are told apart from what the user says beside them, and come first, as the API wants them."""
    names: dict[str, str] = {}  # of the tools called so far, by the id of the call
    for place, item in objects_of(value, "messages"):
        role = item.get("role")
        if role not in _ROLES:
            raise wrong(f"{place}.role", "user, assistant or system")
        if isinstance(content := item.get("content"), str):
            yield Message(role, (Text(content),) if content else ())
            continue
        parts = list(signed_calls(_parts(content, f"{place}.content", names, lost)))
        results = tuple(part for part in parts if isinstance(part, ToolResult))
        if results:
            yield Message("tool", results)
        others = tuple(part for part in parts if not isinstance(part, ToolResult))
        if others or not results:
            yield Message(role, others)


def _parts(value: Any, place: str, names: dict[str, str], lost: set[str]) -> Iterator[Part]:
    """`lost` gets the names of what is left out."""
    if isinstance(value, str):
        if value:
            yield Text(value)
        return
    for inner, block in objects_of(value, place):
        kind = string_of(block, "type", inner, required=True)
        if kind in _MADE_BY_TOOLS or (kind.endswith("_tool_result") and kind != "tool_result"):
            lost.add(f"messages.{kind}")
            continue
        read = _BLOCKS.get(kind)
        if read is None:
            raise Unsupported(f"`{inner}` is of a type that this provider does not take.", param=f"{inner}.type")
        part = read(block, inner, names, lost)
        if part != Text(""):
            yield part


# What the provider's own tools did, and notes of the API to itself: they mean nothing to another provider.
_MADE_BY_TOOLS = frozenset(("compaction", "container_upload", "fallback", "mcp_tool_use", "server_tool_use"))


def _text(block: Values, place: str, names: dict[str, str], lost: set[str]) -> Text:
    return Text(string_of(block, "text", place, required=True), cache_of(block, place))


def _found(block: Values, place: str, names: dict[str, str], lost: set[str]) -> Text:
    """A search result that the client brings: its source, its title and its text."""
    parts = _parts(block.get("content"), f"{place}.content", names, lost)
    said = [string_of(block, "title", place), string_of(block, "source", place)]
    said += [part.text for part in parts if isinstance(part, Text)]
    return Text("\n".join(text for text in said if text), cache_of(block, place))


def _media(block: Values, place: str, names: dict[str, str], lost: set[str]) -> Part:
    kind = block["type"]
    source = object_of(block.get("source"), f"{place}.source")
    place_of_source = f"{place}.source"
    type = string_of(source, "type", place_of_source, required=True)
    name, cache = string_of(block, "title", place), cache_of(block, place)
    if type == "content":  # a document of the client's own chunks
        parts = _parts(source.get("content"), f"{place_of_source}.content", names, lost)
        text = "\n".join(part.text for part in parts if isinstance(part, Text))
        return Media(kind="document", mime="text/plain", text=text, name=name, cache=cache)
    if type not in _SOURCES:
        raise wrong(f"{place_of_source}.type", "one of " + ", ".join((*_SOURCES, "content")))
    field, target = _SOURCES[type]
    value = string_of(source, field, place_of_source, required=True)
    mime = string_of(source, "media_type", place_of_source)
    return Media(kind=kind, mime=mime, name=name, cache=cache, **{target: value})


_SOURCES = {
    "base64": ("data", "data"),
    "file": ("file_id", "file_id"),
    "text": ("data", "text"),
    "url": ("url", "url"),
}


def _thought(block: Values, place: str, names: dict[str, str], lost: set[str]) -> Thinking:
    signature, signer = unmarked(string_of(block, "signature", place))
    data, owner = unmarked(string_of(block, "data", place))
    return Thinking(text=string_of(block, "thinking", place), signature=signature, data=data, format=signer or owner)


def _call(block: Values, place: str, names: dict[str, str], lost: set[str]) -> ToolCall:
    id, name = (string_of(block, field, place, required=True) for field in ("id", "name"))
    names[id] = name
    arguments = arguments_of(block.get("input"))
    return ToolCall(id=id, name=name, arguments=arguments, cache=cache_of(block, place))


def _result(block: Values, place: str, names: dict[str, str], lost: set[str]) -> ToolResult:
    id = string_of(block, "tool_use_id", place, required=True)
    inner = _parts(block.get("content"), f"{place}.content", names, lost)
    parts = tuple(part for part in inner if isinstance(part, Text | Media))
    failed = block.get("is_error") is True
    return ToolResult(call_id=id, name=names.get(id, ""), parts=parts, failed=failed, cache=cache_of(block, place))


_BLOCKS = {
    "document": _media,
    "image": _media,
    "redacted_thinking": _thought,
    "search_result": _found,
    "text": _text,
    "thinking": _thought,
    "tool_result": _result,
    "tool_use": _call,
}
