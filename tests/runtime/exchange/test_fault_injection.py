"""Whatever raises while an exchange is run, it is settled, once, and its client is not left waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest
from rawclient import ask, gateway, receipt

from infron.catalog.load import load_catalog
from infron.errors import InternalError, ProviderTimeout, ProviderUnavailable
from infron.policy.asked import NOTHING
from infron.policy.lifecycle import STOPS, TABLE, Action, Input, Phase, Settle
from infron.policy.stop import Stop, error_of
from infron.records import Opening, Outcome, Settlement
from infron.runtime import process
from infron.runtime.exchange import exchange as running
from infron.runtime.exchange.admission import ExchangeAdmission
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.exchange import Exchange
from infron.runtime.ledger.ledger import Recorded, Verdict
from infron.runtime.telemetry.metrics import Metrics
from infron.runtime.upstream.client import Target
from infron.runtime.upstream.request import Reader
from infron.settings import Config
from infron.testing import DONE, FINISH, ROLE, Call, Script, ScriptedProvider, text
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES

ROWS = [(phase, given, action) for (phase, given), (_, actions) in TABLE.items() for action in actions]
FAULTS = [(phase, given, action) for phase, given, action in ROWS if isinstance(action, Action)]
FAILURES = {
    Input.FAILED: ProviderUnavailable("gone"),
    Input.FAILED_OVER: ProviderUnavailable("gone"),
    Input.TIMED_OUT: ProviderTimeout("late"),
    Input.DEADLINE: ProviderTimeout("late"),
    Input.UNRECORDED: InternalError("no ledger"),
    Input.STOPPED: error_of(Stop.CALLER),
    Input.STOPPED_DRAIN: error_of(Stop.CALLER),
}


class Upstream:
    """Takes every request and answers none by itself."""

    closed = False

    def __init__(self) -> None:
        self.readers: list[Reader] = []

    def send(self, target: Target, body: bytes, reader: Reader) -> Any:
        self.readers.append(reader)
        return Sent()


class Sent:
    fully_sent = True

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def release(self) -> None: ...
    def abort(self, closed: Callable[[], None] | None = None) -> None:
        if closed is not None:
            asyncio.get_running_loop().call_soon(closed)


class Ledger:
    keys = None

    def __init__(self) -> None:
        self.settlements: list[Settlement] = []
        self.record: Callable[[Verdict], None] = lambda verdict: None

    def open(self, opening: Opening, done: Callable[[Verdict], None]) -> None:
        self.record = done

    def serve(self, *to: Any) -> None: ...
    def claim_drain(self, id: str, *claim: Any) -> None: ...
    def drains_of(self, key_id: str | None) -> int:
        return 0

    def settled(self, settlement: Settlement) -> None:
        self.settlements.append(settlement)


class Client:
    """What it got, by the names of the responder's methods."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def start(self, id: str, media_type: bytes) -> None:
        self.got.append("start")

    def write(self, data: bytes) -> None:
        self.got.append("write")

    def finish(self, data: bytes) -> None:
        self.got.append("finish")

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.got.append("answer")

    def hang_up(self) -> None:
        self.got.append("hang_up")

    def unsent(self) -> int:
        return 0


class Stage:
    """One exchange with two candidates between fakes, brought into a phase."""

    def __init__(self) -> None:
        row = {"wire": "openai-chat", "base_url": "http://127.0.0.1:9/v1", "api_key": "k", "on_disconnect": "cancel"}
        config = msgspec.convert({"providers": {"a": row, "b": row}, "local": {"enabled": False}}, Config)
        catalog = load_catalog(config.providers, {}, {}, wires=PROVIDER_WIRES)
        self.ledger, self.upstream, self.client = Ledger(), Upstream(), Client()
        composed = process.compose(config, catalog, cast(Any, self.ledger), None, Metrics())
        self.context: Context = msgspec.structs.replace(composed, upstream=self.upstream)
        self.ledger.keys = cast(Any, None)
        fields = {"model": "a/x", "models": ["b/x"], "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        request = CLIENT_WIRES["openai-chat"].parse(msgspec.json.encode(fields), [])
        self.exchange: Exchange = ExchangeAdmission(self.context).begin(request, None, self.client, NOTHING)
        self.exchange.begin()

    def bring_into(self, phase: Phase) -> None:
        if phase is not Phase.OPENING or self.recorded:
            self.ledger.record(Recorded())
        reader = self.upstream.readers[0]
        reader.response_started(200, [(b"content-type", b"text/event-stream")])
        reader.data_received(ROLE)
        if phase is Phase.WAITING:
            self.exchange.take(Input.KEEP_ALIVE)
        elif phase is Phase.STREAMING:
            reader.data_received(text("Hello"))
        elif phase is Phase.DRAINING:
            self.exchange.take(Input.GONE_DRAIN)
        assert self.exchange.state.phase is phase

    recorded = True

    async def idle(self) -> None:
        """Everything is settled, and what was asked for meanwhile has come."""
        async with asyncio.timeout(30):
            await self.context.registry.idle.wait()
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
def quiet() -> Iterator[None]:
    """The bugs are meant."""
    logging.getLogger("infron").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("infron").setLevel(logging.NOTSET)


def name(fault: tuple[Phase, Input, Action]) -> str:
    return "-".join(part.name.lower() for part in fault)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", FAULTS, ids=name)
async def test_an_exchange_is_settled_whichever_action_raises(
    fault: tuple[Phase, Input, Action], late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state moved on first and settling came last: what raised in between left it open for ever."""
    phase, given, broken = fault
    stage = Stage()
    stage.recorded = given is not Input.UNRECORDED
    stage.bring_into(phase)
    deed = running._DEEDS[broken]

    def fails(exchange: Exchange) -> None:
        if late:
            deed(exchange)
        raise RuntimeError("a bug")

    monkeypatch.setitem(running._DEEDS, broken, fails)
    stage.exchange.take(given, FAILURES.get(given))
    monkeypatch.setitem(running._DEEDS, broken, deed)
    await stage.idle()
    (settlement,) = stage.ledger.settlements
    ends = [got for got in stage.client.got if got in ("finish", "answer", "hang_up")]
    left = phase is Phase.DRAINING or given in (Input.GONE, Input.GONE_DRAIN)
    assert len(ends) >= 1 or left
    assert ends.count("finish") + ends.count("answer") <= 1
    if broken is not Action.ABORT and not left and given not in STOPS:
        assert settlement.outcome in (Outcome.FAILED, Outcome.TIMED_OUT)
        assert settlement.bill.charge in (0, None)
    assert stage.exchange.bucket == 0, "its clock runs on"


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("part", ["_settlement", "bill"])
async def test_an_exchange_is_settled_though_its_bill_cannot_be_made(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage()
    stage.bring_into(Phase.STREAMING)

    def fails(*args: Any, **more: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(stage.context.settlements, part, fails)
    stage.exchange.take(Input.FAILED, FAILURES[Input.FAILED])
    await stage.idle()
    (settlement,) = stage.ledger.settlements
    assert (settlement.outcome, settlement.bill.charge) == (Outcome.FAILED, None)
    assert stage.client.got[-1] == "finish"


@pytest.mark.usefixtures("quiet")
async def test_a_listener_that_raises_keeps_nobody_else_from_hearing_of_a_settlement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    stage.bring_into(Phase.STREAMING)

    def fails(settlement: Settlement) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(stage.ledger, "settled", fails)
    stage.exchange.take(Input.FAILED, FAILURES[Input.FAILED])
    await stage.idle()


def test_every_row_that_settles_ends_with_it() -> None:
    for _, actions in TABLE.values():
        assert all(isinstance(action, Action) for action in actions[:-1])
    assert any(isinstance(actions[-1], Settle) for _, actions in TABLE.values() if actions)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("stream", [True, False])
async def test_an_exchange_ends_however_deep_its_usage_report_is_nested(stream: bool) -> None:
    """At some depths it could be read but not written again: its client waited for ever, and so did the shutdown."""
    said: dict[str, bytes] = {}

    def script(call: Call) -> Script:
        counts = b'{"prompt_tokens":10,"completion_tokens":500,"x":%b}' % said["deep"]
        return [ROLE, text("Hello"), FINISH, b'data: {"id":"c","choices":[],"usage":%b}\n\n' % counts, DONE]

    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as there:
        for depth in (10, *range(900, 1000, 5), 2000):
            said["deep"] = b"[" * depth + b"]" * depth
            client = await (await ask(there.port, stream=stream, stream_options={"include_usage": True})).head()
            body = await client.rest()
            assert body.endswith(b"data: [DONE]\n\n" if stream and client.status == 200 else b"}")
            async with asyncio.timeout(30):
                await there.context.registry.idle.wait()
            found = await receipt(there.port, client.id)
            assert found["outcome"] == ("failed" if b'"error"' in body else "completed")
