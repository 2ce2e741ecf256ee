"""What is kept of the Responses API: bounded, for a while, and each key's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infron.errors import InvalidRequest, PayloadTooLarge
from infron.records import Kept
from infron.request import Request
from infron.runtime.exchange import other_memories
from infron.runtime.exchange.memory import Memory
from infron.runtime.exchange.other_memories import OtherMemories
from infron.settings import Memory as Settings
from infron.wires.openai.responses import parse

MOST = 100_000  # bytes of a request with all that it refers to


class Loop:
    """A clock that is set; what is due then is done when it is."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Any) -> Any:
        self.due.append((when, call))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def go(self, now: float) -> None:
        self.now = now
        due, self.due = self.due, []
        for when, call in due:
            assert when <= now
            call()


def memory(loop: Loop | None = None, **settings: Any) -> Memory:
    return Memory(Settings(**settings), loop or Loop(), MOST)  # type: ignore[arg-type]


def asked(given: Any = "Hi", **fields: Any) -> Request:
    return parse(json.dumps({"model": "m", "input": given, **fields}).encode(), [])


def answer(text: str = "Hello", id: str = "msg_1") -> Kept:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": id, "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return Kept(json.dumps({"id": "gen-1", "output": [item]}).encode())


def said(request: Request) -> list[Any]:
    read: list[Any] = json.loads(bytes(request.fields["input"]))
    return [item["content"] if isinstance(item["content"], str) else item["content"][0]["text"] for item in read]


def test_memory_gives_a_history_back_by_the_id_of_its_last_answer() -> None:
    kept = memory()
    kept.keep("a", "gen-1", answer(), asked())
    second = kept.recall(asked([{"role": "user", "content": "More"}], previous_response_id="gen-1"), "a")
    assert said(second) == ["Hi", "Hello", "More"]
    kept.keep("a", "gen-2", answer("World", "msg_2"), second)
    assert said(kept.recall(asked("End", previous_response_id="gen-2"), "a")) == ["Hi", "Hello", "More", "World", "End"]
    assert said(kept.recall(asked("End", previous_response_id="gen-1"), "a")) == [
        "Hi",
        "Hello",
        "End",
    ]  # another branch


def test_memory_gives_single_items_back() -> None:
    kept = memory()
    kept.keep("a", "gen-1", answer(), asked())
    request = asked([{"role": "user", "content": "Hi"}, {"type": "item_reference", "id": "msg_1"}])
    assert said(kept.recall(request, "a")) == ["Hi", "Hello"]


def test_memory_is_not_asked_for_more_than_a_request_may_have() -> None:
    """A body of 60 kB that referred to one answer a thousand times was gigabytes, made on the loop."""
    kept = memory()
    kept.keep("a", "gen-1", answer("word " * 3_000), asked())
    reference = {"type": "item_reference", "id": "msg_1"}
    assert len(said(kept.recall(asked([reference] * 6), "a"))) == 6
    for request in (asked([reference] * 7), asked([reference] * 6, previous_response_id="gen-1")):
        with pytest.raises(PayloadTooLarge, match="100,000 bytes") as refused:
            kept.recall(request, "a")
        assert refused.value.param == "input"


def test_memory_gives_reasoning_back_that_was_told_without_its_proof() -> None:
    kept = memory()
    told = {"id": "rs_1", "type": "reasoning", "summary": []}
    kept.keep("a", "gen-1", Kept(json.dumps({"output": [told]}).encode(), {"rs_1": "sealed"}), asked())
    for item in (told, {"type": "item_reference", "id": "rs_1"}):
        (back,) = json.loads(bytes(kept.recall(asked([item]), "a").fields["input"]))
        assert back == {**told, "encrypted_content": "sealed"}
    unknown = {**told, "id": "rs_2"}
    request = asked([unknown])
    assert kept.recall(request, "a") is request
    gone = kept.recall(asked([{"type": "item_reference", "id": "rs_2"}, {"role": "user", "content": "Hi"}]), "a")
    assert said(gone) == ["Hi"]


@pytest.mark.parametrize("output", [{}, "text", 1, [1], [[]], ["text"]])
def test_memory_leaves_answers_alone_whose_items_are_none(output: Any) -> None:
    """The exchange whose provider told such an answer failed where it ended."""
    kept = memory()
    kept.keep("a", "gen-1", Kept(json.dumps({"output": output}).encode()), asked())
    assert kept.find("a", "gen-1") is None


@pytest.mark.parametrize("id", [1, None, [], ""])
def test_memory_keeps_items_without_an_id_for_their_history(id: Any) -> None:
    kept = memory()
    kept.keep("a", "gen-1", answer(id=id), asked())
    assert said(kept.recall(asked("End", previous_response_id="gen-1"), "a")) == ["Hi", "Hello", "End"]


@pytest.mark.parametrize("stranger", ["b", None])
def test_memory_gives_nothing_to_another_key(stranger: str | None) -> None:
    kept = memory()
    kept.keep("a", "gen-1", answer(), asked())
    assert kept.find(stranger, "gen-1") is None
    assert not kept.forget(stranger, "gen-1")
    with pytest.raises(InvalidRequest) as refused:
        kept.recall(asked(previous_response_id="gen-1"), stranger)
    assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_found")
    with pytest.raises(InvalidRequest) as refused:
        kept.recall(asked([{"type": "item_reference", "id": "msg_1"}]), stranger)
    assert (refused.value.param, refused.value.code) == ("input[0].id", "item_not_found")
    assert kept.find("a", "gen-1") is not None


def test_memory_keeps_nothing_longer_than_it_may() -> None:
    loop = Loop()
    kept = memory(loop, seconds=60.0)
    kept.keep("a", "gen-1", answer(), asked())
    loop.now = 30.0
    kept.keep("a", "gen-2", answer("x", "msg_2"), asked())
    loop.go(60.0)
    assert kept.find("a", "gen-1") is None
    assert kept.find("a", "gen-2") is not None
    with pytest.raises(InvalidRequest):
        kept.recall(asked([{"type": "item_reference", "id": "msg_1"}]), "a")
    loop.now = 89.9
    assert kept.find("a", "gen-2") is not None
    loop.now = 90.0
    assert kept.find("a", "gen-2") is None  # also before it is dropped
    loop.go(90.0)
    assert not kept._shelves
    assert not kept._order
    assert kept._size == 0


def test_memory_drops_the_oldest_of_a_key_that_has_too_much() -> None:
    kept = memory(max_bytes_per_key=50_000)
    kept.keep("b", "gen-0", answer(), asked())
    for number in range(1, 5):
        kept.keep("a", f"gen-{number}", answer("x" * 5_000, f"msg_{number}"), asked("y" * 5_000))
    assert [kept.find("a", f"gen-{number}") is not None for number in range(1, 5)] == [False, True, True, True]
    assert kept.find("b", "gen-0") is not None


def test_memory_drops_what_the_greediest_key_has_where_all_is_too_much() -> None:
    kept = memory(max_bytes=50_000)
    kept.keep("b", "gen-0", answer(), asked())
    for number in range(1, 9):
        kept.keep("a", f"gen-{number}", answer("x" * 5_000, f"msg_{number}"), asked())
    assert kept.find("b", "gen-0") is not None
    assert kept._size <= 50_000


def test_memory_lets_go_of_an_answer_that_is_too_large() -> None:
    kept = memory(max_bytes_per_key=10_000)
    kept.keep("a", "gen-1", answer(), asked())
    kept.keep("a", "gen-2", answer("x" * 20_000), asked())
    assert kept.find("a", "gen-2") is None
    assert kept.find("a", "gen-1") is not None


def test_memory_can_be_switched_off() -> None:
    kept = memory(seconds=0.0)
    kept.keep("a", "gen-1", answer(), asked())
    assert kept.find("a", "gen-1") is None


def test_memory_forgets_what_it_is_told_to() -> None:
    kept = memory()
    kept.keep("a", "gen-1", answer(), asked())
    assert kept.forget("a", "gen-1")
    assert not kept.forget("a", "gen-1")
    with pytest.raises(InvalidRequest):
        kept.recall(asked([{"type": "item_reference", "id": "msg_1"}]), "a")
    assert kept._size == 0


def test_memory_leaves_requests_alone_that_refer_to_nothing() -> None:
    kept = memory()
    for request in (asked(), asked([{"role": "user", "content": "reasoning"}]), asked(previous_response_id=None)):
        assert kept.recall(request, "a") is request


# ---- several workers


@contextlib.asynccontextmanager
async def workers(folder: Path, **settings: Any) -> AsyncIterator[tuple[Memory, Memory]]:
    """The memories of two."""
    loop = asyncio.get_running_loop()
    two = [Memory(Settings(**settings), loop, MOST, OtherMemories(folder, name)) for name in ("1", "2")]
    for one in two:
        await one.open()
    try:
        yield two[0], two[1]
    finally:
        for one in two:
            one.close()


async def test_memory_of_another_worker_is_asked(tmp_path: Path) -> None:
    """A conversation broke off as soon as its client came to another worker."""
    (tmp_path / "memory-3.socket").touch()  # of a worker that was killed
    async with workers(tmp_path) as (first, second):
        first.keep("a", "gen-1", answer(), asked())
        on = asked("More", previous_response_id="gen-1")
        assert said(await asyncio.to_thread(second.recall, on, "a")) == ["Hi", "Hello", "More"]
        item = asked([{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "More"}])
        assert said(await asyncio.to_thread(second.recall, item, "a")) == ["Hello", "More"]
        found = await asyncio.to_thread(second.find, "a", "gen-1")
        assert found is not None
        assert found.kept == answer()
        for owner in ("b", None):
            assert await asyncio.to_thread(second.find, owner, "gen-1") is None
            assert not await asyncio.to_thread(second.forget_elsewhere, owner, "gen-1")
            with pytest.raises(InvalidRequest):
                await asyncio.to_thread(second.recall, on, owner)
        assert await asyncio.to_thread(second.forget_elsewhere, "a", "gen-1")
        assert await asyncio.to_thread(first.find, "a", "gen-1") is None


async def test_memory_of_a_worker_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_memories, "SECONDS", 0.1)
    async with workers(tmp_path) as (first, second):
        with socket.socket(socket.AF_UNIX) as mute:
            mute.bind(str(tmp_path / "memory-0.socket"))
            mute.listen()
            first.keep("a", "gen-1", answer(), asked())
            found = await asyncio.to_thread(second.find, "a", "gen-1")
    assert found is not None


async def test_memory_of_a_worker_tells_much_at_once(tmp_path: Path) -> None:
    async with workers(tmp_path) as (first, second):
        long = "a" * 3_000_000
        first.keep("a", "gen-1", answer(), asked(long))
        found = await asyncio.to_thread(second.find, "a", "gen-1")
    assert found is not None
    assert long in bytes(memoryview(found.given)).decode()
