"""Who may ask, what is told about models and keys, and what a full gateway says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import urllib.error
import urllib.request
from contextlib import closing

import pytest
import pytest_asyncio
from rawconnection import CHAT, ask, chat, connected, request

from infron.errors import ConfigError
from infron.runtime.ledger.administration import create_key, revoke_key
from infron.testing import DONE, FINISH, ROLE, ScriptedProvider, Wait, gateway, text
from infron.wires.openai import chat as openai_chat

KEYED = ["/v1/models", "/api/v1/models", "/v1/models/a/b", "/v1/key", "/v1/generation?id=gen-1", "/metrics"]


pytestmark = pytest.mark.asyncio(loop_scope="module")


def started(provider, folder):
    return gateway(
        providers={"mock": provider.definition(prices={"*": {"prompt": 1.0, "completion": 2.0}})},
        models={"acme/tiny-1": {"served_by": [{"provider": "mock", "id": "tiny"}], "context_length": 4096}},
        ledger={"url": f"sqlite:///{folder / 'infron.db'}"},
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(playing, tmp_path_factory):
    """A gateway without keys."""
    async with started(playing, tmp_path_factory.mktemp("keyless")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(playing, tmp_path_factory):
    """A gateway that has had keys from its start."""
    folder = tmp_path_factory.mktemp("keyed")
    create_key(f"sqlite:///{folder / 'infron.db'}", "first")
    async with started(playing, folder) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(playing, tmp_path):
    """A gateway without keys for one test, which changes it."""
    async with started(playing, tmp_path) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secrets(keyed):
    """Keys by name: two without a limit, one with, and one that has nothing to spend."""
    limits = {"mine": None, "other": None, "limited": 5, "poor": 0}
    return dict(zip(limits, [await made(keyed, name, limit) for name, limit in limits.items()], strict=True))


def bearer(secret: str) -> str:
    return f"Authorization: Bearer {secret}"


async def made(running, name="test", limit_usd=None) -> str:
    """A key made as the command line makes it, once the gateway knows of it: at most a second later."""
    url = running.context.config.ledger_url()
    key, secret = await asyncio.to_thread(create_key, url, name, limit_usd)
    async with asyncio.timeout(30):
        while running.context.ledger.keys.find(secret) is None:
            await asyncio.sleep(0.01)
    assert key.id
    return secret


# ---- without keys


@pytest.mark.parametrize("line", ["X-Nothing: at-all", "Authorization: Bearer sk-anything", "x-api-key: some"])
async def test_a_gateway_without_keys_takes_any_credential_or_none(running, line):
    assert (await ask(running.port, chat(line))).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "192.168.0.7", "localhost.evil.example", "[::2]"]
)
async def test_a_gateway_without_keys_refuses_hosts_that_are_not_loopback(running, provider, host):
    """A page whose name was rebound to 127.0.0.1 would spend its visitor's money."""
    for raw in (chat(host=host), request("GET", "/v1/models", host=host), request("GET", "/metrics", host=host)):
        reply = await ask(running.port, raw)
        assert (reply.status, reply.error_type) == (403, "permission_denied")
    assert provider.calls == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST.", "app.localhost:3000"])
async def test_a_gateway_without_keys_takes_every_loopback_name(running, host):
    assert (await ask(running.port, chat(host=host))).status == 200


async def test_another_address_than_a_loopback_one_needs_a_key_to_exist(tmp_path):
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    with pytest.raises(ConfigError, match="infron keys create"):
        async with gateway(server={"host": "0.0.0.0"}, ledger={"url": url}):
            pass
    _, secret = create_key(url, "first")
    async with gateway(server={"host": "0.0.0.0"}, ledger={"url": url}) as running:
        assert (await ask(running.port, request("GET", "/v1/models"))).status == 401
        assert (await ask(running.port, request("GET", "/v1/models", bearer(secret), host="any.example"))).status == 200


# ---- with keys


async def test_keys_are_required_soon_after_the_first_and_refused_soon_after_revoking(fresh):
    running, secret = fresh, await made(fresh)
    assert (await ask(running.port, chat())).status == 401
    assert (await ask(running.port, chat(bearer(secret), host="any.example"))).status == 200
    await asyncio.to_thread(revoke_key, running.context.config.ledger_url(), secret)
    async with asyncio.timeout(30):
        while (await ask(running.port, request("GET", "/v1/key", bearer(secret)))).status != 401:
            await asyncio.sleep(0.02)
    reply = await ask(running.port, chat(bearer(secret)))
    assert (reply.status, reply.error_type) == (401, "authentication")
    assert "revoked" in reply.error["message"]
    assert (await ask(running.port, chat())).status == 401  # no way back to a gateway without keys


async def test_what_needs_a_key_and_what_does_not(keyed):
    for path in KEYED:
        reply = await ask(keyed.port, request("GET", path))
        assert (reply.status, reply.error_type) == (401, "authentication"), path
        assert reply.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz"):
        assert (await ask(keyed.port, request("GET", path, host="any.example"))).status == 200


@pytest.mark.parametrize(
    "line",
    ["Authorization: Bearer sk-infron-wrong", "Authorization: Basic YTpi", "Authorization: Bearer ", "x-api-key: no"],
)
async def test_a_wrong_credential_is_answered_401_before_the_body_is_there(keyed, provider, line):
    lines = ("Content-Type: application/json", line, "Expect: 100-continue", "Content-Length: 50000")
    reply = await ask(keyed.port, request("POST", CHAT, *lines))
    assert (reply.status, reply.error_type) == (401, "authentication")
    assert provider.calls == []


@pytest.mark.parametrize("line", ["Authorization: Bearer {}", "authorization: bearer  {}", "X-API-Key: {}"])
async def test_a_key_is_taken_in_each_of_its_places(keyed, secrets, line):
    assert (await ask(keyed.port, chat(line.format(secrets["mine"])))).status == 200


async def test_a_receipt_is_shown_to_its_owner_only(keyed, secrets):
    mine, other = secrets["mine"], secrets["other"]
    id = (await ask(keyed.port, chat(bearer(mine)))).headers["x-generation-id"]
    for path in (f"/v1/generation?id={id}", f"/api/v1/generation?id={id}"):
        assert (await ask(keyed.port, request("GET", path, bearer(mine)))).json["data"]["outcome"] == "completed"
        reply = await ask(keyed.port, request("GET", path, bearer(other)))
        assert (reply.status, reply.error_type) == (404, "not_found")
    assert (await ask(keyed.port, request("GET", "/v1/generation", bearer(mine)))).status == 400
    assert (await ask(keyed.port, request("GET", "/v1/generation?id=gen-none", bearer(mine)))).status == 404


async def test_a_key_is_told_its_limit_and_its_spend(keyed, secrets):
    secret = secrets["limited"]
    await ask(keyed.port, chat(bearer(secret)))
    for path in ("/v1/key", "/api/v1/key"):
        told = (await ask(keyed.port, request("GET", path, bearer(secret)))).json["data"]
        assert told["label"] == "limited"
        assert secret not in json.dumps(told)
        assert told["limit"] == 5
        assert told["usage"] == told["usage_daily"] == told["usage_monthly"] > 0
        assert told["limit_remaining"] == pytest.approx(5 - told["usage"])


async def test_a_gateway_without_keys_tells_the_spend_of_all(running):
    await ask(running.port, chat())
    told = (await ask(running.port, request("GET", "/v1/key"))).json["data"]
    assert (told["label"], told["limit"], told["limit_remaining"]) == (None, None, None)
    assert told["usage"] > 0


async def test_a_key_that_has_spent_its_limit_is_answered_402(keyed, secrets, provider):
    reply = await ask(keyed.port, chat(bearer(secrets["poor"])))
    assert (reply.status, reply.error_type) == (402, "payment_required")
    assert provider.calls == []
    assert (await ask(keyed.port, request("GET", "/v1/key", bearer(secrets["poor"])))).status == 200


# ---- models


async def test_the_models_that_can_be_served_are_listed(running):
    for path in ("/v1/models", "/api/v1/models"):
        listed = (await ask(running.port, request("GET", path))).json
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == ["acme/tiny-1"]


async def test_one_model_is_told_by_an_id_with_slashes(running):
    for target in (
        "/v1/models/acme/tiny-1",
        "/api/v1/models/acme%2Ftiny-1",
        "/models/acme%2ftiny%2D1",
        "/v1/models/acme/tiny-1/",
    ):
        model = (await ask(running.port, request("GET", target))).json
        assert (model["id"], model["object"], model["owned_by"]) == ("acme/tiny-1", "model", "acme")
        assert model["context_length"] == 4096


async def test_an_unknown_model_is_answered_404_with_the_nearest_names(running):
    for raw in (request("GET", "/v1/models/acme/tiny-2"), chat(model="acme/tiny-2")):
        reply = await ask(running.port, raw)
        assert (reply.status, reply.error_type) == (404, "not_found")
        assert "`acme/tiny-1`" in reply.error["message"]
        assert reply.error["param"] == "model"
        assert "acme/tiny-1" in reply.error["metadata"]["nearest"]


async def test_a_model_id_out_of_any_shape_is_answered_404(running):
    for model in ("/", "//", "x" * 5_000, "a/b/c/d", " ", "ünï/cødé", "mock/"):
        reply = await ask(running.port, chat(model=model))
        assert reply.status in (400, 404), model
        assert len(reply.error["message"]) < 1_000


async def test_a_provider_without_its_key_says_which_variable_to_set(running):
    reply = await ask(running.port, chat(model="openai/gpt-4o-nobody-lists-this"))
    assert reply.status == 404
    assert "OPENAI_API_KEY" in reply.error["message"]


async def test_a_provider_that_was_closed_says_so(running):
    closed = [row for row in running.context.providers.catalog.providers.values() if row.status == "closed"]
    if not closed:
        pytest.skip("no shipped row is of a closed service")
    reply = await ask(running.port, chat(model=f"{closed[0].id}/any"))
    assert (reply.status, reply.error_type) == (404, "provider_closed")
    assert reply.headers["x-should-retry"] == "false"
    assert closed[0].name in reply.error["message"]


# ---- health, shutdown, fullness


async def test_metrics_are_told_as_text(fresh):
    await ask(fresh.port, chat())
    await ask(fresh.port, request("GET", "/nowhere"))
    reply = await ask(fresh.port, request("GET", "/metrics"))
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert b'infron_exchanges_total{outcome="completed",provider="mock"} 1.0' in reply.body
    assert b'infron_refused_total{error_type="not_found"} 1.0' in reply.body


async def test_a_gateway_that_shuts_down_is_alive_but_not_ready_and_closes_what_it_answers(fresh):
    async with connected(fresh.port) as connection:
        connection.send(request())
        await connection.reply()
        fresh.context.registry.closing = True
        connection.send(chat())
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (503, "shutting_down")
        assert int(reply.headers["retry-after"]) > 0
        assert reply.headers["connection"] == "close"
        assert await connection.ended() == b""
    assert (await ask(fresh.port, request())).status == 200
    reply = await ask(fresh.port, request("GET", "/readyz"))
    assert (reply.status, reply.json["status"]) == (503, "shutting down")
    assert int(reply.headers["retry-after"]) > 0


async def test_a_stream_more_than_there_may_be_is_answered_503():
    gate = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("a"), Wait(gate), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, server={"max_streams": 1}) as running,
        connected(running.port) as connection,
    ):
        connection.send(chat())
        await connection.head()
        reply = await ask(running.port, chat())
        assert (reply.status, reply.error_type) == (503, "overloaded")
        assert int(reply.headers["retry-after"]) > 0
        gate.set()
        await asyncio.wait_for(running.context.registry.idle.wait(), 5)
        assert (await ask(running.port, chat())).status == 200


async def test_a_bug_in_an_answer_is_told_as_an_error_of_ours_and_logged(fresh, caplog):
    def broken():
        raise ZeroDivisionError("secret words")

    fresh.context.providers.offered = broken
    async with connected(fresh.port) as connection:
        connection.send(request("GET", "/v1/models"), request())
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (500, "server")
        assert "secret words" not in reply.error["message"]
        assert (await connection.reply()).status == 200
    assert [record.message for record in caplog.records] == ["a bug while answering /v1/models"]


SERVE = """
import resource, sys
from infron.config import load
from infron.runtime.process import serve
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sys.exit(serve(load(sys.argv[1], {}), ready=lambda url: print(url, flush=True)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_gateway_without_free_file_descriptors_neither_spins_nor_dies(tmp_path):
    """An accept that fails and is tried again at once takes a whole core and answers nobody."""
    (tmp_path / "infron.toml").write_text("[server]\nport = 0\n[local]\nenabled = false\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(tmp_path / "infron.toml"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        port = int(url.rpartition(":")[2])
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(100):
                await stack.enter_async_context(connected(port))
            before = _cpu_seconds(process.pid)
            await asyncio.sleep(1)
            assert _cpu_seconds(process.pid) - before < 0.3
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    answer = await asyncio.to_thread(urllib.request.urlopen, f"{url}/healthz", timeout=2)
                    answer.close()
                    break
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    with closing(sqlite3.connect(tmp_path / "infron.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_an_exchange_that_cannot_begin_for_a_bug_of_ours_is_answered_once_and_settled(
    running, provider, monkeypatch, caplog
):
    def broken(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(openai_chat, "encode_request", broken)
    async with connected(running.port) as connection:
        connection.send(chat(), request("GET", "/healthz"))
        failed = await connection.reply()
        assert (failed.status, failed.json["error"]["metadata"]["error_type"]) == (500, "server")
        assert (await connection.reply()).status == 200
    await asyncio.wait_for(running.context.registry.idle.wait(), 5)
    receipt = await running.context.ledger.receipt(failed.headers["x-generation-id"], None)
    assert (receipt.outcome, receipt.total_cost) == ("failed", 0)
    assert "a bug" in caplog.text


# ---- what is judged again, and what strangers are not told


@pytest.mark.parametrize("keyless", [False, True])
async def test_a_key_is_judged_again_when_the_body_is_here(playing, tmp_path, keyless):
    """A body at one byte per half minute was served long after its key was revoked, or after the first key was made."""
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    lines = ["Content-Type: application/json", "Content-Length: 2"]
    if not keyless:
        lines.append(bearer(create_key(url, "first")[1]))
    playing.calls.clear()
    async with started(playing, tmp_path) as running, connected(running.port) as connection:
        connection.send(request("POST", CHAT, *lines, "Expect: 100-continue"))
        assert (await connection.head()).status == 100
        connection.send(b"{")
        before = running.context.ledger.keys
        await asyncio.to_thread(create_key if keyless else revoke_key, url, "first")
        async with asyncio.timeout(30):
            while running.context.ledger.keys is before:
                await asyncio.sleep(0.01)
        connection.send(b"}")
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (401, "authentication")


async def test_readyz_tells_strangers_nothing_but_that_it_is_not_ready(fresh):
    """It told the path of the ledger's file to everybody."""
    path = fresh.context.config.ledger_url().removeprefix("sqlite:///")
    os.rename(path, f"{path}.away")
    async with asyncio.timeout(30):
        while (reply := await ask(fresh.port, request("GET", "/readyz"))).status == 200:
            await ask(fresh.port, chat())
            await asyncio.sleep(0.05)
    assert reply.json == {"status": "the ledger cannot be written"}
    os.rename(f"{path}.away", path)


async def test_a_gateway_without_keys_takes_the_hosts_that_it_is_told(playing):
    """In a container the gateway is `host.docker.internal`."""
    hosts = {"allowed_hosts": ["host.docker.internal"]}
    async with gateway(providers={"mock": playing.definition()}, server=hosts) as running:
        for host in ("host.docker.internal", "Host.Docker.Internal.", "host.docker.internal:8080", "localhost"):
            assert (await ask(running.port, chat(host=host))).status == 200
        reply = await ask(running.port, chat(host="other.docker.internal:8080"))
        assert reply.status == 403
        for word in ("`other.docker.internal`", "server.allowed_hosts", "infron keys create"):
            assert word in reply.error["message"]


async def test_a_request_with_endless_names_or_lists_is_refused_before_anybody_is_asked(running, provider):
    """A model's name of 8 MB was kept for ever and sent with each frame; 3,000 fallbacks were 3,000 requests."""
    for fields in (
        {"model": "mock/" + "x" * 8_000_000},
        {"models": ["mock/bad"] * 3_000},
        {"user": "x" * 100_000},
        {"session_id": "x\x00"},
        {"provider": {"order": ["mock"] * 10_000}},
    ):
        reply = await ask(running.port, chat(**fields))
        assert (reply.status, reply.error_type) == (400, "invalid_request")
        assert len(reply.body) < 1_000
    assert provider.calls == []
