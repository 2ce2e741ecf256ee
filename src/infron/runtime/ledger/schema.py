"""The ledger's tables, a step for each version of them, and how a store's tables are brought up to date.

It never knows which store runs a step: `{int}`, `{real}` and `{strict}` stand for the store's own words.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import Rows, StoreError


def _attempts_to_objects(rows: Rows) -> None:
    """`attempts` held a sentence for each failed candidate: "provider: error_type (status)"."""
    for id, sentences in rows.read("SELECT id, attempts FROM entries WHERE attempts IS NOT NULL"):
        objects = [_attempt_of(sentence) for sentence in msgspec.json.decode(sentences, type=list[str])]
        rows.change("UPDATE entries SET attempts = ?1 WHERE id = ?2", msgspec.json.encode(objects).decode(), id)


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
)

# The oldest version of the tables whose code may go on working on those of this one, while gateways are replaced.
READABLE_BY = 3

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
    for name, value in {"pepper": secrets.token_hex(32), "keys_revision": "0", **versions}.items():
        rows.change(_META, name, value)
    for name, value in versions.items():
        rows.change(_SET_META, name, value)
