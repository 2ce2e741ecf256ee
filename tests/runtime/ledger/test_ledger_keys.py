from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest
from ledgers import admitted, opened, query, running, settlement, until
from rawclient import ask, gateway, get, locked

from infron.errors import InvalidRequest, NotFound
from infron.policy.limits import Granted
from infron.runtime.ledger import sqlite
from infron.runtime.ledger.administration import create_key, list_keys, revoke_key, usage_rows
from infron.runtime.ledger.ledger import Ledger, Unavailable
from infron.testing import DONE, FINISH, ScriptedProvider, frame, text


async def test_keys_made_and_revoked_by_another_process_are_seen_within_a_second(url: str):
    program = "import sys; from infron.runtime.ledger.administration import *; print(create_key(sys.argv[1], 'one')[1])"
    async with running(url) as ledger:
        assert not ledger.keys.required
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        secret = output.decode().strip()
        await until(lambda: ledger.keys.required, 1.0)
        key = ledger.keys.find(secret)
        assert key is not None
        assert (key.name, key.revoked_at) == ("one", None)
        revoke_key(url, "one")
        await until(lambda: ledger.keys.find(secret) is None, 1.0)
        assert ledger.keys.required


async def test_the_file_holds_no_secret(url: str):
    async with running(url):
        _, secret = create_key(url, "one")
        folder = sqlite.path_of(url).parent
        content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"one" in content
    assert secret.encode() not in content
    assert secret.removeprefix("sk-infron-").encode() not in content


@pytest.mark.skipif(os.name != "posix", reason="files have modes on POSIX only")
async def test_the_files_are_their_owners_only(url: str):
    # They were readable by everybody on the machine: names of keys, what they asked for and when.
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        files = sorted(sqlite.path_of(url).parent.iterdir())
        assert [file.name for file in files] == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
        assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3


def test_a_key_is_revoked_by_id_secret_name_or_the_only_fitting_beginning(url: str):
    keys = [create_key(url, name) for name in ("one", "two", "three", "four", "five", "five")]
    assert revoke_key(url, keys[0][0].id).name == "one"
    assert revoke_key(url, keys[1][1]).name == "two"
    assert revoke_key(url, "three").name == "three"
    assert revoke_key(url, keys[3][0].id[:14]).name == "four"
    with pytest.raises(InvalidRequest, match="Several keys"):
        revoke_key(url, "five")
    with pytest.raises(InvalidRequest, match="Several keys"):
        revoke_key(url, "sk-infron-")
    assert revoke_key(url, keys[4][0].hint[:14]).id == keys[4][0].id
    again = revoke_key(url, "one")
    assert again.revoked_at == next(key.revoked_at for key in list_keys(url) if key.name == "one")
    for unknown in ("six", "", "\udcff"):
        with pytest.raises(NotFound):
            revoke_key(url, unknown)
    assert [key.name for key in list_keys(url) if key.revoked_at is None] == ["five"]


def test_asking_for_keys_or_usage_makes_no_ledger(url: str):
    assert list_keys(url) == []
    assert usage_rows(url, "day") == []
    with pytest.raises(NotFound):
        revoke_key(url, "one")
    assert not sqlite.path_of(url).exists()


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf"), 1e9])
def test_an_impossible_limit_is_refused(url: str, limit: float):
    with pytest.raises(InvalidRequest):
        create_key(url, "one", limit)


async def test_a_limit_is_reached_by_what_all_processes_charge_together(url: str):
    key, _ = create_key(url, "one", 10e-12)
    assert key.limits.ceiling("total") == 10
    async with running(url) as one, running(url) as two:
        for number, ledger in enumerate((one, two)):
            granted = await admitted(ledger, f"gen-{number}", key_id=key.id, least=5, most=5)
            assert granted == Granted(hold=5)
        refused = await admitted(one, "gen-2", key_id=key.id, least=1, most=5)
        assert (refused.kind, refused.holder, refused.period, refused.remaining) == ("budget", "key", "total", 0)
        one.settled(settlement("gen-0", charge=5))
        two.settled(settlement("gen-1", charge=2))
        assert await until_spent(two, key.id, 7)
        third = await admitted(one, "gen-3", key_id=key.id, least=1, most=5)
        assert (third.hold, third.short.remaining) == (3, 3)
    async with running(url) as later:
        assert (await admitted(later, "gen-4", key_id=key.id, least=4, most=5)).remaining == 3  # of an orphan's hold


async def until_spent(ledger: Ledger, key: str, amount: int) -> bool:
    """Wait until this was charged in all: another process settles when it comes to it."""
    async with asyncio.timeout(10):
        while (await ledger.spend(key)).ever != amount:
            await asyncio.sleep(0.01)
    return True


async def test_a_key_ring_is_the_same_whatever_its_keys_spend(url: str):
    key, _ = create_key(url, "one", 10e-12)
    async with running(url) as ledger:
        before = ledger.keys
        assert await opened(ledger, "gen-1", key_id=key.id)
        ledger.settled(settlement("gen-1", charge=100))
        await ledger.spend(key.id)
        assert ledger.keys is before


async def test_a_limit_holds_for_a_charge_that_outgrows_64_bits(url: str):
    # Its total stayed at nothing, and the key was open again as soon as another process wrote to the ledger.
    _, secret = create_key(url, "one", 1.0)
    key = f"authorization: Bearer {secret}"
    usage = {"prompt_tokens": 2**40, "completion_tokens": 2**40, "total_tokens": 2**41}
    row = {"prices": {"any": {"prompt": "100", "completion": "100"}}}
    async with (
        ScriptedProvider([text("Hello"), FINISH, frame(choices=[], usage=usage), DONE]) as provider,
        gateway(providers={"mock": provider.definition(**row)}, ledger={"url": url}) as running_gateway,
    ):
        ledger, port = running_gateway.context.ledger, running_gateway.port
        client = await (await ask(port, key)).head()
        await client.rest()
        found = json.loads((await get(port, f"/v1/generation?id={client.id}", key)).received)["data"]
        assert found["total_cost"] == 2**41 * 100 / 10**6
        assert (await (await ask(port, key)).head()).status == 402
        create_key(url, "another")
        await until(lambda: len(ledger.keys.keys) == 2, 2.0)
        assert (await (await ask(port, key)).head()).status == 402
        spent = json.loads((await get(port, "/v1/key", key)).received)["data"]
        assert (spent["usage"], spent["limit_remaining"]) == (2**41 * 100 / 10**6, 0)


async def test_extension_that_comes_with_the_settlement_sets_nothing_aside(url: str):
    """A stream that was stopped while it waited for the next slice of its budget left that held for ever."""
    key, _ = create_key(url, "one", 1000e-12)
    async with running(url) as ledger:
        assert await admitted(ledger, "gen-1", key_id=key.id, least=5, most=50) == Granted(hold=50)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        with locked(sqlite.path_of(url)):  # both wait for the same round
            ledger.extend("gen-1", 100, answer.set_result, tokens=5)
            ledger.settled(settlement("gen-1", charge=7))
            await until(lambda: ledger.healthy, 5.0)
        assert isinstance(await answer, Unavailable)
        assert query(url, "SELECT live, held FROM holders") == [(0, 0)]
        assert query(url, "SELECT hold, charge FROM entries") == [(50, 7)]
