"""Requests to complete a prompt: a client's body to a Request, and a Request to the body for one host of this API.

It never knows whether a model is one for chats: where a host has no other, the prompt becomes what its user says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.conversation import Conversation, Message, Text
from infron.errors import Unsupported
from infron.request import NO_TARGET, Outgoing, Prompt, Request, Target
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.json_steps import value_in, written
from infron.wires.request_fields import count_of, decoded, strings_of
from infron.wires.request_quirks import fitted

NAME = "openai-completions"
PATHS = ("/v1/completions",)
NEAR = PATHS
# What a chat has no way to say, with the value that asks for nothing.
_NOT_IN_CHATS: dict[str, Any] = {"best_of": 1, "echo": False, "logprobs": False, "suffix": ""}
_APART = frozenset(("model", "prompt", "stop", "stream", "stream_options", *_NOT_IN_CHATS))


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body. Raises InvalidRequest. `headers`: none matters."""
    request = read(body, NAME, _as_chat, holds="prompt", numbers=True)
    asked = request.include_usage is True  # else no client of this API expects a frame without text
    return replace(request, include_usage=asked, prompt_of=_prompt_of)


def _prompt_of(fields: Mapping[str, Raw]) -> Prompt:
    prompts = _prompts(value_in(fields["prompt"]))
    tokens = sum(len(prompt) for prompt in prompts if isinstance(prompt, list))
    return Prompt([prompt for prompt in prompts if isinstance(prompt, str)], tokens)


def _prompts(given: Any) -> list[Any]:
    """Each a text or a list of tokens."""
    if not isinstance(given, list) or (given and isinstance(given[0], int)):
        return [given]
    return given


def _as_chat(fields: Mapping[str, Raw]) -> Conversation:
    """The prompt as one message of the user. Raises Unsupported for what a chat cannot say."""
    values = {name: decoded(raw, name) for name, raw in fields.items()}
    for name, nothing in _NOT_IN_CHATS.items():
        if name in values and (type(values[name]), values[name]) != (type(nothing), nothing):
            what = f"`{name}` is taken by models that complete text only; this one is asked as in a chat."
            raise Unsupported(what, param=name)
    prompts = _prompts(values["prompt"])
    if len(prompts) != 1 or not isinstance(prompts[0], str):
        what = (
            "`prompt` must be one text for this model, which is asked as in a chat: no tokens, and no list of prompts."
        )
        raise Unsupported(what, param="prompt")
    stop = values.get("stop")
    rest = {name: value for name, value in values.items() if name not in _APART}
    asked: dict[str, tuple[str, ...]] = {name: (name,) for name in rest}
    if stop:
        asked["stop"] = ("stop",)
    return Conversation(
        messages=(Message("user", (Text(prompts[0]),)),),
        max_tokens=count_of(rest, "max_tokens", 1),
        stop=(stop,) if isinstance(stop, str) else tuple(strings_of(stop, "stop")),
        fields=rest,
        asked=asked,
    )


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The body for one host: what came, but for the model and what its definition says. Raises Unsupported.

    What is not streamed to its client is not streamed to us: hosts do not stream everything that this API can be asked.
    """
    if request.api != NAME:
        raise Unsupported(f"{provider.name} completes text only here.", param="model", provider=provider.id)
    fields, dropped = fitted(request.fields, provider.quirks.request)
    options = decoded(fields.pop("stream_options", Raw(b"null")), "stream_options") or {}
    fields = {**fields, "model": provider_model, "stream": request.stream}
    if request.stream:
        options = {**options, "include_usage": True} if ask_usage else options
        fields |= {"stream_options": options} if options else {}
    prompts, several = _prompts(value_in(request.fields["prompt"])), value_in(request.fields.get("n", Raw(b"1")))
    choices = len(prompts) * (several if type(several) is int and several > 1 else 1)
    return Outgoing(body=written(fields, request.size), dropped=dropped, choices=choices)
