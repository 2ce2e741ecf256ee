from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from ledgers import admitted

from infron.errors import ConfigError
from infron.money import Usage
from infron.policy.holders import Budget, Limits
from infron.records import Bill, FailedAttempt, Opening, Outcome, Settlement
from infron.runtime.ledger import schema
from infron.runtime.ledger.administration import create_key, list_keys, usage_rows
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.store import UnusableRow
from infron.runtime.ledger.stores import opened

# What the first two versions of the tables were made by, word for word.
OLD = (
    "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """CREATE TABLE owners (
        boot TEXT NOT NULL PRIMARY KEY, place TEXT NOT NULL, pid INTEGER NOT NULL, started INTEGER NOT NULL,
        lease_until INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE keys (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, hint TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
        created_ms INTEGER NOT NULL, revoked_ms INTEGER, spend_limit INTEGER
    ) STRICT""",
    """CREATE TABLE spend (
        key_id TEXT NOT NULL, period TEXT NOT NULL, charge INTEGER NOT NULL, PRIMARY KEY (key_id, period)
    ) STRICT""",
    """CREATE TABLE entries (
        id TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, key_id TEXT, model TEXT NOT NULL, provider TEXT NOT NULL,
        provider_model TEXT NOT NULL, streamed INTEGER NOT NULL, created_ms INTEGER NOT NULL, price TEXT,
        end_user TEXT, session_id TEXT, draining INTEGER NOT NULL DEFAULT 0,
        outcome TEXT, prompt INTEGER, completion INTEGER, cached INTEGER, cache_write INTEGER, reasoning INTEGER,
        estimated INTEGER, cost INTEGER, charge INTEGER, finish_reason TEXT, error_type TEXT, error TEXT,
        upstream_id TEXT, latency_ms REAL, generation_ms REAL, upstream_closed_ms REAL, frames INTEGER,
        on_disconnect TEXT, attempts TEXT, settled_ms INTEGER, orphaned INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    "CREATE INDEX entries_open ON entries (owner) WHERE outcome IS NULL",
    "CREATE INDEX entries_draining ON entries (owner, key_id) WHERE draining = 1",
)
SECOND = (
    "ALTER TABLE entries ADD COLUMN native_finish_reason TEXT",
    "ALTER TABLE entries ADD COLUMN dropped TEXT",
)
ATTEMPTS = [
    "host: rate_limit_exceeded (429)",
    "my-own: host: timeout (504)",
    "third: provider_unavailable",
    "something that nobody wrote",
]


def old_ledger(path: Path, version: int) -> str:
    """The address of a file as the version left it: a key that spent something, an entry, one that is open."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (*OLD, *(SECOND if version == 2 else ())):
            connection.execute(statement)
        for name, value in (("pepper", "ab" * 32), ("keys_revision", "7"), ("schema", str(version))):
            connection.execute("INSERT INTO meta (name, value) VALUES (?, ?)", (name, value))
        connection.execute("INSERT INTO keys VALUES ('key_1', 'one', 'sk…1', 'cd', 1764000000000, NULL, 5)")
        for period in ("2025-12-01", "2025-12"):
            connection.execute("INSERT INTO spend VALUES ('key_1', ?, ?)", (period, 2**62))
        row = "'key_1', 'author/model', 'host', 'm', 1, 1764547200000"
        connection.execute(
            "INSERT INTO entries (id, owner, key_id, model, provider, provider_model, streamed, created_ms, outcome,"
            " prompt, completion, cached, cache_write, reasoning, estimated, cost, charge, frames, attempts)"
            f" VALUES ('gen-1', 'b', {row}, 'completed', 1, 2, 0, 0, 0, 0, 3, ?, 5, ?)",
            (2**62, json.dumps(ATTEMPTS)),
        )
        connection.execute(
            "INSERT INTO entries (id, owner, key_id, model, provider, provider_model, streamed, created_ms)"
            f" VALUES ('gen-2', 'b', {row})"
        )
    return f"sqlite:///{path}"


def rows_of(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("version", [1, 2])
async def test_schema_of_an_earlier_version_is_brought_up_to_date_with_all_that_was_recorded(
    tmp_path: Path, version: int
):
    url = old_ledger(tmp_path / "ledger.db", version)
    ledger = Ledger(url)
    await ledger.start()
    try:
        receipt = await ledger.receipt("gen-1", "key_1")
        assert receipt is not None
        assert (receipt.outcome, receipt.tokens_completion, receipt.total_cost) == ("completed", 2, 2**62 / 10**12)
        assert [(one.provider, one.error_type, one.status) for one in receipt.attempts] == [
            ("host", "rate_limit_exceeded", 429),
            ("my-own: host", "timeout", 504),
            ("third", "provider_unavailable", None),
            ("", "something that nobody wrote", None),
        ]
        assert {one.cost for one in receipt.attempts} == {one.provider_model for one in receipt.attempts} == {None}
        orphan = await ledger.receipt("gen-2", "key_1")
        assert orphan is not None
        assert orphan.orphaned
        assert orphan.attempts == []
        assert (await ledger.spend("key_1")).ever == 2**62
        assert dict(rows_of(tmp_path, "SELECT period, millions * 1000000000000000000 + charge FROM spend")) == {
            period: 2**62 for period in ("2025-12-01", "2025-W49", "2025-12", "ever")
        }
        [key] = ledger.keys.keys.values()
        assert (key.limits, key.limited) == (Limits(budgets=(Budget("total", 5),)), True)
        assert (await admitted(ledger, "gen-next", key_id="key_1", least=1, most=1)).kind == "budget"
    finally:
        await ledger.stop()
    assert [key.name for key in list_keys(url)] == ["one"]
    assert usage_rows(url, "model")[0].charge == 2**62


async def test_schema_as_of_now_takes_failed_attempts_as_objects(tmp_path: Path):
    url = old_ledger(tmp_path / "ledger.db", 2)
    ledger = Ledger(url)
    await ledger.start()
    try:
        failed = FailedAttempt(
            provider="host",
            provider_model="m",
            status=503,
            error_type="provider_overloaded",
            started_ms=1.5,
            ended_ms=20.25,
            prompt=10,
            completion=3,
            cost=2**70,
        )
        ended = Settlement(
            id="gen-3", outcome=Outcome.FAILED, provider="host", provider_model="m", attempts=(failed,),
            bill=Bill(price=None, usage=Usage()),
        )  # fmt: skip
        began = Opening(
            id="gen-3", key_id=None, model="m", provider="host", provider_model="m", streamed=True,
            created_at=time.time(), price=None,
        )  # fmt: skip
        ledger.open(began, lambda _: None)
        ledger.settled(ended)
        receipt = await ledger.receipt("gen-3", None)
        assert receipt is not None
        [attempt] = receipt.attempts
        assert (attempt.provider, attempt.provider_model, attempt.status) == ("host", "m", 503)
        assert (attempt.error_type, attempt.started_ms, attempt.ended_ms) == ("provider_overloaded", 1.5, 20.25)
        assert (attempt.prompt_tokens, attempt.completion_tokens) == (10, 3)
        assert attempt.cost == 2**70 / 10**12
    finally:
        await ledger.stop()


def test_schema_of_a_newer_version_is_used_where_that_version_says_that_it_may(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    create_key(url, "one")
    newer, mine = len(schema.STEPS) + 1, len(schema.STEPS)
    for readable_by, works in ((mine, True), (newer, False)):
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (newer,))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'readable_by'", (readable_by,))
        if works:
            assert [key.name for key in list_keys(url)] == ["one"]
        else:
            with pytest.raises(ConfigError, match="newer version"):
                list_keys(url)


@pytest.mark.parametrize("table", ["transfers", "audit"])
def test_schema_lets_nothing_of_the_journal_and_of_the_audit_log_be_changed_or_removed(url: str, table: str):
    columns = {
        "transfers": "(id, created_ms, kind, source, target, amount, actor) VALUES ('1', 0, 'k', 'a', 'b', 1, 'I')",
        "audit": "(id, at_ms, actor, action, subject) VALUES ('1', 0, 'I', 'key.create', 'key_1')",
    }
    with opened(url) as store, store.round() as rows:
        rows.change(f"INSERT INTO {table} {columns[table]}")
        for statement in (f"UPDATE {table} SET actor = 'you'", f"DELETE FROM {table}"):
            with pytest.raises(UnusableRow, match="ever changed"):
                rows.change(statement)
        assert rows.read(f"SELECT actor FROM {table}") == [("I",)]
