"""What a client says reaches a provider of any wire: pictures, schemas, tools, and thinking that it gives back.

It never knows where a wire has them: what is looked for is found by its words in the request, in their order.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.cases import APIS, WIRES
from conformance.clients import CLIENTS
from conformance.play import asked, once, sent
from conformance.said import PICTURE, Ask, Result
from infron.testing import Voice, speak

SIGNED = ("anthropic", "bedrock", "gemini", "openai-chat", "openai-responses")  # wires whose thinking must come back
SIGNED_TEXT = ("anthropic", "bedrock")  # a signature of the text that was told
SCHEMALESS = TOOLLESS = ("replicate",)


def voice_of(wire: str) -> Voice:
    voice = speak(wire)
    if wire == "openai-chat":  # hosts that sign thinking take it back here
        voice.definition = {**voice.definition, "quirks": {"message": {"takes": ["reasoning_details"]}}}
    return voice


def places(body: bytes, words: list[str]) -> list[int]:
    found = [body.find(word.encode()) for word in words]
    assert -1 not in found, [word for word, place in zip(words, found, strict=True) if place < 0]
    assert all(body.count(word.encode()) == 1 for word in words)
    return found


@pytest.mark.parametrize("wire", SIGNED)
@pytest.mark.parametrize("api", [api for api in APIS if CLIENTS[api].keeps_signatures])
def test_thoughts_of_three_turns_come_back_to_their_provider_in_order(api: str, wire: str) -> None:
    history: tuple[Any, ...] = ("Where?",)
    words: list[str] = []
    for turn in range(3):
        voice = voice_of(wire)
        signature, city = f"signature{turn}signature{turn}xx", f"city-{turn}"
        steps = [voice.start(), voice.thinking(f"thought-{turn}.", signature)]
        steps.append(voice.tool_call("weather", json.dumps({"city": city}), f"call_{turn}"))
        steps += [voice.usage(20, 9), voice.finish("tool_calls"), voice.done()]
        ask = Ask(history, tools=("weather",), stream=turn != 1)
        heard, _ = once(api, ask, voice, voice.plays([step for step in steps if step]))
        assert heard.said.thinking == f"thought-{turn}."
        history = (*history, heard, Result(heard.ids[0], f"result-{turn}"))
        said = [city, signature] if wire == "openai-chat" else [signature, city]  # whose fields have no order
        words += [*said, f"result-{turn}"]
        body = sent(asked(api, Ask(history, tools=("weather",))), voice_of(wire)).body
        assert places(body, words) == sorted(places(body, words))
        assert wire not in SIGNED_TEXT or places(body, [f"thought-{turn}."])


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("api", APIS)
def test_picture_of_the_user_reaches_the_provider(api: str, wire: str) -> None:
    body = sent(asked(api, Ask(picture=True)), speak(wire)).body
    assert places(body, [PICTURE])
    assert b"png" in body


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("api", APIS)
def test_schema_of_the_answer_reaches_the_provider(api: str, wire: str) -> None:
    outgoing = sent(asked(api, Ask(schema=True)), speak(wire))
    if wire in SCHEMALESS:
        assert outgoing.dropped, "a receipt must name it"
    else:
        assert b"additionalProperties" in outgoing.body
        assert outgoing.dropped == ()


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire not in TOOLLESS])
@pytest.mark.parametrize("api", APIS)
def test_calls_and_results_reach_the_provider_as_pairs(api: str, wire: str) -> None:
    history: tuple[Any, ...] = ("Where?",)
    for turn in range(2):
        voice = speak(wire)
        steps = [voice.start(), voice.text(f"look-{turn}")]
        steps += [voice.tool_call("weather", json.dumps({"city": f"city-{turn}{n}"}), f"call_{n}") for n in range(2)]
        steps += [voice.usage(20, 9), voice.finish("tool_calls"), voice.done()]
        heard, _ = once(api, Ask(history, tools=("weather",)), voice, voice.plays([step for step in steps if step]))
        results = [Result(id, f"result-{turn}{n}") for n, id in enumerate(heard.ids)]
        history = (*history, heard, *results)
    body = sent(asked(api, Ask(history, tools=("weather",))), speak(wire)).body
    words = [f"{what}-{turn}{n}" for turn in range(2) for what in ("city", "result") for n in range(2)]
    assert places(body, words) == sorted(places(body, words))
