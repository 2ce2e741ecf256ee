"""Whose turn it is in a chat history: results behind their calls, messages that say something, who speaks when.

It never looks into arguments or thinking. What is left out, or made up, is named in `lost`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import MessageQuirks
from infron.wires import pairing
from infron.wires.openai.chat.said import Said, content_of, is_list, made, parts_in
from infron.wires.pairing import NOT_RUN, Answered, answered_before, arranged
from infron.wires.session import ATTACHED, CUT_OFF, GO_ON, HEARD, MADE

_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")

# ---- calls and their results


def with_results(messages: list[Said], lost: set[str]) -> list[Said]:
    """Behind each message with calls its results, one for each, and nothing else between them."""
    if not any(said.calls or said.role == "tool" for said in messages):
        return messages
    calls = [[c for c in said.calls if isinstance(c.get("id"), str)] if said.calls else said.calls for said in messages]
    history = [_read(said, known) for said, known in zip(messages, calls, strict=True)]
    plan = arranged(history, ordered=False, merged=False)
    if plan is None:
        return messages
    out: list[Said] = []
    for step in plan:
        if isinstance(step, Answered):
            for (m, c), answer in step.calls:
                if answer is None:
                    lost.add("messages.tool_calls")
                    out.append(made("tool", tool_call_id=calls[m][c]["id"], content=NOT_RUN))
                else:
                    out.append(messages[answer[0]])
        elif step.orphans:
            lost.add("messages.tool_results")
            out.append(_as_text(messages[step.message]))
        elif not step.moved:
            out.append(messages[step.message])
    return out


_SAID, _ASKED = pairing.Said(model=True), pairing.Said(model=False)  # without calls and results


def _read(said: Said, calls: list[Any]) -> pairing.Said:
    if said.role == "assistant":
        return pairing.Said(True, [call["id"] for call in calls]) if calls else _SAID
    if said.role == "tool":
        return pairing.Said(False, (), [said.result if isinstance(said.result, str) else ""])
    return _ASKED


def _as_text(said: Said) -> Said:
    name, content = _value(said, "name"), content_of(said)
    before = answered_before(name if isinstance(name, str) else "")
    if isinstance(content, str):
        return made("user", content=f"{before}\n{content}")
    return made("user", content=[{"type": "text", "text": before}, *content])


def _value(said: Said, name: str) -> Any:
    value = said.fields.get(name, _NULL)
    return _decode(value) if isinstance(value, Raw) else value


# ---- media

_TEXTS = ("text", "input_text", "output_text", "refusal", None)
_SHOWABLE = ("file", "image_url", "input_audio", "input_image", "video_url")


def shown_by_the_user(messages: Iterable[Said]) -> Iterator[Said]:
    """Results of tools and answers hold text alone: media in them the user shows, behind the last result."""
    shown: list[Any] = []
    for said in messages:
        if said.role != "tool" and shown:
            yield made("user", content=shown)
            shown = []
        if said.role in ("tool", "assistant"):
            parts = _parts_of(said)
            media = [part for part in parts if isinstance(part, dict) and _is_shown(part, said.role)]
            if media:
                shown += media
                kept = [part for part in parts if part not in media]
                said.put("content", kept or (ATTACHED if said.role == "tool" else MADE))
        yield said
    if shown:
        yield made("user", content=shown)


def _parts_of(said: Said) -> list[Any]:
    content = said.fields.get("content")
    if isinstance(content, Raw):
        content = _decode(content) if is_list(content) else []
    return content if isinstance(content, list) else []


def _is_shown(part: dict[str, Any], role: str) -> bool:
    return part.get("type") in _SHOWABLE if role == "assistant" else part.get("type") not in _TEXTS


# ---- messages that say nothing


def that_say_something(messages: list[Said], quirks: MessageQuirks) -> list[Said]:
    """Content that is null is taken beside calls alone. Of an answer that says nothing at all nothing is left."""
    kept = [said for said in messages if _fill(said, quirks)]
    return kept if any(said.role not in ("system", "developer") for said in kept) else messages


def _fill(said: Said, quirks: MessageQuirks) -> bool:
    """Put right what says nothing; whether the message has to stay."""
    content = said.fields.get("content")
    says = isinstance(content, Raw) and len(memoryview(content)) > _LEAST
    if says and not quirks.no_empty and (said.calls or said.fields.keys().isdisjoint(_EMPTY)):
        return True
    for name in _EMPTY:
        if name in said.fields and _value(said, name) in (None, []):
            del said.fields[name]
            said.changed = True
    told: Any = said.fields.get("content", _NULL)
    if isinstance(told, Raw) and len(memoryview(told)) <= _LEAST:
        told = _decode(told)
    if told not in (None, [], "") or said.calls or any(said.fields.get(n) for n in ("audio", "function_call")):
        return not quirks.no_empty or bool(said.calls) or not _is_blank(said)
    if said.role == "assistant" and isinstance(_value(said, "refusal"), str):
        return True
    if said.role == "assistant" and (told != "" or quirks.no_empty):
        thinking = any(_value(said, name) for name in ("reasoning_content", "reasoning", "reasoning_details"))
        if quirks.no_empty or not thinking:
            return False
    if told != "":
        said.put("content", "")
    if said.role == "tool" and quirks.no_empty:
        said.put("content", NOTHING)
    return said.role == "tool" or not quirks.no_empty


NOTHING = "(nothing)"
_EMPTY = ("audio", "function_call", "tool_calls")  # that hosts refuse where there is nothing in them
_LEAST = len(b"null")  # bytes of content that may say nothing


def _is_blank(said: Said) -> bool:
    content = content_of(said)
    parts = parts_in(content)
    return all(isinstance(p, dict) and p.get("type") == "text" and not str(p.get("text", "")).strip() for p in parts)


# ---- who speaks


def in_turns(messages: list[Said], quirks: MessageQuirks, lost: set[str]) -> list[Said]:
    """The order of turns that the host insists on."""
    if quirks.alternate:
        messages = _alternating(messages, quirks)
    if quirks.speaks_after_results:
        messages = list(_heard(messages))
    last = messages[-1]
    if last.role != "assistant" or last.calls or "function_call" in last.fields:
        return messages
    if quirks.prefill == "prefix":
        if _value(last, "prefix") is not True:
            last.put("prefix", True)
    elif quirks.prefill == "no":
        lost.add("messages.prefill")
        return [*messages, made("user", content=GO_ON)]
    return messages


def _alternating(messages: list[Said], quirks: MessageQuirks) -> list[Said]:
    out: list[Said] = []
    for said in messages:
        before = out[-1] if out else None
        system = quirks.roles.get(said.role, said.role) == "system"
        if not system and said.role == "assistant" and (before is None or _is_system(before, quirks)):
            out.append(made("user", content=CUT_OFF))
        elif before is not None and said.role == before.role and said.role != "tool" and not before.calls:
            before.put("content", _joined(content_of(before), content_of(said)))
            if said.calls:
                before.calls = said.calls
                before.put("tool_calls", said.calls)
            continue
        out.append(said)
    return out


def _is_system(said: Said, quirks: MessageQuirks) -> bool:
    return quirks.roles.get(said.role, said.role) == "system"


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return "\n\n".join(text for text in (first, second) if text)
    return [*parts_in(first), *parts_in(second)]


def _heard(messages: list[Said]) -> Iterator[Said]:
    """Between results and what the user says the model speaks."""
    after = False
    for said in messages:
        if after and said.role not in ("assistant", "tool"):
            yield made("assistant", content=HEARD)
        after = said.role == "tool"
        yield said
