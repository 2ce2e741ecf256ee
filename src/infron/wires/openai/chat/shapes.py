"""Fields of other types than the chat API has: said in those, or left out where they say nothing in it.

It never knows what came before, nor who reads it. What it is given is a frame, or a whole answer, that could not be
read as it came.
"""

from __future__ import annotations

from typing import Any

import msgspec

from infron.wires import lenient_json, sse
from infron.wires.openai.chat.delta import MOST_CHOICES, strings_in

_plain = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_WRAPPERS = ("data", "result", "response", "output")  # in which some hosts put the whole answer
_TEXTS = ("reasoning", "reasoning_content", "refusal")
_LISTS = ("reasoning_details", "images", "annotations")
_OBJECTS = ("audio", "function_call")
_REASONS = ("type", "reason", "finish_reason")


def _encode(value: Any) -> bytes:
    """Without the line ends of Unicode, which strings that were read hold again."""
    return sse.unbroken(_plain(value))


def reshaped(payload: bytes) -> bytes:
    """A frame whose choices are a list of objects, each with fields of the types that the API has."""
    frame = _decode(payload)
    if not isinstance(frame, dict):
        return payload
    _reshape(frame)
    return _encode(frame)


def reshaped_whole(body: bytes) -> bytes:
    """The same of a whole answer, which may be wrapped; b"" where there is none."""
    answer = _decode(lenient_json.repaired(body))
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        return b""
    if "choices" not in answer:
        inner = [answer[name] for name in _WRAPPERS if isinstance(answer.get(name), dict)]
        answer = next((value for value in inner if "choices" in value), answer)
    if not answer.get("choices"):
        return b""
    _reshape(answer)
    places = [choice["index"] for choice in answer["choices"]]
    if len(set(places)) != len(places):
        for place, choice in enumerate(answer["choices"]):
            choice["index"] = place
    return _encode(answer) if answer["choices"] else b""


def reshaped_delta(delta: bytes) -> bytes:
    """The same of one delta alone, which is an object."""
    said = _decode(delta)
    _reshape_delta(said)
    return _encode(said)


def _reshape(frame: dict[str, Any]) -> None:
    if "choices" in frame:
        choices = frame["choices"]
        choices = [choices] if isinstance(choices, dict) else choices if isinstance(choices, list) else []
        frame["choices"] = kept = [choice for choice in choices if isinstance(choice, dict)]
        for place, choice in enumerate(kept):
            _reshape_choice(choice, place)


def _reshape_choice(choice: dict[str, Any], place: int) -> None:
    choice["index"] = _index(choice.get("index"), place)
    if not isinstance(choice.get("finish_reason"), str | None):
        choice["finish_reason"] = _reason(choice["finish_reason"])
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, dict):
        for name in ("content", "refusal"):
            if name in logprobs:
                logprobs[name] = _tokens(logprobs[name])
    elif logprobs is not None:
        choice["logprobs"] = None
    for name in ("delta", "message"):
        said = choice.get(name)
        if isinstance(said, str):
            choice[name] = said = {"content": said}
        if isinstance(said, dict):
            _reshape_delta(said)
        elif name in choice:
            choice[name] = None


_IMPROBABLE = -9999.0  # what OpenAI says in place of minus infinity


def _tokens(value: Any, *, top: bool = False) -> list[dict[str, Any]] | None:
    """Of `logprobs`: each with its token and a number, and with the list of others unless it stands in one."""
    if not isinstance(value, list):
        return None
    items = [item for item in value if isinstance(item, dict) and "logprob" in item]
    for item in items:
        number = item["logprob"]
        item["logprob"] = number if isinstance(number, int | float) and number is not True else _IMPROBABLE
        if not isinstance(item.get("token"), str):
            item["token"] = ""
        if not top:
            item["top_logprobs"] = _tokens(item.get("top_logprobs"), top=True) or []
    return items


def _index(index: Any, place: int) -> int:
    if isinstance(index, float) and index.is_integer():
        index = int(index)
    elif isinstance(index, str):
        index = int(index) if index.isdecimal() and len(index) < 4 else None
    return index if index.__class__ is int and 0 <= index < MOST_CHOICES else place


def _reason(value: Any) -> str | None:
    if isinstance(value, dict):
        return next((value[name] for name in _REASONS if isinstance(value.get(name), str)), None)
    if isinstance(value, list):
        return next((item for item in value if isinstance(item, str)), None)
    return str(value) if value else None


def _reshape_delta(delta: dict[str, Any]) -> None:
    content = delta.get("content")
    if isinstance(content, bool):
        del delta["content"]
    elif isinstance(content, int | float | dict):
        delta["content"] = "".join(strings_in(content)) if isinstance(content, dict) else _encode(content).decode()
    for name in _TEXTS:
        if not isinstance(delta.get(name), str | None):
            delta[name] = "".join(strings_in(delta[name])) or None
    for name in _LISTS:
        value = delta.get(name)
        if isinstance(value, dict) or (isinstance(value, str) and name == "images"):
            delta[name] = [value]
        elif not isinstance(value, list | None):
            del delta[name]
    if isinstance(audio := delta.get("audio"), str):
        delta["audio"] = {"data": audio}
    wrong = [name for name in _OBJECTS if not isinstance(delta.get(name), dict | None)]
    wrong += ["role"] if not isinstance(delta.get("role"), str | None) else []
    for name in wrong:
        del delta[name]
