"""Limits, decided from values alone: what is taken adds up, and what is allowed is exactly what the limits say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date

import pytest
from msgspec.structs import replace

from infron.policy.holders import PERIODS, Budget, Limits, period_name
from infron.policy.lifecycle import Input, Phase, Settle, State, step
from infron.policy.limit_answers import duration, limit_headers, refusal_error
from infron.policy.limits import UNIT, Ask, Granted, Refused, Room, Standing, decide, extension, period_end_ms

DAY = date(2026, 11, 28).toordinal()  # a Saturday
MINUTE = 60_000_000  # µs
NOW = (DAY - date(1970, 1, 1).toordinal()) * 86_400_000_000


def key(**limits: object) -> Standing:
    return Standing(id="key_1", kind="key", limits=Limits(**limits))  # type: ignore[arg-type]


def organisation(**limits: object) -> Standing:
    return Standing(id="org_1", kind="organisation", limits=Limits(**limits))  # type: ignore[arg-type]


def ask(**more: int) -> Ask:
    return Ask(day=DAY, **more)


def refused(verdict: Granted | Refused) -> Refused:
    assert isinstance(verdict, Refused)
    return verdict


def granted(verdict: Granted | Refused) -> Granted:
    assert isinstance(verdict, Granted)
    return verdict


def test_exchange_without_limits_is_granted_and_takes_a_slot():
    standing = key()
    assert decide(ask(most=5, least=1), [standing], NOW) == Granted(hold=5)
    assert (standing.live, standing.held, standing.changed) == (1, 5, True)


def test_slots_are_refused_beyond_their_number_and_retried_in_a_second():
    standing = key(concurrent=2)
    for _ in range(2):
        granted(decide(ask(), [standing], NOW))
    found = refused(decide(ask(), [standing], NOW))
    assert (found.kind, found.holder, found.limit, found.remaining, found.retry_after) == ("concurrent", "key", 2, 0, 1)
    standing.give_back(0, 1, 0, 0)
    granted(decide(ask(), [standing], NOW))


def test_requests_burst_to_their_rate_and_then_come_one_by_one():
    standing = key(requests_per_minute=6)
    assert [type(decide(ask(), [standing], NOW)) for _ in range(7)] == [Granted] * 6 + [Refused]
    found = refused(decide(ask(), [standing], NOW))
    assert found.retry_after == 10
    assert isinstance(decide(ask(), [standing], NOW + 10_000_000 - 1), Refused)
    granted(decide(ask(), [standing], NOW + 10_000_000))
    assert isinstance(decide(ask(), [standing], NOW + 10_000_001), Refused)


def test_tokens_asked_for_beyond_the_rate_pass_a_full_bucket_and_leave_a_debt():
    # The first request of a key was refused for ever, as the default of an answer was above its rate.
    standing = key(tokens_per_minute=100)
    granted(decide(ask(tokens=3000), [standing], NOW))
    assert refused(decide(ask(tokens=1), [standing], NOW)).kind == "tokens"
    standing.give_back(0, 1, 3000, 300)  # it used 300: a debt of 200
    assert standing.tokens_filled == -200 * UNIT
    assert refused(decide(ask(tokens=10), [standing], NOW)).retry_after == 126
    granted(decide(ask(tokens=10), [standing], NOW + 126_000_000))


def test_tokens_that_were_not_used_come_back_and_never_fill_beyond_the_rate():
    standing = key(tokens_per_minute=100)
    granted(decide(ask(tokens=60), [standing], NOW))
    standing.give_back(0, 1, 60, 0)
    standing.give_back(0, 0, 60, 0)  # one that took nothing gives nothing back
    assert standing.tokens_filled == 100 * UNIT
    standing.refill(NOW + MINUTE)
    assert standing.tokens_filled == 100 * UNIT


def test_first_holder_that_refuses_refuses_and_nothing_is_taken_of_any():
    mine, ours = key(requests_per_minute=5), organisation(concurrent=0)
    found = refused(decide(ask(most=5, tokens=5), [mine, ours], NOW))
    assert (found.kind, found.holder) == ("concurrent", "organisation")
    assert (mine.live, mine.held, mine.changed, ours.changed) == (0, 0, False, False)
    assert found.requests == Room(5, 5, 0.0)


@pytest.mark.parametrize(
    ("limits", "more", "kind"),
    [
        ({"concurrent": 0, "requests_per_minute": 0}, {}, "concurrent"),
        ({"requests_per_minute": 0, "tokens_per_minute": 0}, {"tokens": 1}, "requests"),
        ({"tokens_per_minute": 0}, {"tokens": 1}, "tokens"),
        ({"budgets": (Budget("day", 0),)}, {"most": 0}, None),  # free: no money is asked for
        ({"budgets": (Budget("day", 0),)}, {"most": 1}, "budget"),
        ({"budgets": (Budget("day", 5), Budget("total", 3))}, {"least": 4, "most": 9}, "budget"),
    ],
)
def test_limits_are_asked_in_one_order(limits: dict[str, object], more: dict[str, int], kind: str | None):
    verdict = decide(ask(**more), [key(**limits)], NOW)
    assert (verdict.kind if isinstance(verdict, Refused) else None) == kind


def test_hold_is_what_every_budget_of_every_holder_leaves():
    mine, ours = key(budgets=(Budget("day", 50), Budget("month", 20))), organisation(budgets=(Budget("total", 30),))
    ours.spent["ever"], ours.held = 10, 5
    assert granted(decide(ask(least=1, most=100), [mine, ours], NOW)).hold == 15
    found = refused(decide(ask(least=1, most=100), [mine, ours], NOW))
    assert (found.kind, found.holder, found.period, found.remaining) == ("budget", "organisation", "total", 0)
    full = extension(DAY, 5, [mine, ours], NOW)
    assert isinstance(full, Refused)
    assert (full.holder, full.period) == ("organisation", "total")
    ours.give_back(10, 0, 0, 0)
    assert extension(DAY, 7, [mine, ours], NOW) == 5  # the key's month


def test_budget_of_a_period_is_that_of_the_exchange_s_own_day():
    standing = key(budgets=(Budget("day", 10),))
    standing.charge(DAY, 10)
    assert refused(decide(ask(least=1, most=5), [standing], NOW)).retry_after == 86_400
    assert granted(decide(Ask(day=DAY + 1, least=1, most=5), [standing], NOW)).hold == 5


def test_credits_refuse_where_no_period_helps():
    standing = replace(key(account="acc_1"), balance=10)
    assert granted(decide(ask(least=1, most=20), [standing], NOW)).hold == 10
    found = refused(decide(ask(least=1, most=20), [standing], NOW))
    assert (found.kind, found.retry_after) == ("credits", None)


def test_holder_that_is_closed_starts_nothing():
    assert refused(decide(ask(), [replace(key(), closed_ms=NOW // 1000)], NOW)).kind == "closed"
    granted(decide(ask(), [replace(key(), closed_ms=NOW // 1000 + 1)], NOW))


def test_clock_that_was_set_back_fills_nothing_until_it_has_caught_up_unless_it_jumped():
    standing = key(requests_per_minute=60)
    for _ in range(60):
        granted(decide(ask(), [standing], NOW))
    assert isinstance(decide(ask(), [standing], NOW - 3_000_000), Refused)
    assert standing.filled_us == NOW
    assert isinstance(decide(ask(), [standing], NOW), Refused)
    granted(decide(ask(), [standing], NOW + 1_000_000))
    hour_ago = NOW - 60 * MINUTE
    assert isinstance(decide(ask(), [standing], hour_ago), Refused)
    granted(decide(ask(), [standing], hour_ago + 1_000_000))


@pytest.mark.parametrize(
    ("period", "day", "ends"),
    [
        ("day", date(2026, 12, 31), date(2027, 1, 1)),
        ("week", date(2026, 11, 23), date(2026, 11, 30)),
        ("week", date(2026, 11, 29), date(2026, 11, 30)),
        ("month", date(2026, 1, 31), date(2026, 2, 1)),
        ("month", date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_periods_end_at_midnight(period: str, day: date, ends: date):
    expected = (ends - date(1970, 1, 1)).days * 86_400_000
    assert period_end_ms(period, day.toordinal()) == expected  # type: ignore[arg-type]


def test_total_never_ends():
    assert period_end_ms("total", DAY) is None


# ---- what is told


def test_headers_tell_the_tighter_of_key_and_organisation():
    mine, ours = key(requests_per_minute=10), organisation(requests_per_minute=4, tokens_per_minute=1000)
    headers = dict(limit_headers(decide(ask(tokens=400), [mine, ours], NOW)))
    assert headers == {
        b"x-ratelimit-limit-requests": b"4",
        b"x-ratelimit-remaining-requests": b"3",
        b"x-ratelimit-reset-requests": b"15s",
        b"x-ratelimit-limit-tokens": b"1000",
        b"x-ratelimit-remaining-tokens": b"600",
        b"x-ratelimit-reset-tokens": b"24s",
    }


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0ms"), (0.0061, "7ms"), (1.5, "1.5s"), (59.9999, "1m0s"), (123.25, "2m3.25s"), (60, "1m0s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, shown: str):
    assert duration(seconds) == shown


def test_refusal_of_a_rate_names_limit_holder_and_time():
    standing = organisation(requests_per_minute=6)
    for _ in range(6):
        decide(ask(), [standing], NOW)
    error = refusal_error(refused(decide(ask(), [standing], NOW)), NOW / 1e6)
    assert (error.status, error.retry_after, error.headers["retry-after-ms"]) == (429, 10, "10000")
    assert error.message == "The organisation of this API key may start 6 requests a minute; try again in 10 s."
    reset = (NOW + 10_000_000) // 1000
    assert error.metadata == {
        "limit": "requests", "holder": "organisation", "value": 6, "remaining": 0, "reset_at": reset,
    }  # fmt: skip


def test_refusal_of_a_budget_is_402_and_says_what_is_left():
    standing = key(budgets=(Budget("month", 3 * 10**12),))
    standing.charge(DAY, 2_999_900_000_000)
    error = refusal_error(refused(decide(ask(least=10**9, most=10**10), [standing], NOW)), NOW / 1e6)
    assert (error.status, error.code, error.retry_after) == (402, "insufficient_quota", 3 * 86_400)
    assert error.message == (
        "This API key may spend $3.00 a month: $0.000100 of it are left, and this request needs more; "
        "raise it, or wait for 72 hours."
    )
    assert error.metadata["reason"] == "budget_exhausted"


# ---- everything at once


def test_a_hundred_thousand_steps_take_and_give_back_the_same():
    """Random holders under random asks, extensions and ends: counters are the sums of what runs, no budget is passed
    but by what was charged beyond holds, and rates allow no more than they say.
    """
    chance = random.Random(20261128)
    for _ in range(200):
        _one_history(chance, 500)


def _one_history(chance: random.Random, steps: int) -> None:
    def some(*values: int) -> int | None:
        return chance.choice((None, *values))

    def limits() -> Limits:
        budgets = tuple(Budget(period, chance.randrange(50, 2000)) for period in PERIODS if chance.random() < 0.5)
        return Limits(
            requests_per_minute=some(3, 30), tokens_per_minute=some(50, 500), concurrent=some(1, 4), budgets=budgets
        )

    standings = [Standing(id=id, kind="key", limits=limits()) for id in ("key_1", "org_1")]  # type: ignore[arg-type]
    running: list[tuple[int, int, int]] = []  # day, hold, taken
    charged: dict[str, int] = {}
    began: list[int] = []
    now, day, beyond = NOW, DAY, 0
    for _ in range(steps):
        now += chance.randrange(0, 5_000_000)
        day += chance.random() < 0.01
        dice = chance.random()
        if dice < 0.5:
            least = chance.randrange(0, 50)
            wanted = Ask(day=day, least=least, most=least + chance.randrange(0, 200), tokens=chance.randrange(0, 100))
            before = [replace(each) for each in standings]
            verdict = decide(wanted, standings, now)
            if isinstance(verdict, Granted):
                assert wanted.most == 0 or wanted.least <= verdict.hold <= wanted.most
                running.append((day, verdict.hold, wanted.tokens))
                began.append(now)
            else:
                assert [(each.live, each.held) for each in before] == [(each.live, each.held) for each in standings]
        elif dice < 0.7 and running:
            number = chance.randrange(len(running))
            of, hold, taken = running[number]
            found = extension(of, chance.randrange(0, 100), standings, now)
            more = 0 if isinstance(found, Refused) else found
            for each in standings:
                each.held += more
            running[number] = of, hold + more, taken
        elif running:
            of, hold, taken = running.pop(chance.randrange(len(running)))
            charge = chance.randrange(0, hold + 3)
            beyond += max(0, charge - hold)
            for each in standings:
                each.give_back(hold, 1, taken, chance.randrange(0, 120))
                each.charge(of, charge)
            for period in PERIODS:
                name = period_name(period, date.fromordinal(of))
                charged[name] = charged.get(name, 0) + charge
        for each in standings:
            assert each.live == len(running)
            assert each.held == sum(hold for _, hold, _ in running)
            assert each.limits.concurrent is None or each.live <= each.limits.concurrent
            for budget in each.limits.budgets:
                for name, spent in charged.items():
                    if len(name) == len(period_name(budget.period, date.fromordinal(DAY))):
                        held = sum(
                            h for of, h, _ in running if period_name(budget.period, date.fromordinal(of)) == name
                        )
                        assert spent + held <= budget.ceiling + beyond
    for each in standings:
        if (rate := each.limits.requests_per_minute) is not None:
            for first, at in enumerate(began):
                for last in range(first, min(len(began), first + 200)):
                    assert last - first + 1 <= rate + (began[last] - at) * rate / MINUTE + 1e-6


# ---- every path of an exchange


def walked(state: State, settled: int, left: int) -> Iterator[tuple[State, int]]:
    """Every (state, how often it was settled) that inputs can lead an admitted exchange to."""
    yield state, settled
    if left:
        for given in Input:
            after, actions = step(state, given)
            if (after, actions) != (state, ()):
                yield from walked(after, settled + sum(isinstance(action, Settle) for action in actions), left - 1)


def test_what_an_exchange_took_is_given_back_once_on_every_path_of_its_table():
    seen = set()
    for state, settled in walked(State(recorded=True), 0, 5):
        mine, ours = key(concurrent=1, tokens_per_minute=1000), organisation(budgets=(Budget("total", 100),))
        holders = [mine, ours]
        hold = granted(decide(ask(least=1, most=60, tokens=40), holders, NOW)).hold
        for _ in range(settled):
            for each in holders:
                each.give_back(hold, 1, 40, 25)
                each.charge(DAY, 7)
        over = state.phase is Phase.SETTLED
        assert [(each.live, each.held) for each in holders] == [(0, 0) if over else (1, hold)] * 2
        assert mine.tokens_filled == (1000 - (25 if over else 40)) * UNIT
        assert ours.spent.get("ever", 0) == (7 if over else 0)
        seen.add((state.phase, settled))
    assert seen == {(phase, int(phase is Phase.SETTLED)) for phase in Phase}
