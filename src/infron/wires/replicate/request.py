"""Requests to Replicate: a conversation as the input of one of its models, and where predictions of it are made.

It never knows a model's own schema, only what is common to the models of one owner, and never the answer.
Facts: Replicate's HTTP reference and the input schemas that it publishes with its models (2024 to 2026).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.conversation import Conversation, Media, Reasoning, Text, Thinking, system_of, turns_of
from infron.errors import Unsupported
from infron.request import Outgoing, Request
from infron.wires.json_steps import written
from infron.wires.media import data_uri
from infron.wires.request_fields import unsupported
from infron.wires.session import without_calls

JSON = (("Accept", "application/json"),)  # of all requests but that for a stream

_encode = msgspec.json.Encoder().encode


class _Family(Struct, frozen=True, kw_only=True):
    """How models of one owner name their inputs; "" where they have none of this kind.

    `image`: takes one picture; `images`: a list of them. `messages`: takes the turns as they are, too.
    """

    system: str = "system_prompt"
    max_tokens: str = "max_tokens"
    image: str = "image"
    images: str = ""
    messages: bool = False
    reasoning: str = ""  # the owner whose way of asking for thinking it is


# By the beginning of a model's name, the first that fits. A name that says nothing (a version, a deployment) is `_ANY`.
_FAMILIES: tuple[tuple[str, _Family], ...] = (
    ("openai/gpt-oss", _Family(system="", image="")),
    (
        "openai/",
        _Family(max_tokens="max_completion_tokens", images="image_input", messages=True, reasoning="openai"),
    ),
    ("anthropic/", _Family(reasoning="anthropic")),
    (
        "google/gemini",
        _Family(system="system_instruction", max_tokens="max_output_tokens", images="images", reasoning="google"),
    ),
    ("deepseek-ai/", _Family(system="", image="")),
    ("meta/llama-2", _Family(max_tokens="max_new_tokens", image="")),
)
_ANY = _Family()
# Inputs that have the name of the chat wire wherever a model has them.
_SAME = (
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "temperature",
    "top_k",
    "top_p",
    "verbosity",
)
TAKES = frozenset(("input", "max_tokens", "reasoning", "stop", *_SAME))


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The request that makes a prediction, to be streamed if the model can.

    `provider_model`: OWNER/NAME of an official model, OWNER/NAME:VERSION or VERSION of any other,
    deployments/OWNER/NAME.
    Raises InvalidRequest and Unsupported, which name the place.
    """
    asked = request.conversation
    conversation = replace(asked, messages=tuple(without_calls(asked.messages)))  # which no input has a place for
    path, version = place_of(provider_model)
    values = encode(conversation, provider_model)
    lost = {"stop"} if "stop_sequences" not in values else set()
    if not family_of(provider_model).reasoning:
        lost.add("reasoning")
    return Outgoing(
        body=written({**version, "input": values, "stream": True}, request.size),
        url=path,
        headers=JSON,
        dropped=request.conversation.left_out(TAKES - lost),
    )


def place_of(provider_model: str) -> tuple[str, dict[str, str]]:
    """The path below `base_url` that makes predictions of a model, and what the body says of it beside the input."""
    pieces = provider_model.split("/")
    owner, name = pieces[-2:] if len(pieces) > 1 else ("", provider_model)
    plain = all(piece.strip(".") for piece in pieces)
    if plain and len(pieces) == 3 and pieces[0] == "deployments":
        return f"/deployments/{quote(owner, safe='')}/{quote(name, safe='')}/predictions", {}
    if plain and len(pieces) <= 2 and ":" in name:
        return "/predictions", {"version": provider_model}
    if plain and len(pieces) == 2:
        return f"/models/{quote(owner, safe='')}/{quote(name, safe='')}/predictions", {}
    if len(provider_model) == 64 and provider_model.isalnum():
        return "/predictions", {"version": provider_model}
    raise Unsupported(
        f"`{provider_model[:100]}` is no model of Replicate: "
        "write OWNER/NAME, OWNER/NAME:VERSION or deployments/OWNER/NAME.",
        param="model",
    )


def family_of(provider_model: str) -> _Family:
    return next((family for start, family in _FAMILIES if provider_model.startswith(start)), _ANY)


def encode(conversation: Conversation, provider_model: str) -> dict[str, Any]:
    """The input of a prediction. Raises Unsupported for what no input can carry, and names the place.

    Whatever the caller wrote into a root field `input` goes over it, for inputs that only one model has.
    """
    family = family_of(provider_model)
    messages: list[dict[str, str]] = []
    pictures: list[str] = []
    for index, message in enumerate(conversation.messages):
        text = _text(message.parts, f"messages[{index}]", pictures)
        messages.append({"role": message.role, "content": text})
    values = _prompt(conversation, family)
    if family.messages and len(messages) > 2 and not pictures:
        values["messages"] = messages  # where a model has this input it ignores the prompt
    if pictures:
        values.update(_pictures(pictures, family, provider_model))
    if conversation.max_tokens is not None:
        values[family.max_tokens] = conversation.max_tokens
    if conversation.stop and not any("," in stop for stop in conversation.stop):
        values["stop_sequences"] = ",".join(conversation.stop)
    if conversation.reasoning is not None:
        values.update(_reasoning(conversation.reasoning, family))
    fields = conversation.fields
    values.update({name: fields[name] for name in _SAME if fields.get(name) is not None})
    own = fields.get("input")
    if isinstance(own, dict):
        values.update(own)
    return values


def _text(parts: Iterable[Any], place: str, pictures: list[str]) -> str:
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif isinstance(part, Media) and part.kind == "image" and (part.url or part.data):
            pictures.append(part.url or data_uri(part.mime or "image/png", part.data))
        elif isinstance(part, Media) and part.text:
            texts.append(f"{part.name}\n{part.text}" if part.name else part.text)
        elif not isinstance(part, Thinking):
            raise unsupported(place, f"holds {part.kind} content, which Replicate's models do not take")
    return "\n".join(texts)


_SAYS = {"user": "User", "assistant": "Assistant"}


def _prompt(conversation: Conversation, family: _Family) -> dict[str, Any]:
    """The turns as one text. The model's own template is put around it by Replicate.

    One turn stands as it is; several are named, and the name of whoever speaks next ends the prompt.
    """
    system = "\n\n".join(part.text for part in system_of(conversation.messages))
    turns = [(who, _text(parts, "messages", [])) for who, parts in turns_of(conversation.messages)]
    if len(turns) == 1 and turns[0][0] == "user":
        prompt = turns[0][1]
    else:
        said = [f"{_SAYS[who]}: {text}" for who, text in turns]
        prompt = "\n\n".join([*said, "Assistant:"] if turns and turns[-1][0] == "user" else said)
    if system and turns and family.system:
        return {"prompt": prompt, family.system: system}
    return {"prompt": "\n\n".join(text for text in (system, prompt) if text)}


def _pictures(pictures: list[str], family: _Family, provider_model: str) -> dict[str, Any]:
    if family.images:
        return {family.images: pictures}
    if not family.image or len(pictures) > 1:
        most = "one image" if family.image else "no images"
        raise Unsupported(f"`{provider_model[:100]}` takes {most} at Replicate.", param="messages")
    return {family.image: pictures[0]}


def _reasoning(reasoning: Reasoning, family: _Family) -> dict[str, Any]:
    effort, tokens = reasoning.effort, reasoning.max_tokens
    off = effort == "none" or tokens == 0
    if family.reasoning == "openai":
        return {"reasoning_effort": "high" if effort in ("xhigh", "max") else effort} if effort else {}
    if family.reasoning == "anthropic":
        budget = {} if tokens is None else {"thinking_budget_tokens": max(tokens, 1024)}
        return {"extended_thinking": not off, **({} if off else budget)}
    if family.reasoning == "google":
        if off or tokens is not None:
            return {"thinking_budget": 0 if off else tokens}
        return {"dynamic_thinking": True}
    return {}
