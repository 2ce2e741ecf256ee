"""Streams of chat hosts that client libraries could not read, through the gateway: repaired on every definition."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from rawclient import Client, ask, gateway, settled, words

from infron.policy import deadlines
from infron.testing import DONE, ROLE, USAGE, Pause, ScriptedProvider, Wait, delta, speak, text

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "fg"]


def call(index: int, id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def told(client: Client) -> list[Any]:
    """What it received of the answer itself, without the counts."""
    return [one for one in client.frames() if "usage" not in one]


def ends(frames: list[Any]) -> list[tuple[int, str]]:
    """(place, finish reason) of each frame that has one."""
    reasons = [(place, choice["finish_reason"]) for place, one in enumerate(frames[:-1]) for choice in one["choices"]]
    return [(place, reason) for place, reason in reasons if reason]


def calls_in(frames: list[Any]) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of the calls, put together as client libraries do."""
    calls: list[list[str]] = []
    for one in frames[:-1]:
        for item in one["choices"][0]["delta"].get("tool_calls", ()):
            if item["index"] == len(calls):
                calls.append(["", "", ""])
            found, function = calls[item["index"]], item.get("function", {})
            found[0] += item.get("id", "")
            found[1] += function.get("name", "")
            found[2] += function.get("arguments", "")
    return [(id, name, arguments) for id, name, arguments in calls]


WORDS = "".join(f"w{n} " for n in range(9))


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    # Shorter than the pauses of an answer together, longer by far than each of them, also on a busy machine.
    monkeypatch.setattr(deadlines, "USAGE_WAIT_SECONDS", 2.0)


@pytest.mark.usefixtures("short_wait")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("how", ["left open", "closed", "done"])
async def test_answer_whose_end_is_told_before_its_content_arrives_whole(how: str, stream: bool) -> None:
    # The wait for usage was counted from the first finish reason on, and what came after it was cut, as `completed`.
    pieces = [step for n in range(9) for step in (text(f"w{n} "), Pause(0.45))]
    last = {"left open": [Wait(asyncio.Event())], "closed": [], "done": [DONE]}[how]
    script = [ROLE, delta("stop"), *pieces, *last]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, stream=stream)).head(15)
        body = await client.rest()
        found = await settled(running, client.id)
    assert (found["outcome"], found["finish_reason"]) == ("completed", "stop")
    if stream:
        frames = told(client)
        assert words(frames) == WORDS
        assert ends(frames) == [(len(frames) - 2, "stop")]
    else:
        (choice,) = json.loads(body)["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (WORDS, "stop")


@pytest.mark.usefixtures("short_wait")
async def test_end_of_an_answer_is_told_where_nothing_follows_it() -> None:
    script = [ROLE, text("one"), delta("stop"), Wait(asyncio.Event())]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        await client.rest()
    frames = told(client)
    assert ends(frames) == [(len(frames) - 2, "stop")]
    assert frames[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("word", ["stop", "end_turn", "STOP", "eos", "tool_use", "function_call"])
async def test_answer_that_calls_tools_ends_with_tool_calls(word: str, stream: bool) -> None:
    # Agents that look at the finish reason stopped before they ran the tool, or met a word that they do not know.
    script = [ROLE, delta(tool_calls=[call(0, "c1", "f", "{}")]), delta(word), USAGE, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, stream=stream, tools=TOOLS)).head()
        body = await client.rest()
        found = await settled(running, client.id)
    choice = told(client)[-2]["choices"][0] if stream else json.loads(body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["native_finish_reason"] == word
    assert (found["finish_reason"], found["native_finish_reason"]) == ("tool_calls", word)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("together", [True, False])
async def test_parallel_calls_at_one_index_are_two_calls(together: bool, stream: bool) -> None:
    # Client libraries match pieces by index: one call came out, with the arguments of both.
    made = [call(0, "c1", "f", '{"x":1}'), call(0, "c2", "g", '{"x":2}')]
    steps = [delta(tool_calls=made)] if together else [delta(tool_calls=[one]) for one in made]
    script = [ROLE, *steps, delta("tool_calls"), USAGE, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, stream=stream, tools=TOOLS)).head()
        body = await client.rest()
    wanted = [("c1", "f", '{"x":1}'), ("c2", "g", '{"x":2}')]
    if stream:
        assert calls_in(told(client)) == wanted
    else:
        calls = json.loads(body)["choices"][0]["message"]["tool_calls"]
        assert [(one["id"], one["function"]["name"], one["function"]["arguments"]) for one in calls] == wanted


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("raw", [b"\x1b", b"\t", b"\x01"])
async def test_raw_control_character_in_a_frame_arrives(raw: bytes, stream: bool) -> None:
    # One of them, and the whole answer was lost: "not a chat completion chunk".
    odd = text("l?o").replace(b"?", raw)
    script = [ROLE, text("Hel"), odd, delta("stop"), USAGE, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, stream=stream)).head()
        body = await client.rest()
    said = client.words() if stream else json.loads(body)["choices"][0]["message"]["content"]
    assert said == f"Hell{raw.decode()}o"


def gemini(parts: list[Any], finish: str = "") -> bytes:
    candidate = {
        "index": 0,
        "content": {"role": "model", "parts": parts},
        **({"finishReason": finish} if finish else {}),
    }
    return b"data: " + json.dumps({"candidates": [candidate], "responseId": "r1"}).encode() + b"\r\n\r\n"


@pytest.mark.usefixtures("short_wait")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("every", ["", "STOP"])
async def test_gemini_answer_whose_end_is_told_before_its_content_arrives_whole(every: str, stream: bool) -> None:
    # Frames with STOP and without parts came first, or STOP in every frame: the text and the call after it were lost.
    pieces = [step for n in range(9) for step in (gemini([{"text": f"w{n} "}], every), Pause(0.45))]
    script = [
        gemini([], "STOP"),
        *pieces,
        gemini([{"functionCall": {"name": "f", "args": {}, "id": "q"}}]),
        gemini([], "STOP"),
    ]
    voice = speak("gemini")
    async with (
        ScriptedProvider(voice.plays(script)) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        client = await (await ask(running.port, stream=stream, tools=TOOLS)).head(15)
        body = await client.rest()
        found = await settled(running, client.id)
    assert (found["outcome"], found["finish_reason"], found["native_finish_reason"]) == (
        "completed",
        "tool_calls",
        "STOP",
    )
    if stream:
        frames = told(client)
        assert words(frames) == WORDS
        assert ends(frames) == [(len(frames) - 2, "tool_calls")]
    else:
        (choice,) = json.loads(body)["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (WORDS, "tool_calls")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("stream", [True, False])
async def test_only_choice_is_the_first_whatever_its_host_counts_from(stream: bool, path: str) -> None:
    # Libraries take the index for the place in a list; the other APIs know one choice, and told nothing of it.
    first = delta(index=1, role="assistant", content="")
    script = [first, delta(index=1, content="one"), delta("stop", index=1), USAGE, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        more = {"input": "Hi"} if path == "/v1/responses" else {"max_tokens": 9}
        client = await (await ask(running.port, path=path, stream=stream, **more)).head()
        body = await client.rest()
    assert b"one" in body
    if path == "/v1/chat/completions":
        told = [choice for frame in client.frames()[:-1] for choice in frame["choices"]] if stream else None
        assert {choice["index"] for choice in told or json.loads(body)["choices"]} == {0}


AFTER_THE_END = ("bedrock", "cohere", "cloudflare")


@pytest.mark.usefixtures("short_wait")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("wire", AFTER_THE_END)
async def test_native_answer_whose_end_is_told_before_its_content_arrives_whole(
    wire: str, stream: bool, path: str
) -> None:
    # The end went out as it came, before the text; a message-end ended all, and what followed was lost.
    voice = speak(wire)
    end = [voice.usage(7, 3), voice.finish()]
    if wire == "cloudflare":
        end = [b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n']
    pieces = [step for n in range(3) for step in (voice.text(f"w{n} "), Pause(0.2))]
    script = voice.plays([step for step in [voice.start(), *end, *pieces, voice.usage(7, 3), voice.done()] if step])
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        more = {"input": "Hi"} if path == "/v1/responses" else {"max_tokens": 9}
        client = await (await ask(running.port, path=path, stream=stream, **more)).head()
        body = (await client.rest()).decode()
        found = await settled(running, client.id)
    assert (found["outcome"], found["finish_reason"]) == ("completed", "stop")
    ends = {
        "/v1/chat/completions": '"finish_reason":"stop"',
        "/v1/messages": "end_turn",
        "/v1/responses": "response.completed",
    }
    assert all(f"w{n} " in body for n in range(3))
    assert not stream or body.index("w2 ") < body.index(ends[path])
    if stream and path == "/v1/chat/completions":
        assert words(client.frames()) == "w0 w1 w2 "


NAMELESS = {
    "openai-chat": delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "{}"}}]),
    "anthropic": speak("anthropic").tool_call("f", id=""),
    "bedrock": speak("bedrock").tool_call("f", id=""),
    "cohere": speak("cohere").tool_call("f", id=""),
    "cloudflare": speak("cloudflare").tool_call("f", id=""),
    "gemini": speak("gemini").tool_call("f", id=""),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("wire", NAMELESS)
async def test_ids_of_calls_differ_between_answers(wire: str, path: str) -> None:
    # They were counted anew in each answer, and a session had two calls of one id, which providers refuse.
    voice, ids = speak(wire), set()
    script = [voice.start(), NAMELESS[wire], voice.usage(7, 3), voice.finish("tool_calls"), voice.done()]
    async with (
        ScriptedProvider(voice.plays([step for step in script if step])) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        more = {"input": "Hi"} if path == "/v1/responses" else {"max_tokens": 9}
        for _ in range(2):
            client = await (await ask(running.port, path=path, stream=False, **more)).head()
            ids |= set(re.findall(r'"(call_[0-9a-f]{24})"', (await client.rest()).decode()))
    assert len(ids) == 2
