"""When an answer is complete: after all of its choices, its usage, and not a word before."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rawclient import Client, ask, gateway, receipt, send, settled, true, within

from infron.policy import deadlines
from infron.testing import (
    CUT,
    DONE,
    FINISH,
    RESET,
    ROLE,
    Pause,
    Script,
    ScriptedProvider,
    Step,
    Wait,
    delta,
    speak,
    text,
)

NEVER = asyncio.Event
PRICE = {"*": {"prompt": "1", "completion": "10"}}
CHAT, GEMINI = speak("openai-chat"), speak("gemini")
COUNTS = CHAT.usage(10, 500)
BEYOND = Pause(3.6)  # far longer than the wait for usage that is usual
NINE = [f"{number} " for number in range(9)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for usage, a tenth as long."""
    monkeypatch.setattr(deadlines, "USAGE_WAIT_SECONDS", 0.2)


def gemini(finish: str = "", index: int = 0, **fields: Any) -> bytes:
    """A chunk with one candidate of Gemini's."""
    candidate = {"index": index, "content": {"role": "model", "parts": [fields] if fields else []}}
    if finish:
        candidate["finishReason"] = finish
    return b"data: %b\r\n\r\n" % json.dumps({"candidates": [candidate], "responseId": "r"}).encode()


async def read(port: int, **fields: Any) -> tuple[str, Client]:
    client = await (await ask(port, **fields)).head(15)
    body = await client.rest()
    if fields.get("stream", True):
        return client.words(), client
    return json.loads(body)["choices"][0]["message"]["content"], client


# ---- leaving after the finish reason


@pytest.mark.parametrize("wire", ["openai-chat", "gemini", "bedrock"])
async def test_a_client_that_leaves_after_the_finish_reason_is_billed_by_the_report_that_follows(wire: str) -> None:
    """It was cancelled, though nothing was left to stop, and the report was not waited for: thinking was free."""
    voice, left = speak(wire), asyncio.Event()
    end: list[Step] = [voice.finish(), Wait(left), voice.usage(10, 500)]
    if not voice.usage_last:
        end = [voice.usage(10, 500), voice.finish(), Wait(left)]
    script = voice.plays([step for step in [voice.start(), voice.text("Hello"), *end, voice.done()] if step])
    row = {**voice.definition, "prices": PRICE, "on_disconnect": "cancel"}
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition(**row)}) as running:
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.attempts.current.finished_at)
        client.close()
        await true(lambda: exchange.departure.at)
        left.set()
        found = await settled(running, client.id)
    assert (found["outcome"], found["estimated"]) == ("drained", False)
    assert (found["tokens_prompt"], found["tokens_completion"]) == (10, 500)
    assert found["on_disconnect"] == "drain: the answer was complete already"


async def test_a_client_that_leaves_after_the_finish_reason_waits_no_longer_than_others_for_a_report() -> None:
    script = [ROLE, text("Hello"), FINISH, Wait(NEVER())]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.attempts.current.finished_at)
        client.close()
        await within(running.context.registry.idle.wait(), 30)
        found = await settled(running, client.id)
    assert (found["outcome"], found["estimated"]) == ("drained", True)


async def test_a_client_that_leaves_between_finish_reasons_stops_an_answer_that_goes_on() -> None:
    """Hosts exist that give one with every frame: leaving must stop their work too."""
    left = asyncio.Event()
    more: Script = [step for _ in range(400) for step in (delta("stop", content="x "), Pause(0.01))]
    script = [ROLE, delta("stop", content="Hello"), Wait(left), *more, DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        (exchange,) = running.context.registry.running()
        client.close()
        await true(lambda: exchange.departure.at)
        left.set()
        await within(provider.calls[0].closed.wait(), 30)
        found = await settled(running, client.id)
    assert found["outcome"] == "cancelled"
    assert found["on_disconnect"].startswith("drain: the answer was complete already; it went on, so cancel: ")


# ---- choices


@pytest.mark.parametrize("stream", [True, False])
async def test_n_choices_are_all_waited_for_though_they_come_one_after_the_other(stream: bool) -> None:
    """A second choice that began two seconds after the first had ended was cut off: `completed`, one choice."""
    steps = [ROLE, text("first"), FINISH, BEYOND, delta(index=1, content="second")]
    script = [*steps, delta("stop", index=1), COUNTS, DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        client = await (await ask(running.port, n=2, stream=stream)).head(15)
        body = await client.rest()
        found = await settled(running, client.id)
    assert b"first" in body
    assert b"second" in body
    assert (found["outcome"], found["tokens_completion"], found["estimated"]) == ("completed", 500, False)


async def test_n_candidates_of_gemini_are_all_waited_for() -> None:
    first = [gemini(text="first"), gemini("STOP")]
    script = GEMINI.plays([*first, BEYOND, gemini(index=1, text="second"), gemini("STOP", index=1)])
    row = {**GEMINI.definition, "prices": PRICE}
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition(**row)}) as running:
        client = await (await ask(running.port, model="mock/gemini-2.5-flash", n=2)).head(15)
        body = await client.rest()
        found = await settled(running, client.id)
    assert provider.calls[0].json["generationConfig"]["candidateCount"] == 2
    assert b"second" in body
    assert found["outcome"] == "completed"


@pytest.mark.parametrize("n", [1, 2, 3])
async def test_n_is_no_promise_of_a_host_that_says_that_it_is_done(n: int) -> None:
    script = [ROLE, text("only"), FINISH, COUNTS, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, n=n)).head()
        await client.rest()
        found = await settled(running, client.id)
    assert (client.words(), client.frames()[-1], found["outcome"]) == ("only", "[DONE]", "completed")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("loss", [CUT, RESET], ids=["cut", "reset"])
@pytest.mark.parametrize("wire", ["openai-chat", "gemini"])
async def test_the_finish_reason_is_told_though_the_connection_is_lost_behind_it(
    wire: str, loss: Step, stream: bool
) -> None:
    """The answer was called complete, and its client never told why it ended."""
    voice, here = speak(wire), asyncio.Event()
    steps = [step for step in (voice.start(), voice.text("Hello"), voice.finish()) if step]
    async with (
        ScriptedProvider(voice.plays([*steps, Wait(here), loss])) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        client = await ask(running.port, stream=stream)
        await within(provider.called())
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.attempts.current.finished_at)
        here.set()
        await client.head()
        body = await client.rest()
        found = await settled(running, client.id)
    assert body.replace(b" ", b"").count(b'"finish_reason":"stop"') == 1
    assert (found["outcome"], found["finish_reason"]) == ("completed", "stop")


# ---- usage after the end


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("seconds", [0, 0.02, 0.1])
@pytest.mark.parametrize("api", ["/v1/chat/completions", "/v1/messages"])
async def test_usage_that_comes_after_the_end_of_the_stream_is_taken(api: str, seconds: float, stream: bool) -> None:
    """It was dropped, and the answer billed by our estimate though its host had counted it."""
    more: Script = [DONE + COUNTS] if not seconds else [DONE, Pause(seconds), COUNTS, Wait(NEVER())]
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, *more]) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        fields = {
            "model": "mock/any",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 9,
            "stream": stream,
        }
        body = json.dumps(fields).encode()
        client = await (await send(running.port, "POST", api, body, "content-type: application/json")).head()
        answer = await client.rest()
        found = await settled(running, client.id)
    assert b"Hello" in answer
    assert (found["outcome"], found["tokens_completion"], found["estimated"]) == ("completed", 500, False)


async def test_the_end_of_the_body_ends_the_wait_for_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "USAGE_WAIT_SECONDS", 60)
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        words, client = await read(running.port)
        found = await settled(running, client.id)
    assert (words, found["outcome"], found["estimated"]) == ("Hello", "completed", True)


async def test_no_usage_is_waited_for_after_the_end_where_none_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "USAGE_WAIT_SECONDS", 60)
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, DONE, Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(usage="never")}) as running,
    ):
        words, client = await read(running.port)
        found = await settled(running, client.id)
    assert (words, found["outcome"]) == ("Hello", "completed")


async def test_usage_is_waited_for_after_the_end_no_longer_than_before_it() -> None:
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, DONE, Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        words, client = await within(read(running.port), 30)
        found = await settled(running, client.id)
    assert (words, found["outcome"], found["estimated"]) == ("Hello", "completed", True)


# ---- content after a finish reason


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("wire", "steps"),
    [
        ("openai-chat", [delta("stop", content=word) for word in NINE]),
        ("openai-chat", [delta("stop"), *(text(word) for word in NINE), FINISH]),
        ("gemini", [gemini("STOP"), *(gemini(text=word) for word in NINE), gemini("STOP")]),
        ("gemini", [gemini("STOP", text=word) for word in NINE]),
    ],
)
async def test_content_after_a_finish_reason_makes_the_wait_begin_anew(
    wire: str, steps: list[bytes], stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came more than two seconds after the first finish reason was lost, and the answer called complete."""
    monkeypatch.setattr(deadlines, "USAGE_WAIT_SECONDS", 2.0)
    voice = speak(wire)
    script = voice.plays([voice.start() or Pause(0), *(part for step in steps for part in (step, Pause(0.45)))])
    row = {**voice.definition, "prices": PRICE}
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition(**row)}) as running:
        words, client = await read(running.port, stream=stream)
        found = await settled(running, client.id)
    assert words == "".join(NINE)
    assert found["outcome"] == "completed"


# ---- a reader that keeps the provider waiting


async def test_a_reader_that_stalled_until_the_provider_gave_up_owes_what_it_read() -> None:
    """The mark was taken away as soon as the reader went on, and only then could the loss be seen: it was all free."""
    script = [ROLE, *[text("word " * 10_000)] * 300, Wait(NEVER())]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        client = await (await ask(running.port, buffer=4096)).head()
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.pace.paused_at)
        await asyncio.sleep(0.8)
        for connection in provider.connections:
            connection.transport.abort()
        await client.rest()
        found = await settled(running, client.id)
    assert b'"error"' in client.received
    assert (found["outcome"], found["estimated"]) == ("failed", True)
    assert found["tokens_completion"] > 1000
    assert found["total_cost"] == found["provider_cost"] > 0


async def test_a_provider_that_fails_by_itself_charges_nothing_though_its_reader_once_was_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infron.runtime.exchange.pace.RECOVERY_SECONDS", 0.1)
    fail = asyncio.Event()
    script = [ROLE, *[text("word " * 10_000)] * 300, text("the end"), Wait(fail), CHAT.error()]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        client = await (await ask(running.port, buffer=4096)).head()
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.pace.paused_at)
        await asyncio.sleep(0.8)
        await client.until(b"the end")
        await asyncio.sleep(0.2)
        fail.set()
        await client.rest()
        found = await receipt(running.port, client.id)
        found = await settled(running, client.id)
    assert (found["outcome"], found["total_cost"]) == ("failed", 0)
