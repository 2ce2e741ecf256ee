"""A request of a client of this API, as Anthropic itself takes it: byte for byte, but for what it would refuse.

It never turns the request into a conversation: what nobody here knows goes on as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from infron.errors import InvalidRequest
from infron.request import Request
from infron.wires.anthropic.client_request import VERSION
from infron.wires.anthropic.models import Generation, generation_of, is_claude
from infron.wires.anthropic.own_history import Block, marked_in, move_marks, names_in
from infron.wires.anthropic.own_history import fitted as fitted_messages
from infron.wires.anthropic.own_settings import fit_settings
from infron.wires.json_guard import fields_of, items_of
from infron.wires.json_steps import written
from infron.wires.naming import renamings
from infron.wires.schemas import NO_ARGUMENTS, NOT_AT_THE_ROOT, StrictBudget, rooted
from infron.wires.session import Rules

# Priced otherwise than by tokens of this model: we could not bill it.
_UNBILLED = frozenset(("fallbacks", "inference_geo", "speed"))
MOST_MARKS = 4  # of the cache, in one request

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")


class Own(NamedTuple):
    """`betas`: names for the header `anthropic-beta`. `version`: of the API, by the client's header; "": not said.

    `names`: of renamed tools, the host's -> the caller's own.
    """

    body: bytes
    betas: list[str]
    version: str
    names: dict[str, str]
    lost: tuple[str, ...]


def fitted(request: Request, provider_model: str, rules: Rules) -> Own:
    """The body of the request for one model, always streamed. Raises InvalidRequest for betas that are no names."""
    takes = generation_of(provider_model)
    lost = set(request.fields.keys() & _UNBILLED)
    fields: dict[str, Any] = {name: raw for name, raw in request.fields.items() if name not in _UNBILLED}
    betas = beta_names(_decode(fields.pop("betas", Raw(b"[]"))))
    version = _decode(fields.pop(VERSION, Raw(b'""')))
    given, tools, system = items_of(fields["messages"]), _blocks(fields, "tools"), _blocks(fields, "system")
    renamed = renamings((*_names(tools), *names_in(fields["messages"])), rules.names)
    prefill = takes.prefill and not _thinks(fields)
    messages = fitted_messages(fields["messages"], rules.ids, renamed, prefill, lost)
    kept = list(_fit_tools(tools, renamed, takes, fields, lost))
    said = list(system)
    move_marks([said])
    _limit_marks([*kept, *said, *marked_in(messages)], MOST_MARKS - ("cache_control" in fields))
    if len(messages) != len(given) or any(message.changed for message in messages):
        fields["messages"] = [message.written() for message in messages]
    _put(fields, "tools", tools, kept)
    _put(fields, "system", system, said)
    words = fit_settings(fields, takes, betas, messages, lost) if is_claude(provider_model) else ""
    if words:
        fields["system"] = _with_words(fields.get("system", _NULL), words)
    if renamed and "tool_choice" in fields:
        fields["tool_choice"] = _choice(_decode(fields["tool_choice"]), renamed)
    body = written({**fields, "model": provider_model, "stream": True}, request.size)
    return Own(body, betas, version, {sent: own for own, sent in renamed.items()}, tuple(sorted(lost)))


def _with_words(system: Any, words: str) -> list[Any]:
    """The system prompt, with this at its end."""
    if isinstance(system, Raw):
        said = _decode(system)
        system = items_of(system) if isinstance(said, list) else [{"type": "text", "text": said}] if said else []
    return [*system, {"type": "text", "text": words}]


def _blocks(fields: dict[str, Any], name: str) -> list[Block]:
    raw = fields.get(name, _NULL)
    return [Block(item) for item in items_of(raw)] if bytes(memoryview(raw)[:1]) == b"[" else []


def _put(fields: dict[str, Any], name: str, given: list[Block], kept: list[Block]) -> None:
    if len(kept) == len(given) and not any(block.changed for block in kept):
        return
    if kept:
        fields[name] = [block.written() for block in kept]
    else:
        del fields[name]


def _thinks(fields: dict[str, Any]) -> bool:
    thinking = _decode(fields.get("thinking", _NULL))
    return isinstance(thinking, dict) and thinking.get("type") not in (None, "disabled")


def _limit_marks(blocks: Iterable[Block], most: int) -> None:
    """Leave the last marks of the cache, in the order of the prompt: they keep the most."""
    marked = [block for block in blocks if block.marked]
    for block in marked[: max(len(marked) - most, 0)]:
        block.mark(_NULL)


# ---- tools


def _is_plain(tool: Block) -> bool:
    """Whether it is a function of the caller's, no tool of the API's own."""
    return tool.kind.type in (None, "custom") and isinstance(tool.kind.name, str)


def _names(tools: Iterable[Block]) -> Iterator[str]:
    yield from (tool.kind.name for tool in tools if _is_plain(tool))


def _fit_tools(
    tools: Iterable[Block], renamed: dict[str, str], takes: Generation, fields: dict[str, Any], lost: set[str]
) -> Iterator[Block]:
    """Tools with names and schemas that the API takes, each once, and no more strict ones than it compiles."""
    budget = StrictBudget()
    if (schema := _schema_of(fields.get("output_config", _NULL))) is not None:
        budget.take(schema, tools=0)
    first: dict[str, Raw] = {}
    for tool in tools:
        if not _is_plain(tool):
            yield tool
            continue
        name = tool.kind.name
        if name in first:
            if bytes(memoryview(first[name])) != bytes(memoryview(tool.raw)):
                lost.add("tools.duplicates")
            continue
        first[name] = tool.raw
        if name in renamed:
            tool.put("name", renamed[name])
        _fit_schema(tool, takes, budget, lost)
        yield tool


def _fit_schema(tool: Block, takes: Generation, budget: StrictBudget, lost: set[str]) -> None:
    strict = tool.kind.strict is True
    root = _root_of(tool.kind.input_schema)
    wrong = root is None or root.get("type") != _OBJECT or not root.keys().isdisjoint(NOT_AT_THE_ROOT)
    if not strict and not wrong:
        return
    schema = _decode(tool.kind.input_schema)
    if not isinstance(schema, dict | None):
        return  # the API says best what is wrong with it
    if wrong:
        schema = rooted(schema)
        tool.put("input_schema", schema)
    if strict and not (takes.schema and budget.take(schema or NO_ARGUMENTS)):
        tool.put("strict", None)
        lost.add("tools.strict")


_OBJECT = Raw(b'"object"')


def _root_of(schema: Raw) -> dict[str, Raw] | None:
    try:
        return None if schema == _NULL else fields_of(schema)
    except msgspec.ValidationError:
        return None


def _schema_of(output: Raw) -> dict[str, Any] | None:
    """The schema that the answer is held to."""
    value = _decode(output)
    format = value.get("format") if isinstance(value, dict) else None
    schema = format.get("schema") if isinstance(format, dict) else None
    return schema if isinstance(schema, dict) else None


def _choice(choice: Any, renamed: dict[str, str]) -> Any:
    name = choice.get("name") if isinstance(choice, dict) else None
    return {**choice, "name": renamed[name]} if isinstance(name, str) and name in renamed else choice


# ---- betas

_BETA = re.compile(r"[A-Za-z0-9_.-]+")


def beta_names(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(item, str) and _BETA.fullmatch(item) for item in given):
        raise InvalidRequest("`betas` must be an array of names.", param="betas")
    return list(dict.fromkeys(given))
