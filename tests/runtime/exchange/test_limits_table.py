"""Limits × shapes of requests × ends of answers: who is admitted, what is told, what is charged, what is given back.

Each row is a key of its own, all of one gateway in front of one scripted provider.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from ledgers import query
from limited import limited_key, organisation
from rawclient import Client, gateway, send, true

from infron.policy.limits import UNIT
from infron.testing import (
    CUT,
    DONE,
    FINISH,
    ROLE,
    Answer,
    Call,
    RunningGateway,
    ScriptedProvider,
    Step,
    Wait,
    frame,
    text,
)

PROMPT, COMPLETION = 12, 3
REPORT = frame(choices=[], usage={"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": 15})
PRICES = {"*": {"prompt": "1", "completion": "10"}}  # USD per million tokens
FULL = PROMPT * 10**6 + COMPLETION * 10**7  # picodollars
STOPS = {"value": "yes", "source": "a test", "date": "2026-11-28"}
MINUTE = {"requests_per_minute": 60, "tokens_per_minute": 60_000}
SOME = -1  # a charge, or tokens: above zero, by our own count

HI = [{"role": "user", "content": "Hi there"}]
# API -> (path, body, body of a stream)
APIS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": HI}, {"stream": True}),
    "openrouter": ("/api/v1/chat/completions", {"messages": HI}, {"stream": True}),
    "completions": ("/v1/completions", {"prompt": "Hi there"}, {"stream": True}),
    "responses": ("/v1/responses", {"input": "Hi there"}, {"stream": True}),
    "messages": ("/v1/messages", {"messages": HI, "max_tokens": 100}, {"stream": True}),
    "gemini": ("/v1beta/models/{model}:{verb}", {"contents": [{"parts": [{"text": "Hi there"}]}]}, {}),
    "ollama": ("/api/chat", {"messages": HI, "stream": False}, {"stream": True}),
}


class Row(NamedTuple):
    """`before`: SQL that is run on the key's holder (?1) before the request. `told`: of `error.metadata`, or in words
    the error's message. `sent`: the max_tokens that the provider gets. `used`: tokens that the rate gave in the end.
    """

    name: str
    limits: dict[str, Any]
    status: int
    above: dict[str, Any] | None = None
    api: str = "chat"
    stream: bool = True
    model: str = "drain/hello"
    fields: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple's, never changed)
    before: str = ""
    told: tuple[str, ...] = ()
    retry_after: bool = False
    charge: int = 0
    outcome: str = ""
    sent: tuple[int, int] | None = None
    used: int | None = None


def refusals() -> list[Row]:
    """Each limit refuses in the words of each API, streamed or whole, and nothing is taken."""
    kinds: dict[str, dict[str, Any]] = {
        "slots": {"limits": {"concurrent": 0}, "status": 429, "told": ("at once", "This API key"), "retry_after": True},
        "requests": {
            "limits": {"requests_per_minute": 6},
            "before": "UPDATE holders SET requests_filled = 0, filled_us = ?2 WHERE id = ?1",
            "status": 429,
            "told": ("6 requests a minute", "This API key"),
            "retry_after": True,
        },
        "tokens": {
            "limits": {"tokens_per_minute": 600},
            "before": f"UPDATE holders SET tokens_filled = {-600 * UNIT}, filled_us = ?2 WHERE id = ?1",
            "status": 429,
            "told": ("600 tokens a minute", "This API key"),
            "retry_after": True,
        },
        "budget": {"limits": {"month": 0.0}, "status": 402, "told": ("used up", "a month"), "retry_after": True},
        "organisation": {
            "limits": MINUTE,
            "above": {"total": 0.0},
            "status": 402,
            "told": ("The organisation of this API key", "in all"),
        },
    }
    rows = []
    for number, api in enumerate(APIS):
        for kind, expected in kinds.items():
            stream = (number + len(rows)) % 2 == 0
            rows.append(Row(f"{kind} refuses on {api}", api=api, stream=stream, **expected))
    return rows


def ends() -> list[Row]:
    """Whatever limits an exchange, and however it ends, it gives back what it took and is charged as any other."""
    rows = []
    endings: dict[tuple[str, bool], tuple[int, str, int, int | None]] = {
        # (end, whether it can be watched) -> status of a stream, outcome, charge, tokens
        ("hello", True): (200, "completed", FULL, PROMPT + COMPLETION),
        ("hello", False): (200, "completed", FULL, PROMPT + COMPLETION),
        ("refuse", True): (400, "failed", 0, 0),
        ("refuse", False): (400, "failed", 0, 0),
        ("cut", True): (200, "failed", 0, 0),
        ("cut", False): (200, "failed", 0, 0),
        ("leave", True): (200, "cancelled", SOME, None),
        ("leave", False): (200, "drained", FULL, PROMPT + COMPLETION),
    }
    for (end, watched), (status, outcome, charge, used) in endings.items():
        for stream in (True, False):
            if end == "leave" and not stream:
                continue
            for kind, limits in {
                "slots": {"concurrent": 2},
                "rates": MINUTE,
                "budget": {"day": 1.0, "total": 2.0},
                "all": {"concurrent": 2, **MINUTE, "week": 1.0},
            }.items():
                rows.append(
                    Row(
                        f"{kind}: {end}, {'watched' if watched else 'not watched'}, {'stream' if stream else 'whole'}",
                        limits,
                        502 if end == "cut" and not stream else status,
                        above={"concurrent": 3, "month": 5.0} if kind == "all" else None,
                        stream=stream,
                        model=f"{'cancel' if watched else 'drain'}/{end}",
                        charge=charge,
                        outcome=outcome,
                        used=used if "tokens_per_minute" in limits else None,
                    )
                )
    return rows


LITTLE = {"total": 0.004}  # 400 tokens of an answer, less a prompt
SPECIAL = [
    Row("free model costs no budget", {"total": 0.0}, 200, model="free/hello", outcome="completed"),
    Row("free model takes a slot all the same", {"concurrent": 0}, 429, model="free/hello", told=("at once",)),
    Row("unpriced model is refused to a budget", {"total": 1.0}, 403, model="unpriced/hello", told=("Nobody knows",)),
    Row("unpriced model is served to a rate", MINUTE, 200, model="unpriced/hello", outcome="completed"),
    Row("max_tokens that is paid goes on as it is", {"total": 1.0}, 200, fields={"max_tokens": 77}, charge=FULL,
        outcome="completed", sent=(77, 77)),
    Row("max_tokens is set where none was", {"total": 1.0}, 200, charge=FULL, outcome="completed", sent=(8192, 8192)),
    Row("max_tokens is cut to what is left", LITTLE, 200, fields={"max_tokens": 4000}, charge=FULL, outcome="completed",
        sent=(380, 399)),
    Row("max_completion_tokens too", LITTLE, 200, fields={"max_completion_tokens": 4000}, charge=FULL,
        outcome="completed", sent=(380, 399)),
    Row("whole answers are never watched", LITTLE, 200, stream=False, model="cancel/hello", charge=FULL,
        outcome="completed", sent=(380, 399)),
    Row("stream that can be stopped is sent as it is", LITTLE, 200, model="cancel/hello", charge=FULL,
        outcome="completed", sent=(0, 0)),
    Row("several choices share what is left", {"total": 0.006}, 200, model="drain/two", charge=FULL, sent=(285, 299),
        outcome="completed", fields={"n": 2, "max_tokens": 4000}),
    Row("too little for an answer worth having", {"total": 0.002}, 402, told=("needs more",),
        fields={"max_tokens": 4000}),
    Row("too little for a long one is enough for a short one", {"total": 0.002}, 200, fields={"max_tokens": 100},
        charge=FULL, outcome="completed", sent=(100, 100)),
    Row("endless choices need more than there is", {"total": 1.0}, 402, fields={"n": 10**18}, told=("needs more",)),
    Row("endless max_tokens is cut to what is left", LITTLE, 200, fields={"max_tokens": 10**30}, charge=FULL,
        outcome="completed", sent=(380, 399)),
    Row("max_tokens below zero is none", LITTLE, 200, fields={"max_tokens": -5}, charge=FULL, outcome="completed",
        sent=(380, 399)),
    Row("max_tokens that is no number is none", LITTLE, 200, fields={"max_tokens": 1.5}, charge=FULL,
        outcome="completed", sent=(380, 399)),
    Row("long prompt needs more than is left", LITTLE, 402, told=("needs more",),
        fields={"messages": [{"role": "user", "content": "word " * 5000}]}),
    Row("long prompt is counted by a thread", {"total": 1.0, **MINUTE}, 200, outcome="completed", charge=FULL,
        fields={"messages": [{"role": "user", "content": "word " * 20_000}]}),
    Row("picture counts as much as any may", {"total": 0.004}, 402, told=("needs more",), fields={"messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}] * 2}),
    Row("organisation's budget cuts its key's answer", {"total": 1.0}, 200, above=LITTLE, fields={"max_tokens": 4000},
        charge=FULL, outcome="completed", sent=(380, 399)),
    Row("day of yesterday is another budget", {"day": 0.01}, 200, charge=FULL, outcome="completed",
        before="INSERT INTO spend (holder, period, charge) SELECT ?1, '2026-01-01', 10000000000 WHERE ?2 > 0"),
    Row("limit of the Responses API is cut", LITTLE, 200, api="responses", fields={"max_output_tokens": 4000},
        charge=FULL, outcome="completed", sent=(380, 399)),
    Row("limit of Messages is cut", LITTLE, 200, api="messages", fields={"max_tokens": 4000}, charge=FULL,
        outcome="completed", sent=(380, 399)),
    Row("limit of Gemini's API is cut", LITTLE, 200, api="gemini", charge=FULL, outcome="completed", sent=(380, 399),
        fields={"generationConfig": {"maxOutputTokens": 4000}}),
    Row("limit of Ollama's API is cut", LITTLE, 200, api="ollama", fields={"options": {"num_predict": 4000}},
        charge=FULL, outcome="completed", sent=(380, 399)),
    Row("limit of text completions is cut", LITTLE, 200, api="completions", fields={"max_tokens": 4000}, charge=FULL,
        outcome="completed", sent=(380, 399)),
]  # fmt: skip

ROWS = [*refusals(), *ends(), *SPECIAL]


def script(call: Call) -> list[Step]:
    end = json.loads(call.body)["model"]
    if end == "refuse":
        body = json.dumps({"error": {"message": "No.", "type": "invalid_request_error"}}).encode()
        return [Answer(400, (("content-type", "application/json"),), body)]
    if end == "cut":
        return [ROLE, text("Hello"), CUT]
    if end == "two":
        both = [frame(choices=[{"index": n, "delta": {"role": "assistant", "content": "Hi"}}]) for n in (0, 1)]
        done = [frame(choices=[{"index": n, "delta": {}, "finish_reason": "stop"}]) for n in (0, 1)]
        return [*both, *done, REPORT, DONE]
    if end == "leave":
        return [ROLE, text("Hello"), Wait(LEFT[0]), FINISH, REPORT, DONE]
    return [ROLE, text("Hello"), FINISH, REPORT, DONE]


LEFT = [asyncio.Event()]  # the client has, as the gateway knows


class House(NamedTuple):
    running: RunningGateway
    provider: ScriptedProvider
    url: str
    keys: dict[str, tuple[str, str, str | None]]  # row -> header, key's id, organisation's id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    url = f"sqlite:///{tmp_path_factory.mktemp('limits') / 'infron.db'}"
    keys = await asyncio.to_thread(_keys, url)
    async with ScriptedProvider(script) as provider:
        definitions = {
            "drain": provider.definition(on_disconnect="drain", prices=PRICES),
            "cancel": provider.definition(on_disconnect="cancel", stops_billing=STOPS, prices=PRICES),
            "free": provider.definition(on_disconnect="drain", prices={"*": {"prompt": "0", "completion": "0"}}),
            "unpriced": provider.definition(on_disconnect="drain"),
        }
        async with gateway(providers=definitions, ledger={"url": url}) as running:
            yield House(running, provider, url, keys)


def _keys(url: str) -> dict[str, tuple[str, str, str | None]]:
    keys = {}
    for row in ROWS:
        above = None if row.above is None else organisation(url, **row.above)
        header = limited_key(url, above, row.name, **row.limits)
        [(id,)] = query(url, "SELECT id FROM keys WHERE name = ?1", row.name)
        keys[row.name] = header, id, above
    return keys


async def sent(port: int, row: Row, header: str) -> Client:
    path, body, streams = APIS[row.api]
    verb = "streamGenerateContent?alt=sse" if row.stream else "generateContent"
    path = path.format(model=row.model, verb=verb)
    body = {"model": row.model, **body, **(streams if row.stream else {}), **row.fields}
    if row.api == "gemini":
        body.pop("model")
    return await send(port, "POST", path, json.dumps(body).encode(), "content-type: application/json", header)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
async def test_limits_admit_tell_charge_and_give_back(house: House, row: Row) -> None:
    header, key, above = house.keys[row.name]
    house.provider.calls.clear()
    LEFT[0].clear()
    if row.before:
        await asyncio.to_thread(query, house.url, row.before, key, time.time_ns() // 1000)
    began = time.monotonic()
    client = await (await sent(house.running.port, row, header)).head()
    assert client.status == row.status
    if row.model.endswith("/leave"):
        await client.until(b"Hello")
        client.close()
        watches = house.running.context.registry.running
        await true(lambda: not watches() or all(each.state.phase.name == "DRAINING" for each in watches()))
        LEFT[0].set()
    else:
        await client.rest()
    _check_headers(row, client)
    if row.outcome:
        await true(lambda: query(house.url, "SELECT outcome FROM entries WHERE key_id = ?1", key) == [(row.outcome,)])
    else:
        assert query(house.url, "SELECT count(*) FROM entries WHERE key_id = ?1", key) == [(0,)]
        assert not house.provider.calls
        for words in row.told:
            assert words in json.dumps(json.loads(client.received), ensure_ascii=False)
    for holder in filter(None, (key, above)):
        assert query(house.url, "SELECT live, held FROM holders WHERE id = ?1", holder) == [(0, 0)]
        spent = sum(
            n for (n,) in query(house.url, "SELECT charge FROM spend WHERE holder = ?1 AND period = 'ever'", holder)
        )
        assert spent == row.charge or (row.charge == SOME and 0 < spent < FULL)
    if row.sent is not None:
        least, most = row.sent
        asked = json.loads(house.provider.calls[0].body)
        assert least <= (asked.get("max_tokens") or asked.get("max_completion_tokens") or 0) <= most
    if row.used is not None:
        [(filled,)] = query(house.url, "SELECT tokens_filled FROM holders WHERE id = ?1", key)
        rate = row.limits["tokens_per_minute"]
        refilled = (time.monotonic() - began) * rate / 60 + 1
        assert rate - row.used <= filled / UNIT <= min(rate, rate - row.used + refilled)


def _check_headers(row: Row, client: Client) -> None:
    told = client.headers
    for name, rate in (("requests", "requests_per_minute"), ("tokens", "tokens_per_minute")):
        if rate in row.limits:
            assert told[f"x-ratelimit-limit-{name}"] == str(row.limits[rate])
            assert 0 <= int(told[f"x-ratelimit-remaining-{name}"]) <= row.limits[rate]
            assert told[f"x-ratelimit-reset-{name}"].endswith("s")
        else:
            assert f"x-ratelimit-limit-{name}" not in told
    assert ("retry-after" in told) == (row.retry_after or (client.status == 429 and not row.outcome))
    if client.status == 429:
        assert int(told["retry-after"]) == -(-int(told["retry-after-ms"]) // 1000) >= 1
        assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= told.keys()
    assert (told.get("x-should-retry") == "false") == (client.status == 402)


def test_rows_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len(ROWS) == len({row.name for row in ROWS}) >= 80
