"""The ledger's tables, a step for each version of them, and how a store's tables are brought up to date.

It never knows which store runs a step: `{int}`, `{real}` and `{strict}` stand for the store's own words, and
`{refuse}` for the body of a trigger that refuses what was tried.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import msgspec

from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import Rows, StoreError


def _attempts_to_objects(rows: Rows) -> None:
    """`attempts` held a sentence for each failed candidate: "provider: error_type (status)"."""
    for id, sentences in rows.read("SELECT id, attempts FROM entries WHERE attempts IS NOT NULL"):
        objects = [_attempt_of(sentence) for sentence in msgspec.json.decode(sentences, type=list[str])]
        rows.change("UPDATE entries SET attempts = ?1 WHERE id = ?2", msgspec.json.encode(objects).decode(), id)


def _weeks_and_ever(rows: Rows) -> None:
    """`spend` held a row for each day and each month: weeks are made of the days, and `ever` of the months."""
    totals: dict[tuple[str, str], int] = {}
    for holder, period, millions, charge in rows.read("SELECT holder, period, millions, charge FROM spend"):
        if len(period) == len("2026-11"):
            wider = "ever"
        else:
            year, week, _ = date.fromisoformat(period).isocalendar()
            wider = f"{year}-W{week:02}"
        totals[holder, wider] = totals.get((holder, wider), 0) + millions * MILLION + charge
    for (holder, period), charge in totals.items():
        statement = "INSERT INTO spend (holder, period, millions, charge) VALUES (?1, ?2, ?3, ?4)"
        rows.change(statement, holder, period, *divmod(charge, MILLION))


def _attempt_of(sentence: str) -> dict[str, Any]:
    told = re.fullmatch(r"(.+): (\w+)(?: \((\d+)\))?", sentence)
    if told is None:
        return {"provider": "", "error_type": sentence}
    status = {"status": int(told[3])} if told[3] else {}
    return {"provider": told[1], "error_type": told[2], **status}


# A step is never changed again. Two things are not visible in it. `id` has an index of its own instead of being the
# table's order: ids of several processes come in between each other, and whole rows put there would touch many more
# pages than 40-byte index rows do. And rows that are not settled, or are draining, are few: a partial index finds them
# at next to no cost for all the others.
STEPS: tuple[tuple[str | Callable[[Rows], None], ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) {strict}",
        """CREATE TABLE owners (
            boot TEXT NOT NULL PRIMARY KEY, place TEXT NOT NULL, pid {int} NOT NULL, started {int} NOT NULL,
            lease_until {int} NOT NULL
        ) {strict}""",
        """CREATE TABLE keys (
            id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, hint TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
            created_ms {int} NOT NULL, revoked_ms {int}, spend_limit {int}
        ) {strict}""",
        """CREATE TABLE spend (
            key_id TEXT NOT NULL, period TEXT NOT NULL, charge {int} NOT NULL, PRIMARY KEY (key_id, period)
        ) {strict}""",
        """CREATE TABLE entries (
            id TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, key_id TEXT, model TEXT NOT NULL, provider TEXT NOT NULL,
            provider_model TEXT NOT NULL, streamed {int} NOT NULL, created_ms {int} NOT NULL, price TEXT,
            end_user TEXT, session_id TEXT, draining {int} NOT NULL DEFAULT 0,
            outcome TEXT, prompt {int}, completion {int}, cached {int}, cache_write {int}, reasoning {int},
            estimated {int}, cost {int}, charge {int}, finish_reason TEXT, error_type TEXT, error TEXT,
            upstream_id TEXT, latency_ms {real}, generation_ms {real}, upstream_closed_ms {real}, frames {int},
            on_disconnect TEXT, attempts TEXT, settled_ms {int}, orphaned {int} NOT NULL DEFAULT 0
        ) {strict}""",
        "CREATE INDEX entries_open ON entries (owner) WHERE outcome IS NULL",
        "CREATE INDEX entries_draining ON entries (owner, key_id) WHERE draining = 1",
    ),
    (
        "ALTER TABLE entries ADD COLUMN native_finish_reason TEXT",
        "ALTER TABLE entries ADD COLUMN dropped TEXT",
    ),
    (
        # Whole millions of dollars, which `cost` and `charge` leave out: 64 bits of picodollars are nine of them.
        "ALTER TABLE entries ADD COLUMN cost_millions {int} NOT NULL DEFAULT 0",
        "ALTER TABLE entries ADD COLUMN charge_millions {int} NOT NULL DEFAULT 0",
        "ALTER TABLE spend ADD COLUMN millions {int} NOT NULL DEFAULT 0",
        f"UPDATE spend SET millions = charge / {MILLION}, charge = charge % {MILLION}",
        _attempts_to_objects,
    ),
    (
        # Limits, money and marks. `live` and `held` say what the open entries of a holder say together: they change
        # only in the round that inserts or settles such an entry. Buckets are filled in 1/60,000,000 of a unit; NULL is
        # full, and below zero is a debt. Amounts of money are two columns everywhere: whole millions, and the rest.
        """CREATE TABLE organisations (
            id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, created_ms {int} NOT NULL, closed_ms {int},
            show_remaining {int} NOT NULL DEFAULT 0, revision {int} NOT NULL DEFAULT 1
        ) {strict}""",
        """CREATE TABLE holders (
            id TEXT NOT NULL PRIMARY KEY, requests_per_minute {int}, tokens_per_minute {int}, concurrent {int},
            account TEXT, live {int} NOT NULL DEFAULT 0, held {int} NOT NULL DEFAULT 0, requests_filled {int},
            tokens_filled {int}, filled_us {int} NOT NULL DEFAULT 0
        ) {strict}""",
        """CREATE TABLE budgets (
            holder TEXT NOT NULL, period TEXT NOT NULL, ceiling {int} NOT NULL, PRIMARY KEY (holder, period)
        ) {strict}""",
        """CREATE TABLE accounts (
            id TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL UNIQUE, millions {int} NOT NULL DEFAULT 0,
            balance {int} NOT NULL DEFAULT 0
        ) {strict}""",
        """CREATE TABLE transfers (
            id TEXT NOT NULL PRIMARY KEY, created_ms {int} NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL,
            target TEXT NOT NULL, millions {int} NOT NULL DEFAULT 0, amount {int} NOT NULL, reference TEXT, note TEXT,
            actor TEXT NOT NULL, UNIQUE (kind, reference), CHECK (millions > 0 OR amount > 0), CHECK (source <> target)
        ) {strict}""",
        "CREATE INDEX transfers_source ON transfers (source, id)",
        "CREATE INDEX transfers_target ON transfers (target, id)",
        """CREATE TABLE audit (
            id TEXT NOT NULL PRIMARY KEY, at_ms {int} NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
            subject TEXT NOT NULL, before TEXT, after TEXT
        ) {strict}""",
        "CREATE TRIGGER transfers_stay BEFORE UPDATE ON transfers {refuse}",
        "CREATE TRIGGER transfers_remain BEFORE DELETE ON transfers {refuse}",
        "CREATE TRIGGER audit_stays BEFORE UPDATE ON audit {refuse}",
        "CREATE TRIGGER audit_remains BEFORE DELETE ON audit {refuse}",
        "ALTER TABLE spend RENAME COLUMN key_id TO holder",
        _weeks_and_ever,
        "ALTER TABLE keys ADD COLUMN organisation TEXT",
        "ALTER TABLE keys ADD COLUMN kind TEXT NOT NULL DEFAULT 'caller'",
        "ALTER TABLE keys ADD COLUMN expires_ms {int}",
        "ALTER TABLE keys ADD COLUMN models TEXT",
        "ALTER TABLE keys ADD COLUMN providers TEXT",
        "ALTER TABLE keys ADD COLUMN revision {int} NOT NULL DEFAULT 1",
        "INSERT INTO holders (id) SELECT id FROM keys WHERE spend_limit IS NOT NULL",
        "INSERT INTO budgets (holder, period, ceiling)"
        " SELECT id, 'total', spend_limit FROM keys WHERE spend_limit IS NOT NULL",
        "ALTER TABLE keys DROP COLUMN spend_limit",
        "ALTER TABLE entries ADD COLUMN organisation TEXT",  # as it was when the exchange began
        "ALTER TABLE entries ADD COLUMN counted {int} NOT NULL DEFAULT 0",  # 1: it is in `live` of its holders
        "ALTER TABLE entries ADD COLUMN hold {int} NOT NULL DEFAULT 0",  # what `held` of its holders contains of it
        "ALTER TABLE entries ADD COLUMN taken {int} NOT NULL DEFAULT 0",  # tokens that the buckets gave for it
        "ALTER TABLE entries ADD COLUMN clamped {int}",  # the max_tokens that we set
        "ALTER TABLE entries ADD COLUMN transfer TEXT",  # the charge that it is part of
        "ALTER TABLE entries ADD COLUMN of TEXT",  # a hedge or a first half: the exchange that it served
        "ALTER TABLE entries ADD COLUMN stop TEXT",  # who asked to stop it: caller, operator, revoked
        "ALTER TABLE entries ADD COLUMN repeat TEXT",  # hash of key and Idempotency-Key
        "CREATE INDEX entries_stop ON entries (owner) WHERE stop IS NOT NULL AND outcome IS NULL",
        "CREATE UNIQUE INDEX entries_repeat ON entries (repeat) WHERE repeat IS NOT NULL",
        "ALTER TABLE owners ADD COLUMN node TEXT",
        "ALTER TABLE owners ADD COLUMN version TEXT",
        "ALTER TABLE owners ADD COLUMN leaving {int} NOT NULL DEFAULT 0",
        # Raised by each change of keys, limits and marks: one number, so that one look tells them all.
        "UPDATE meta SET name = 'revision' WHERE name = 'keys_revision'",
    ),
)

# The oldest version of the tables whose code may go on working on those of this one, while gateways are replaced.
READABLE_BY = 4

_META = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING"
_SET_META = "UPDATE meta SET value = ?2 WHERE name = ?1"
_VERSIONS = "SELECT name, value FROM meta WHERE name IN ('schema', 'readable_by')"


def current(rows: Rows, tables: set[str], store: str) -> int:
    """How many steps the store has taken; 0 for one without tables. `store`: its name, for the sentence.

    Raises StoreError if its tables are somebody else's, or those of a newer version.
    """
    if not tables:
        return 0
    found: dict[str, str] = dict(rows.read(_VERSIONS)) if "meta" in tables else {}
    taken = found.get("schema", "")
    if not taken.isdecimal():
        raise StoreError(f"{store} is a database of something else.")
    if int(taken) > len(STEPS) < int(found.get("readable_by", taken)):
        raise StoreError(f"{store} was written by a newer version of Infron; update this one.")
    return int(taken)


def bring_up_to_date(rows: Rows, taken: int, words: Mapping[str, str]) -> None:
    """Take the steps after the first `taken`, within one round."""
    for step in STEPS[taken:]:
        for change in step:
            if isinstance(change, str):
                rows.change(change.format_map(words))
            else:
                change(rows)
    versions = {"schema": str(len(STEPS)), "readable_by": str(READABLE_BY)}
    for name, value in {"pepper": secrets.token_hex(32), "revision": "0", **versions}.items():
        rows.change(_META, name, value)
    for name, value in versions.items():
        rows.change(_SET_META, name, value)
