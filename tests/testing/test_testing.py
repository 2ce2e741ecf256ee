"""The scripted provider of every wire: its bytes say what they were told to say, to a decoder and through a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import uvloop

from infron import testing
from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
from infron.events import (
    Done,
    Event,
    Failed,
    Finished,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    Verbatim,
)
from infron.money import Usage
from infron.testing import (
    CUT,
    RESET,
    SCRIPTS,
    RunningGateway,
    Script,
    ScriptedProvider,
    Voice,
    Wait,
    gateway,
    speak,
    split,
)
from infron.wires import PROVIDER_WIRES

NATIVE = [wire for wire in SCRIPTS if wire != "openai-chat"]
TALKS = [wire for wire in SCRIPTS if wire != "replicate"]  # the wires with tools and usage in their streams
MOST = 1 << 20


# ---- what a decoder hears


class Heard(NamedTuple):
    text: str
    thinking: str
    tools: list[tuple[str, str, str]]
    usage: Usage | None
    finish: str | None
    error: str | None
    done: bool


def heard(voice: Voice, pieces: list[bytes]) -> Heard:
    definition = {"id": "mock", "name": "Mock", "base_url": "http://127.0.0.1:1/v1", **voice.definition}
    decoder = PROVIDER_WIRES[voice.wire].Decoder(msgspec.convert(definition, Provider), MOST, "")
    events: list[Event] = [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()
    tools: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallStarted):
            tools[event.index] = [event.id, event.name, ""]
        elif isinstance(event, ToolCallDelta):
            tools[event.index][2] += event.arguments
    texts = [event.text for event in events if isinstance(event, Verbatim | TextDelta)]
    return Heard(
        text="".join(texts),
        thinking="".join(event.text for event in events if isinstance(event, ThinkingDelta)),
        tools=[(id, name, arguments) for id, name, arguments in tools.values()],
        usage=next((event.usage for event in reversed(events) if isinstance(event, UsageReported)), None),
        finish=next((event.reason for event in events if isinstance(event, Finished)), None),
        error=next((event.error.message for event in events if isinstance(event, Failed)), None),
        done=any(isinstance(event, Done) for event in events),
    )


@pytest.mark.parametrize("wire", SCRIPTS)
def test_voice_of_a_whole_answer_is_decoded_as_it_was_said_however_it_is_split(wire: str) -> None:
    voice = speak(wire)
    steps = voice.answer("Grüße, ", "Welt\nund ", "Mond 🌙", prompt=20, completion=5)
    whole = b"".join(steps)
    told = heard(voice, steps)
    assert told.text == "Grüße, Welt\nund Mond 🌙"
    assert (told.finish, told.error) == ("stop", None)
    if wire in TALKS:
        assert told.usage is not None
        assert (told.usage.prompt, told.usage.completion) == (20, 5)
    assert heard(voice, split(whole, *range(len(whole)))) == told
    assert heard(voice, split(steps, 10, 100, 101)) == told


@pytest.mark.parametrize("wire", TALKS)
@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
def test_voice_has_the_wires_own_word_for_every_end_or_refuses(wire: str, reason: Any) -> None:
    voice = speak(wire)
    if reason not in voice.reasons:
        with pytest.raises(ValueError, match=f"{wire} has no word for the end `{reason}`"):
            voice.finish(reason)
        return
    steps = [voice.start(), voice.text("Hi")]
    if reason == "tool_calls":
        steps.append(voice.tool_call("f"))
    assert heard(voice, [*steps, voice.finish(reason), voice.done()]).finish == reason


@pytest.mark.parametrize("wire", [wire for wire in NATIVE if wire in TALKS])
def test_voice_tells_reasoning_and_parallel_calls_apart_from_the_text(wire: str) -> None:
    voice = speak(wire)
    told = heard(
        voice,
        [
            voice.start(),
            voice.thinking("Let me "),
            voice.thinking("see.", "c2lnbmF0dXJl"),
            voice.ping(),
            voice.text("I ask."),
            voice.tool_call("weather", '{"city":"Köln"}', "call_1"),
            voice.tool_call("time", "", "call_2"),
            voice.finish("tool_calls"),
            voice.done(),
        ],
    )
    assert (told.thinking, told.text, told.finish) == ("Let me see.", "I ask.", "tool_calls")
    assert told.tools == [("call_1", "weather", '{"city":"Köln"}'), ("call_2", "time", "{}")]


@pytest.mark.parametrize("wire", TALKS)
def test_voice_counts_cached_and_reasoning_tokens_inside_the_totals(wire: str) -> None:
    voice = speak(wire)
    told = heard(voice, [voice.start(), voice.usage(20, 9, cached=16, reasoning=4), voice.finish(), voice.done()])
    assert told.usage is not None
    assert (told.usage.prompt, told.usage.completion) == (20, 9)
    assert told.usage.cached == 16
    if wire not in ("bedrock", "cohere"):  # they count no reasoning apart
        assert told.usage.reasoning == 4


@pytest.mark.parametrize("wire", SCRIPTS)
@pytest.mark.parametrize("kind", ["overloaded", "rate_limit", "server"])
def test_voice_of_a_failure_inside_the_stream_is_decoded_as_one(wire: str, kind: Any) -> None:
    voice = speak(wire)
    told = heard(voice, [voice.start(), voice.text("Hal"), voice.error(kind, "the reason why")])
    assert (told.text, told.finish, told.done) == ("Hal", None, False)
    assert told.error is not None
    assert "the reason why" in told.error


@pytest.mark.parametrize("wire", SCRIPTS)
def test_voice_that_breaks_off_says_no_end(wire: str) -> None:
    voice = speak(wire)
    told = heard(voice, [voice.start(), voice.text("Hal")])
    assert (told.text, told.finish, told.error, told.done) == ("Hal", None, None, False)


@pytest.mark.parametrize("wire", SCRIPTS)
@pytest.mark.parametrize("kind", ["overloaded", "rate_limit", "server", "invalid", "key"])
def test_voice_refuses_with_the_wires_own_error(wire: str, kind: Any) -> None:
    voice = speak(wire)
    answer = voice.refuse(kind, "not now", retry_after="7")
    provider = msgspec.convert({"id": "mock", "name": "Mock", **voice.definition}, Provider)
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
    error = PROVIDER_WIRES[wire].parse_error(answer.status, headers, answer.body or b"", provider, "", 0.0)
    statuses = {"overloaded": {503}, "rate_limit": {429}, "server": {500, 502}, "invalid": {400, 422}, "key": {502}}
    assert error.status in statuses[kind]
    if kind == "rate_limit":
        assert (error.error_type, error.retry_after, error.safe_to_retry) == ("rate_limit_exceeded", 7, True)


def test_voice_refuses_what_its_wire_cannot_say() -> None:
    with pytest.raises(ValueError, match="replicate has no tool calls"):
        speak("replicate").tool_call("f")
    with pytest.raises(ValueError, match="replicate has no reasoning"):
        speak("replicate").thinking("hm")
    with pytest.raises(ValueError, match="no wire 'telex'; there are openai-chat, anthropic"):
        speak("telex")


@pytest.mark.parametrize("wire", SCRIPTS)
def test_voice_definition_is_like_a_shipped_one_of_its_wire(wire: str) -> None:
    catalog = load_catalog({}, {}, {}, wires=PROVIDER_WIRES)
    spoken = [catalog.speaking(one, wire, frozenset()) for one in catalog.providers.values()]
    same = [one for one in spoken if one.wire == wire]
    given = msgspec.convert({"id": "mock", "name": "Mock", **speak(wire).definition}, Provider)
    assert any(one.auth.header == given.auth.header and one.auth.scheme == given.auth.scheme for one in same)
    assert any(one.chat_path.endswith(given.chat_path) for one in same)
    assert any(given.headers.items() <= one.headers.items() for one in same)


def test_split_keeps_every_byte() -> None:
    assert split(b"abcdef", 4, 2) == [b"ab", b"cd", b"ef"]
    assert split([b"ab", b"cd"], 0, 3, 9) == [b"abc", b"d"]


# ---- through a gateway


class Streamed(NamedTuple):
    status: int
    text: str
    tools: list[tuple[str, str]]
    finish: str | None
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    done: bool


@contextlib.asynccontextmanager
async def behind(voice: Voice, script: Any) -> AsyncIterator[tuple[ScriptedProvider, RunningGateway]]:
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        yield provider, running


def request(voice: Voice, **fields: Any) -> dict[str, Any]:
    model = "mock/owner/name" if voice.wire == "replicate" else "mock/any"
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 99, **fields}


class Client:
    """One request in HTTP/1.0, so that the end of the body is the end of the connection."""

    def __init__(self, port: int, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        self._port = port
        self._sent = f"{head}content-length: {len(data)}\r\n\r\n".encode() + data

    async def __aenter__(self) -> Client:
        self.reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._sent)
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._writer.close()

    async def rest(self) -> str:
        return (await self.reader.read()).decode()


async def streamed(voice: Voice, script: Any, seen: asyncio.Event | None = None) -> Streamed:
    """What a caller gets; `seen` is set once content is there (before that a failure would change the status)."""
    body = request(voice, stream=True, stream_options={"include_usage": True})
    async with (
        asyncio.timeout(30),
        behind(voice, script) as (_, running),
        Client(running.port, "POST", "/v1/chat/completions", body) as client,
    ):
        text = ""
        while seen is not None and '"content":"Hal"' not in text.replace(": ", ":"):
            text += (await client.reader.readline()).decode()
        if seen is not None:
            seen.set()
        status, text = client.status, text + await client.rest()
    if status != 200:
        return Streamed(status, "", [], None, None, json.loads(text)["error"], False)
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    frames = [json.loads(line) for line in lines if line != "[DONE]"]
    choices = [choice for frame in frames for choice in frame.get("choices", ())]
    tools: dict[int, list[str]] = {}
    for choice in choices:
        for call in choice["delta"].get("tool_calls", ()):
            name, arguments = tools.setdefault(call["index"], ["", ""])
            function = call["function"]
            tools[call["index"]] = [name + function.get("name", ""), arguments + function.get("arguments", "")]
    return Streamed(
        status,
        "".join(choice["delta"].get("content") or "" for choice in choices),
        [(name, arguments) for name, arguments in tools.values()],
        next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None),
        next((frame["usage"] for frame in reversed(frames) if frame.get("usage")), None),
        next((frame["error"] for frame in frames if "error" in frame), None),
        lines[-1] == "[DONE]",
    )


@pytest.mark.parametrize("wire", SCRIPTS)
async def test_gateway_streams_every_voice_in_the_chat_wire(wire: str) -> None:
    voice = speak(wire)
    steps: Script = split(voice.answer("Hello", " there\n", "you", prompt=20, completion=5), 30, 31, 90)
    told = await streamed(voice, voice.plays(steps))
    assert (told.status, told.text, told.finish, told.error) == (200, "Hello there\nyou", "stop", None)
    assert told.done
    assert told.usage is not None
    assert (told.usage["prompt_tokens"], told.usage["completion_tokens"]) == (20, 5)


@pytest.mark.parametrize("wire", TALKS)
async def test_gateway_streams_the_tool_calls_of_every_voice(wire: str) -> None:
    voice = speak(wire)
    calls = [voice.tool_call("weather", '{"city":"Rome"}'), voice.tool_call("time", "{}", "call_2")]
    told = await streamed(voice, voice.plays([voice.start(), *calls, voice.finish("tool_calls"), voice.done()]))
    assert told.tools == [("weather", '{"city":"Rome"}'), ("time", "{}")]
    assert told.finish == "tool_calls"


@pytest.mark.parametrize("wire", [wire for wire in SCRIPTS if wire != "replicate"])
@pytest.mark.parametrize("cut", [CUT, RESET, b""], ids=["closed", "reset", "ended"])
async def test_gateway_makes_an_error_of_a_voice_that_is_cut_off(wire: str, cut: Any) -> None:
    voice, seen = speak(wire), asyncio.Event()
    told = await streamed(voice, voice.plays([voice.start(), voice.text("Hal"), Wait(seen), cut]), seen)
    assert (told.text, told.finish, told.usage) == ("Hal", None, None)
    assert told.error is not None
    assert told.error["metadata"]["error_type"] == "provider_unavailable"


@pytest.mark.parametrize("wire", SCRIPTS)
async def test_gateway_makes_an_error_in_the_stream_of_a_failure_after_content(wire: str) -> None:
    voice, seen = speak(wire), asyncio.Event()
    steps = [voice.start(), voice.text("Hal"), Wait(seen), voice.error("overloaded", "too much")]
    told = await streamed(voice, voice.plays(steps), seen)
    assert (told.text, told.finish) == ("Hal", None)
    assert told.error is not None
    assert "too much" in told.error["message"]


@pytest.mark.parametrize("wire", SCRIPTS)
async def test_gateway_keeps_the_status_of_a_refusal(wire: str) -> None:
    voice = speak(wire)
    told = await streamed(voice, [voice.refuse("rate_limit", "slow down")])
    assert told.status == 429
    assert told.error is not None
    assert "slow down" in told.error["message"]


@pytest.mark.parametrize("wire", SCRIPTS)
async def test_disconnect_reaches_the_provider_as_its_definition_says(wire: str) -> None:
    voice, never = speak(wire), asyncio.Event()
    script = voice.plays([voice.start(), voice.text("Hello"), Wait(never)])
    body = request(voice, stream=True)
    async with asyncio.timeout(30), behind(voice, script) as (provider, running):
        async with Client(running.port, "POST", "/v1/chat/completions", body) as client:
            while b"Hello" not in await client.reader.readline():
                pass
        await running.context.registry.idle.wait()
        call = await provider.called(2 if wire == "replicate" else 1)
        await call.closed.wait()
        if wire == "replicate":
            assert (await provider.called(3)).path.endswith("/predictions/prediction1/cancel")
        id = client.headers["x-generation-id"]
        async with Client(running.port, "GET", f"/v1/generation?id={id}") as asking:
            receipt = json.loads(await asking.rest())["data"]
    assert receipt["outcome"] == "cancelled"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_provider_and_gateway_run_on_either_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """On the loop that the gateway runs on in production the provider ended every connection with an AssertionError."""
    voice = speak("openai-chat")
    with asyncio.Runner(loop_factory=loop) as runner:
        told = runner.run(streamed(voice, voice.plays(voice.answer("Hello"))))
    assert (told.text, told.finish, told.error) == ("Hello", "stop", None)


async def test_tests_run_on_the_loop_of_production() -> None:
    assert type(asyncio.get_running_loop()) is uvloop.Loop


async def test_empty_steps_end_nothing() -> None:
    voice = speak("openai-chat")
    told = await streamed(voice, [b"", voice.text("Hel"), b"", voice.text("lo"), voice.finish(), voice.done()])
    assert (told.text, told.finish, told.error) == ("Hello", "stop", None)


def test_example_of_the_documentation_runs() -> None:
    pytest.importorskip("openai")
    page = (Path(__file__).parents[2] / "docs/testing.md").read_text()
    program = page.split("```python\n")[1].split("```")[0]
    environ = {"PYTHONPATH": str(Path(testing.__file__).parents[2]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Hello world", "")
