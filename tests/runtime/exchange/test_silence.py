"""Silence towards the client, silence of the provider, and a client that takes nothing: each has its clock."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from rawclient import COMMENT, Client, ask, deaf_host, gateway, send, settled, true, within

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, Answer, Pause, ScriptedProvider, Wait, delta, text

NEVER = asyncio.Event
LATE = 4.0  # seconds: by so much a busy machine may be late


# ---- comments


async def test_comments_come_before_the_first_token_first_soon_and_then_regularly() -> None:
    keepalive = {"first_seconds": 0.2, "every_seconds": 0.4}
    async with (
        ScriptedProvider([Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        asked = time.monotonic()
        client = await (await ask(running.port)).head()
        at = []
        for _ in range(3):
            assert await client.piece() == COMMENT
            at.append(time.monotonic() - asked)
    assert client.status == 200
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [moment >= due for moment, due in zip(at, (0.2, 0.6, 1.0), strict=True)] == [True, True, True]
    assert at[2] < 1.0 + LATE


async def test_comments_come_between_tokens_after_the_shorter_pause_again() -> None:
    """After one comment the next is due late; content in between makes it due early again."""
    more = asyncio.Event()
    keepalive = {"first_seconds": 0.1, "every_seconds": 30}
    script = [Answer(), ROLE, Wait(more), text("Hello"), Wait(NEVER())]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        client = await (await ask(running.port)).head()
        assert await client.piece() == COMMENT
        more.set()
        await client.until(b"Hello")
        written = time.monotonic()
        assert await client.piece() == COMMENT
        assert time.monotonic() - written < 0.1 + LATE


async def test_comments_stand_between_whole_frames_only() -> None:
    """The provider stops in the middle of a frame: the half that is here must not reach the client."""
    half, more = len(text("Hello")) // 2, asyncio.Event()
    script = [text("First"), text("Hello")[:half], Wait(more), text("Hello")[half:], FINISH, DONE]
    keepalive = {"first_seconds": 0.05, "every_seconds": 0.05}
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(COMMENT, 2)
        more.set()
        body = await client.rest()
    assert client.words() == "FirstHello"
    assert all(block == COMMENT.strip() or block.startswith(b"data: {") for block in body.split(b"\n\n")[:-2])
    assert b"\nid:" not in body


async def test_an_early_error_keeps_its_status_because_the_head_is_held_back() -> None:
    script = [Answer(429, (("retry-after", "7"),), b'{"error":{"message":"slow down"}}')]
    keepalive = {"first_seconds": 1, "every_seconds": 1}
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        client = await (await ask(running.port)).head()
        assert (client.status, client.headers["retry-after"]) == (429, "7")
        assert COMMENT not in await client.rest()


@pytest.mark.parametrize(
    ("keepalive", "comments"),
    [
        ({"first_seconds": 0, "every_seconds": 0.05}, 0),
        ({"first_seconds": 0.05, "every_seconds": 0}, 1),
    ],
)
async def test_zero_switches_comments_off(keepalive: dict, comments: int) -> None:
    script = [Pause(0.5), text("Hello"), FINISH, DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        client = await (await ask(running.port)).head()
        assert (await client.rest()).count(COMMENT) == comments


async def test_an_answer_that_is_not_streamed_has_no_comments() -> None:
    script = [Pause(0.3), text("Hello"), FINISH, USAGE, DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive={"first_seconds": 0.05}) as running,
    ):
        client = await (await ask(running.port, stream=False)).head()
        assert client.headers["content-type"] == "application/json"
        assert (await client.rest()).startswith(b"{")


# ---- signs of life before an answer that is not streamed

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10},
    "/v1/responses": {"input": "Hi"},
}


async def whole(port: int, path: str, *headers: str) -> Client:
    body = json.dumps({"model": "mock/any", **BODIES[path]}).encode()
    return await (await send(port, "POST", path, body, "content-type: application/json", *headers)).head()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("headers", "setting"), [(["x-infron-keep-alive: true"], False), ([], True)], ids=["asked for", "set"]
)
async def test_an_answer_that_is_not_streamed_may_begin_with_white_space(
    path: str, headers: list[str], setting: bool
) -> None:
    """Not a byte came until the end, and proxies between gave up after a minute or two."""
    more = asyncio.Event()
    script = [Wait(more), ROLE, text("Hello"), FINISH, USAGE, DONE]
    keepalive = {"first_seconds": 0.05, "every_seconds": 0.05, "whole": setting}
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        client = await whole(running.port, path, *headers)
        assert (client.status, client.headers["content-type"]) == (200, "application/json")
        assert [await client.piece() for _ in range(3)] == [b"\n"] * 3
        more.set()
        body = await client.rest()
        found = await settled(running, client.id)
    assert "Hello" in json.dumps(json.loads(body))
    assert (found["outcome"], found["tokens_completion"]) == ("completed", 3)


@pytest.mark.parametrize("path", BODIES)
async def test_an_error_after_white_space_says_the_status_that_it_would_have_had(path: str) -> None:
    more = asyncio.Event()
    script = [Wait(more), Answer(429, (("retry-after", "7"),), b'{"error":{"message":"slow down"}}')]
    keepalive = {"first_seconds": 0.05, "every_seconds": 0.05}
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        client = await whole(running.port, path, "x-infron-keep-alive: true")
        await client.until(b"\n")
        more.set()
        error = json.loads(await client.rest())["error"]
        found = await settled(running, client.id)
    assert client.status == 200
    assert "slow down" in error["message"]
    if path != "/v1/messages":  # whose errors have a type and a message alone
        assert error["metadata"]["status"] == 429
    assert found["outcome"] == "failed"


async def test_another_candidate_is_tried_after_white_space() -> None:
    more = asyncio.Event()
    async with (
        ScriptedProvider([Wait(more), CUT]) as first,
        ScriptedProvider([ROLE, text("Hello"), FINISH, USAGE, DONE]) as second,
        gateway(
            providers={"mock": first.definition(), "other": second.definition()},
            keepalive={"first_seconds": 0.05, "whole": True},
        ) as running,
    ):
        client = await (await ask(running.port, stream=False, models=["other/any"])).head()
        await client.until(b"\n")
        more.set()
        answer = json.loads(await client.rest())
        found = await settled(running, client.id)
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert (found["provider_name"], len(found["attempts"])) == ("other", 1)


@pytest.mark.parametrize(("header", "setting"), [("x-infron-keep-alive: false", True), ("x-other: 1", False)])
async def test_an_answer_that_is_not_streamed_keeps_its_status_where_no_sign_of_life_is_asked_for(
    header: str, setting: bool
) -> None:
    script = [Pause(0.3), Answer(429, (), b'{"error":{"message":"slow down"}}')]
    keepalive = {"first_seconds": 0.05, "every_seconds": 0.05, "whole": setting}
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=keepalive) as running,
    ):
        client = await (await ask(running.port, header, stream=False)).head()
        assert client.status == 429


async def test_a_wish_that_is_none_is_refused() -> None:
    async with ScriptedProvider([DONE]) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, "x-infron-keep-alive: often", stream=False)).head()
        error = await client.error()
    assert (client.status, error["param"]) == (400, "X-Infron-Keep-Alive")
    assert error["message"] == "`X-Infron-Keep-Alive` must be `true` or `false`."


# ---- the provider's clocks


async def test_no_first_token_in_time_is_a_504_and_timed_out() -> None:
    script = [Answer(), b": thinking\n\n", ROLE, Wait(NEVER())]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, timeouts={"first_token_seconds": 0.1}) as running,
    ):
        client = await (await ask(running.port)).head()
        error = await client.error()
        await within((await provider.called()).closed.wait(), 30)
        found = await settled(running, client.id)
    assert (client.status, error["metadata"]["status"], error["metadata"]["error_type"]) == (504, 504, "timeout")
    assert "no content within 0.1 s" in error["message"]
    assert (found["outcome"], found["error"]["type"]) == ("timed_out", "timeout")
    assert found["total_cost"] in (0, None)


async def test_no_first_token_after_comments_is_told_in_the_stream() -> None:
    async with (
        ScriptedProvider([Wait(NEVER())]) as provider,
        gateway(
            providers={"mock": provider.definition()},
            timeouts={"first_token_seconds": 0.3},
            keepalive={"first_seconds": 0.05, "every_seconds": 0.05},
        ) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.rest()
        found = await settled(running, client.id)
    *_, last, done = client.frames()
    assert client.status == 200
    assert (last["error"]["metadata"]["status"], "choices" in last, done) == (504, False, "[DONE]")
    assert found["outcome"] == "timed_out"


async def test_a_stall_between_tokens_ends_the_stream_although_the_provider_sends_comments() -> None:
    comments = [step for _ in range(400) for step in (b": alive\n\n", Pause(0.02))]
    async with (
        ScriptedProvider([text("Hello"), *comments, Wait(NEVER())]) as provider,
        gateway(
            providers={"mock": provider.definition()}, timeouts={"stall_seconds": 0.2}, keepalive={"first_seconds": 0}
        ) as running,
    ):
        begun = time.monotonic()
        client = await (await ask(running.port)).head()
        await client.rest()
        took = time.monotonic() - begun
        found = await settled(running, client.id)
    *_, last, done = client.frames()
    assert (client.words(), done) == ("Hello", "[DONE]")
    assert (last["error"]["metadata"]["status"], last["error"]["metadata"]["error_type"]) == (504, "timeout")
    assert "nothing more for 0.2 s" in last["error"]["message"]
    assert 0.2 <= took < 0.2 + LATE
    assert (found["outcome"], found["estimated"]) == ("timed_out", True)
    assert found["tokens_completion"] > 0


async def test_frames_that_come_in_time_never_stall() -> None:
    tokens = [step for _ in range(8) for step in (text("x"), Pause(0.1))]
    async with (
        ScriptedProvider([*tokens, FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, timeouts={"stall_seconds": 0.4}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.rest()
    assert (client.words(), client.frames()[-1]) == ("x" * 8, "[DONE]")
    assert not any("error" in frame for frame in client.frames()[:-1])


async def test_the_total_time_ends_a_stream_that_never_stalls() -> None:
    tokens = [step for _ in range(200) for step in (text("x "), Pause(0.02))]
    async with (
        ScriptedProvider(tokens) as provider,
        gateway(providers={"mock": provider.definition()}, timeouts={"total_seconds": 0.3}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.rest()
        await within((await provider.called()).closed.wait(), 30)
        found = await settled(running, client.id)
    *_, last, done = client.frames()
    assert (last["error"]["metadata"]["status"], last["error"]["metadata"]["error_type"], done) == (
        504,
        "timeout",
        "[DONE]",
    )
    assert found["outcome"] == "timed_out"
    assert found["tokens_completion"] > 0


async def test_the_total_time_before_content_is_an_http_error() -> None:
    async with (
        ScriptedProvider([Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}, timeouts={"total_seconds": 0.1}) as running,
    ):
        client = await (await ask(running.port)).head()
        found = await settled(running, client.id)
    assert (client.status, found["outcome"]) == (504, "timed_out")


async def test_a_connection_that_cannot_be_made_in_time_is_a_504_and_timed_out() -> None:
    with deaf_host() as base_url:
        row = {"wire": "openai-chat", "base_url": base_url, "api_key": "k"}
        async with gateway(providers={"mock": row}, timeouts={"connect_seconds": 0.1}) as running:
            client = await (await ask(running.port)).head()
            error = await client.error()
            found = await settled(running, client.id)
    assert (client.status, error["metadata"]["error_type"]) == (504, "timeout")
    assert (found["outcome"], found["tokens_prompt"], found["total_cost"]) == ("timed_out", 0, 0)


# ---- a reader that takes nothing


async def test_a_reader_that_takes_nothing_pauses_the_provider_and_is_gone_after_a_while() -> None:
    script = [text("x" * 60_000)] * 1_000
    async with (
        ScriptedProvider(script) as provider,
        gateway(
            providers={"mock": provider.definition()},
            timeouts={"client_stall_seconds": 0.3, "stall_seconds": 0.1},
            keepalive={"first_seconds": 0.05, "every_seconds": 0.05},
        ) as running,
    ):
        client = await (await ask(running.port, buffer=4096)).head()
        call = await provider.called()
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.pace.paused_at)
        unsent = exchange.delivery.responder.unsent()
        await within(call.closed.wait(), 30)
        found = await settled(running, client.id)
        assert call.sent < 20 << 20, "the provider was not paused"
        assert unsent < 1 << 20, "what the reader does not take piles up"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.rest()
    assert (found["outcome"], found["estimated"]) == ("cancelled", True)
    assert found["on_disconnect"].startswith("the client took no byte for 0.3 s; cancel")


async def test_a_slow_reader_gets_everything_and_the_stall_clock_stands_still_meanwhile() -> None:
    pieces = [text(f"{number:06d}" * 10_000) for number in range(500)]
    async with (
        ScriptedProvider([*pieces, FINISH, DONE]) as provider,
        gateway(
            providers={"mock": provider.definition()},
            timeouts={"stall_seconds": 0.2, "client_stall_seconds": 10},
            keepalive={"first_seconds": 0.05, "every_seconds": 0.05},
        ) as running,
    ):
        client = await (await ask(running.port, buffer=4096)).head()
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.pace.paused_at)
        await asyncio.sleep(0.5)  # longer than the provider may stall
        sent = provider.calls[0].sent
        await client.rest()
        found = await settled(running, client.id)
    assert sent < 20 << 20
    assert client.words() == "".join(f"{number:06d}" * 10_000 for number in range(500))
    assert found["outcome"] == "completed"


async def test_finish_without_an_end_is_complete_after_two_seconds() -> None:
    async with (
        ScriptedProvider([text("Hello"), delta("stop"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        begun = time.monotonic()
        client = await (await ask(running.port)).head()
        await client.rest()
        took = time.monotonic() - begun
        found = await settled(running, client.id)
    assert client.frames()[-1] == "[DONE]"
    assert 1.9 < took < 2 + LATE
    assert (found["outcome"], found["finish_reason"]) == ("completed", "stop")
