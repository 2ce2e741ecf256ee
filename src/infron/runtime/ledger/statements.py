"""The statements of a ledger, written once for every store, and the names of an entry's columns.

It never knows which store runs them. Parameters are `?1` to `?n`, no other question mark occurs, and whole numbers are
divided downwards by both `/` and `%`, as all of them are positive.
"""

from __future__ import annotations

# Picodollars are kept in two columns of 64 bits: whole millions of dollars, and the rest.
MILLION = 10**18

# ---- entries

OPENED = (
    "id", "owner", "key_id", "model", "provider", "provider_model", "streamed", "created_ms", "price", "end_user",
    "session_id", "organisation",
)  # fmt: skip
SETTLED = (
    "outcome", "prompt", "completion", "cached", "cache_write", "reasoning", "estimated", "cost", "charge",
    "finish_reason", "native_finish_reason", "upstream_id", "latency_ms", "generation_ms", "frames", "settled_ms",
)  # fmt: skip
# What most settlements leave as the row was opened.
CHANGED = (
    "provider", "provider_model", "price", "cost_millions", "charge_millions", "error_type", "error",
    "upstream_closed_ms", "on_disconnect", "attempts", "dropped", "clamped",
)  # fmt: skip
RECEIPT = (*dict.fromkeys(OPENED + SETTLED + CHANGED), "orphaned")


def _settling(columns: tuple[str, ...], which: str = "outcome IS NULL") -> str:
    """Takes the columns' values, then the id."""
    values = ", ".join(f"{name} = ?{number}" for number, name in enumerate(columns, 1))
    return f"UPDATE entries SET {values}, draining = 0 WHERE id = ?{len(columns) + 1} AND {which}"


OPEN = (
    f"INSERT INTO entries ({', '.join(OPENED)}) VALUES ({', '.join(f'?{n}' for n, _ in enumerate(OPENED, 1))})"
    " ON CONFLICT (id) DO NOTHING"
)
_HELD = (*OPENED, "counted", "hold", "taken")
OPEN_HELD = (
    f"INSERT INTO entries ({', '.join(_HELD)}) VALUES ({', '.join(f'?{n}' for n, _ in enumerate(_HELD, 1))})"
    " ON CONFLICT (id) DO NOTHING"
)
SETTLE = _settling(SETTLED)
SETTLE_CHANGED = _settling(SETTLED + CHANGED)
# What was settled as an orphan is corrected, once, by the process that was taken for dead. Nothing is held for it now.
_CORRECTED = "draining = 0, orphaned = 0, hold = 0"
SETTLE_LATE = _settling(SETTLED + CHANGED, "orphaned = 1").replace("draining = 0", _CORRECTED)
SETTLE_ORPHANS = (
    "UPDATE entries SET outcome = 'failed', error_type = 'orphaned', error = ?1, prompt = 0, completion = 0,"
    " cached = 0, cache_write = 0, reasoning = 0, estimated = 1, cost = NULL, charge = ?2, frames = 0,"
    " settled_ms = ?3, orphaned = 1, draining = 0 WHERE owner = ?4 AND outcome IS NULL"
)
OPENED_BY_WHOM = "SELECT key_id, organisation, created_ms FROM entries WHERE id = ?1"
ENTRY = f"SELECT {', '.join(RECEIPT)} FROM entries WHERE id = ?1"

# ---- entries that are not kept for ever; ids are in the order of their time

_OLDER = "FROM entries WHERE id < ?1 AND created_ms < ?2 AND outcome IS NOT NULL"
OLDER = f"SELECT id {_OLDER} LIMIT 1"
REMOVE_OLDER = f"DELETE FROM entries WHERE id IN (SELECT id {_OLDER} ORDER BY id LIMIT ?3)"
KEEPS_FROM = "SELECT value FROM meta WHERE name = 'kept_from_ms'"
KEPT_FROM = (
    "INSERT INTO meta (name, value) VALUES ('kept_from_ms', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)

# ---- answers that are read on after their client left

# Takes the id, how many may drain at once, and how many of one key.
CLAIM_DRAIN = (
    "UPDATE entries SET draining = 1 WHERE id = ?1 AND outcome IS NULL AND (draining = 1"
    " OR ((SELECT count(*) FROM entries WHERE draining = 1) < ?2"
    " AND (SELECT count(*) FROM entries AS other WHERE other.draining = 1"
    " AND coalesce(other.key_id, '') = coalesce(entries.key_id, '')) < ?3))"
)
DRAINS = (
    "SELECT count(*), coalesce(sum(CASE WHEN coalesce(key_id, '') = (SELECT coalesce(key_id, '') FROM entries"
    " WHERE id = ?1) THEN 1 ELSE 0 END), 0) FROM entries WHERE draining = 1"
)
DRAINS_ELSEWHERE = "SELECT key_id, count(*) FROM entries WHERE draining = 1 AND owner <> ?1 GROUP BY key_id"

# ---- the entries of a key, the newest first

_RECEIPT = f"SELECT {', '.join(RECEIPT)} FROM"
# Takes the key, the ids between which is looked, and how many are wanted.
PAST = (
    f"{_RECEIPT} entries WHERE outcome IS NOT NULL AND coalesce(key_id, '') = ?1 AND id < ?2 AND id >= ?3"
    " ORDER BY id DESC LIMIT ?4"
)
LOOKED_AT = "SELECT id FROM entries WHERE id < ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2"
LIVE_OF_KEY = (
    f"{_RECEIPT} entries WHERE outcome IS NULL AND coalesce(key_id, '') = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
)

# ---- what runs

RUNNING = (
    "SELECT entries.id, entries.owner, entries.key_id, keys.name, entries.model, entries.provider,"
    " entries.provider_model, entries.streamed, entries.draining, entries.created_ms, entries.latency_ms,"
    " entries.completion, entries.stop"
    " FROM entries LEFT JOIN keys ON keys.id = entries.key_id WHERE entries.outcome IS NULL ORDER BY entries.id"
)
PROGRESS = "UPDATE entries SET completion = ?1, frames = ?2, latency_ms = ?3 WHERE id = ?4 AND outcome IS NULL"
LOOK_ON = (
    "INSERT INTO meta (name, value) VALUES ('looked_on_until', ?1)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
LOOKED_ON = "SELECT value FROM meta WHERE name = 'looked_on_until'"

# ---- exchanges that are to be stopped

MARK_STOP = "UPDATE entries SET stop = ?1 WHERE id = ?2 AND outcome IS NULL AND stop IS NULL"
MARK_STOPS_OF_KEY = "UPDATE entries SET stop = ?1 WHERE key_id = ?2 AND outcome IS NULL AND stop IS NULL"
STOPS = "SELECT id, stop FROM entries WHERE owner = ?1 AND stop IS NOT NULL AND outcome IS NULL"

# ---- owners of open entries

OWNERS = "SELECT boot, place, pid, started, lease_until FROM owners"
OWNERS_OF_OPEN = "SELECT DISTINCT owner FROM entries WHERE outcome IS NULL"
RENEW_LEASE = (
    "INSERT INTO owners (boot, place, pid, started, lease_until) VALUES (?1, ?2, ?3, ?4, ?5)"
    " ON CONFLICT (boot) DO UPDATE SET lease_until = excluded.lease_until"
)
FORGET_OWNER = "DELETE FROM owners WHERE boot = ?1"

# ---- keys

KEY = (
    "id", "name", "hint", "created_ms", "revoked_ms", "kind", "expires_ms", "models", "providers", "organisation",
    "revision",
)  # fmt: skip
KEYS = f"SELECT {', '.join(KEY)} FROM keys ORDER BY created_ms, id"
HASHED_KEYS = f"SELECT hash, {', '.join(KEY)} FROM keys"
KEY_BY_HASH = "SELECT id FROM keys WHERE hash = ?1"
CREATE_KEY = (
    "INSERT INTO keys (id, name, hint, hash, created_ms, kind, expires_ms, models, providers, organisation)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
)
EDIT_KEY = (
    "UPDATE keys SET name = ?2, expires_ms = ?3, models = ?4, providers = ?5, organisation = ?6,"
    " revision = revision + ?7 WHERE id = ?1"
)
REVOKE_KEY = "UPDATE keys SET revoked_ms = ?1, revision = revision + 1 WHERE id = ?2"
PEPPER = "SELECT value FROM meta WHERE name = 'pepper'"
REVISION = "SELECT value FROM meta WHERE name = 'revision'"
RAISE_REVISION = "UPDATE meta SET value = ?1 WHERE name = 'revision'"

# ---- what entries took of their holders. `LIST ?1` stands for a SELECT of what the JSON array ?1 holds.

_TAKEN = "hold, taken, counted"
TAKEN_BY = f"SELECT id, key_id, organisation, created_ms, {_TAKEN}, outcome FROM entries WHERE id IN (LIST ?1)"
TAKEN_BY_OWNER = (
    f"SELECT key_id, organisation, {_TAKEN} FROM entries"
    " WHERE owner = ?1 AND outcome IS NULL AND (counted = 1 OR hold > 0)"
)
HOLDS_OF = "SELECT id, hold FROM entries WHERE id IN (LIST ?1) AND owner = ?2"
EXTEND = "UPDATE entries SET hold = hold + ?2, taken = taken + ?3 WHERE id = ?1 AND outcome IS NULL"

# ---- the state of holders. `LOCK` is said by a store whose rounds do not shut out each other as a whole.

LOCK = "/* for no key update of holders */"
LOCK_HOLDER = f"SELECT id FROM holders WHERE id = ?1 {LOCK}"
STANDINGS = (
    "SELECT holders.id, requests_per_minute, tokens_per_minute, concurrent, live, held, requests_filled, tokens_filled,"
    " filled_us, organisations.closed_ms, keys.revoked_ms, keys.expires_ms, account FROM holders"
    " LEFT JOIN organisations ON organisations.id = holders.id LEFT JOIN keys ON keys.id = holders.id"
    f" WHERE holders.id IN (LIST ?1) ORDER BY holders.id {LOCK}"
)
BUDGETS_OF = "SELECT holder, period, ceiling FROM budgets WHERE holder IN (LIST ?1)"
SPENT_OF = "SELECT holder, period, millions, charge FROM spend WHERE holder IN (LIST ?1) AND period IN (LIST ?2)"
BALANCES_OF = "SELECT holder, millions, balance FROM accounts WHERE holder IN (LIST ?1)"
SET_STANDING = (
    "UPDATE holders SET live = ?2, held = ?3, requests_filled = ?4, tokens_filled = ?5, filled_us = ?6 WHERE id = ?1"
)

# ---- whether the ledger adds up

_OF_HOLDER = "FROM entries WHERE outcome IS NULL AND (key_id = ?1 OR organisation = ?1)"
COUNT_RUNNING = (
    f"UPDATE holders SET live = (SELECT coalesce(sum(counted), 0) {_OF_HOLDER}),"
    f" held = (SELECT coalesce(sum(hold), 0) {_OF_HOLDER}) WHERE id = ?1"
)
HOLDERS = "SELECT id, live, held FROM holders ORDER BY id"
_RUNNING = "SELECT {0}, sum(counted), sum(hold) FROM entries WHERE outcome IS NULL AND {0} IS NOT NULL GROUP BY {0}"
RUNNING_BY_KEY = _RUNNING.format("key_id")
RUNNING_BY_ORGANISATION = _RUNNING.format("organisation")
_CHARGE = "sum(charge_millions), coalesce(sum(charge / 1000000), 0), coalesce(sum(charge % 1000000), 0)"
_CHARGED = f"SELECT {{0}}, created_ms / 86400000, {_CHARGE} FROM entries WHERE outcome IS NOT NULL"
CHARGED_BY_KEY = _CHARGED.format("key_id") + " GROUP BY key_id, created_ms / 86400000"
CHARGED_BY_ORGANISATION = (
    _CHARGED.format("organisation") + " AND organisation IS NOT NULL GROUP BY organisation, created_ms / 86400000"
)
SPENDS = "SELECT holder, period, millions, charge FROM spend"
MOVED = (
    "SELECT source, target, sum(millions), sum(amount / 1000000), sum(amount % 1000000) FROM transfers"
    " GROUP BY source, target"
)
PAID_BY = (
    "SELECT transfers.id, transfers.created_ms, transfers.millions, transfers.amount, paid.millions, paid.millionths,"
    " paid.rest FROM transfers LEFT JOIN (SELECT transfer, sum(charge_millions) AS millions,"
    " sum(charge / 1000000) AS millionths, sum(charge % 1000000) AS rest FROM entries WHERE transfer IS NOT NULL"
    " GROUP BY transfer) AS paid ON paid.transfer = transfers.id WHERE transfers.kind = 'charge'"
)
HALF_SETTLED = (
    "SELECT id, outcome, settled_ms FROM entries WHERE (outcome IS NULL AND settled_ms IS NOT NULL)"
    " OR (outcome IS NOT NULL AND (settled_ms IS NULL OR draining = 1))"
)
HOLDS_AND_CHARGES = (
    "SELECT key_id, organisation, created_ms, hold, CASE WHEN outcome IS NULL THEN NULL ELSE charge_millions END,"
    " CASE WHEN outcome IS NULL THEN NULL ELSE coalesce(charge, 0) END FROM entries WHERE key_id IS NOT NULL"
)

# ---- organisations, and the limits of holders

ORGANISATION = ("id", "name", "created_ms", "closed_ms", "show_remaining", "revision")
ORGANISATIONS = f"SELECT {', '.join(ORGANISATION)} FROM organisations ORDER BY created_ms, id"
CREATE_ORGANISATION = "INSERT INTO organisations (id, name, created_ms) VALUES (?1, ?2, ?3)"
EDIT_ORGANISATION = "UPDATE organisations SET name = ?2, show_remaining = ?3, revision = revision + ?4 WHERE id = ?1"
CLOSE_ORGANISATION = "UPDATE organisations SET closed_ms = ?1, revision = revision + 1 WHERE id = ?2"
LIMITS = "SELECT id, requests_per_minute, tokens_per_minute, concurrent, account FROM holders"
BUDGETS = "SELECT holder, period, ceiling FROM budgets"
LIVE = "SELECT count(*) FROM entries WHERE outcome IS NULL AND (key_id = ?1 OR organisation = ?1)"
SET_LIMITS = (
    "INSERT INTO holders (id, requests_per_minute, tokens_per_minute, concurrent) VALUES (?1, ?2, ?3, ?4)"
    " ON CONFLICT (id) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,"
    " tokens_per_minute = excluded.tokens_per_minute, concurrent = excluded.concurrent"
)
SET_BUDGET = (
    "INSERT INTO budgets (holder, period, ceiling) VALUES (?1, ?2, ?3)"
    " ON CONFLICT (holder, period) DO UPDATE SET ceiling = excluded.ceiling"
)
REMOVE_BUDGET = "DELETE FROM budgets WHERE holder = ?1 AND period = ?2"

# ---- what was charged: rows for each holder and day, week, month, and for ever

ADD_CHARGE = (
    "INSERT INTO spend (holder, period, millions, charge) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (holder, period)"
    f" DO UPDATE SET millions = spend.millions + excluded.millions + (spend.charge + excluded.charge) / {MILLION},"
    f" charge = (spend.charge + excluded.charge) % {MILLION}"
)
SPEND = "SELECT period, millions, charge FROM spend WHERE holder = ?1 AND period IN (?2, ?3, ?4, ?5)"

# ---- the journal

OPEN_ACCOUNT = "INSERT INTO accounts (id, holder) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING"
GIVE_ACCOUNT = (
    "INSERT INTO holders (id, account) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET account = excluded.account"
)
ACCOUNTS = "SELECT id, holder, millions, balance FROM accounts ORDER BY id"
BALANCE = "SELECT millions, balance FROM accounts WHERE id = ?1"
SET_BALANCE = "UPDATE accounts SET millions = ?2, balance = ?3 WHERE id = ?1"
TRANSFER = ("id", "created_ms", "kind", "source", "target", "millions", "amount", "reference", "note", "actor")
ADD_TRANSFER = (
    f"INSERT INTO transfers ({', '.join(TRANSFER)}) VALUES ({', '.join(f'?{n}' for n, _ in enumerate(TRANSFER, 1))})"
    " ON CONFLICT (kind, reference) DO NOTHING"
)
_TRANSFERS = f"SELECT {', '.join(TRANSFER)} FROM transfers"
TRANSFER_BY_ID = f"{_TRANSFERS} WHERE id = ?1"
TRANSFER_BY_REFERENCE = f"{_TRANSFERS} WHERE kind = ?1 AND reference = ?2"
# Takes an account or NULL, an id that the rows are to be older than, or NULL, times from and before (ms), how many.
TRANSFERS = (
    f"{_TRANSFERS} WHERE (CAST(?1 AS TEXT) IS NULL OR source = ?1 OR target = ?1) AND id < coalesce(?2, 'zzz')"
    " AND created_ms >= ?3 AND created_ms < ?4 ORDER BY id DESC LIMIT ?5"
)
NAME_TRANSFER = "UPDATE entries SET transfer = ?1 WHERE id IN (LIST ?2)"
PAID = "SELECT transfer, charge_millions, charge, outcome FROM entries WHERE id = ?1"

# ---- the audit log

AUDIT = "INSERT INTO audit (id, at_ms, actor, action, subject, before, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
# Takes a subject and an id that the rows are to be older than, or NULL for either; and how many.
AUDITED = (
    "SELECT id, at_ms, actor, action, subject, before, after FROM audit WHERE subject = coalesce(?1, subject)"
    " AND id < coalesce(?2, 'zzz') ORDER BY id DESC LIMIT ?3"
)

# ---- what was used

# A sum of picodollars leaves 64 bits behind at nine million dollars: it is made of three, each of which does not.
_MONEY = "sum({0}_millions), coalesce(sum({0} / 1000000), 0), coalesce(sum({0} % 1000000), 0)"
_USAGE = (
    f"SELECT {{0}}, count(*), sum(prompt), sum(completion), {_MONEY.format('cost')}, {_MONEY.format('charge')},"
    " sum(CASE WHEN charge IS NULL THEN 1 ELSE 0 END),"
    " sum(CASE WHEN cost IS NULL AND charge IS NOT NULL THEN 1 ELSE 0 END), sum(estimated) FROM entries"
    " WHERE outcome IS NOT NULL AND created_ms >= ?1 AND created_ms < ?2 AND (CAST(?3 AS TEXT) IS NULL OR key_id = ?3)"
    " AND (CAST(?4 AS TEXT) IS NULL OR organisation = ?4) GROUP BY {0}"
)
USAGE_BY = {
    "model": _USAGE.format("model"),
    "provider": _USAGE.format("provider"),
    "key": _USAGE.format("key_id"),
    "organisation": _USAGE.format("organisation"),
    "user": _USAGE.format("end_user"),
    "day": _USAGE.format("created_ms / 86400000"),
}
KEY_NAMES = "SELECT id, name FROM keys"
ORGANISATION_NAMES = "SELECT id, name FROM organisations"
