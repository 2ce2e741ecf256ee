"""How many tokens an answer may have, in the words of each API that clients speak: read from a request, and set in it.

It never knows why a limit is set.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.request import Request
from infron.wires import lenient_json
from infron.wires.json_steps import value_in

_Path = tuple[str, ...]

# Client API -> where the limit stands: the first that is there counts, the last is set where none is.
_LIMITS: dict[str, tuple[_Path, ...]] = {
    "openai-chat": (("max_completion_tokens",), ("max_tokens",)),
    "openai-completions": (("max_tokens",),),
    "openai-responses": (("max_output_tokens",),),
    "anthropic": (("max_tokens",),),
    "gemini": (
        ("generation_config", "maxOutputTokens"),
        ("generation_config", "max_output_tokens"),
        ("generationConfig", "max_output_tokens"),
        ("generationConfig", "maxOutputTokens"),
    ),
    "ollama": (("options", "num_predict"),),
}
_CHOICES: dict[str, tuple[_Path, ...]] = {
    "openai-chat": (("n",),),
    "openai-completions": (("best_of",), ("n",)),
    "gemini": tuple(
        (root, name)
        for root in ("generationConfig", "generation_config")
        for name in ("candidateCount", "candidate_count")
    ),
}
_NULL = Raw(b"null")
_encode = msgspec.json.Encoder().encode


def asked_limit(request: Request) -> int | None:
    """The most tokens that the caller lets an answer have; None: it does not say, or nothing that is a number."""
    return _first(request, _LIMITS.get(request.api, ()))


def asked_choices(request: Request) -> int:
    """How many answers it asks for."""
    several = [_first(request, (path,)) or 1 for path in _CHOICES.get(request.api, ())]
    prompts = _value(request, ("prompt",)) if request.api == "openai-completions" else None
    given = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    return given * max([1, *several])


def limited(request: Request, tokens: int, *, unpaid: bool) -> Request:
    """The same request, whose answer may have so many tokens at most. `unpaid`: because no more can be paid."""
    places = _LIMITS.get(request.api, ())
    if not places:
        return request
    fields = dict(request.fields)
    there = [path for path in places if _value(request, path) is not None]
    for path in there or places[-1:]:
        root, *inner = path
        if inner:
            holder = _value(request, (root,))
            holder = dict(holder) if isinstance(holder, dict) else {}
            holder[inner[0]] = tokens
            fields[root] = Raw(_encode(holder))
        else:
            fields[root] = Raw(b"%d" % tokens)
    return replace(request, fields=fields, clamped=tokens, unpaid=unpaid)


def _first(request: Request, places: tuple[_Path, ...]) -> int | None:
    for path in places:
        value = _value(request, path)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and value > 0:
            return value
    return None


def _value(request: Request, path: _Path) -> Any:
    raw = request.fields.get(path[0])
    if raw is None or raw == _NULL:
        return None
    try:
        value = value_in(raw)
    except lenient_json.BROKEN:
        return None
    for name in path[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value
