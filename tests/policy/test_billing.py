"""Who owes what, and on which counts it stands: plain values, no IO."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from amounts import PRICES, usages
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
from infron.money import Charge, Price, Usage
from infron.policy.billing import latest, owed, who_pays
from infron.records import Outcome
from infron.wires import PROVIDER_WIRES

CATALOG = load_catalog(environ={}, wires=PROVIDER_WIRES)
PLAIN = Provider(id="plain", name="Plain", base_url="http://h")
XAI = CATALOG.providers["xai"]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


REPORT = Usage(prompt=100, completion=500)
EARLY = Usage(prompt=100, completion=1)
COUNTED = Usage(prompt=90, completion=40)
BLENDED = Usage(prompt=100, completion=40)
PROMPT = Usage(prompt=90)


def bases(
    outcome: Outcome, *, content: bool = False, sent: bool = False, usage: Usage | None = None, **more: bool
) -> Any:
    result = who_pays(outcome, content_delivered=content, fully_sent=sent, usage=usage, counted=COUNTED, **more)
    return result.usage, result.estimated, result.cost, result.charge


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.DRAINED])
def test_a_whole_answer_is_owed_by_the_providers_last_report(outcome: Outcome) -> None:
    assert bases(outcome, content=True, sent=True, usage=REPORT) == (REPORT, False, REPORT, REPORT)


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.DRAINED])
def test_a_whole_answer_without_a_report_is_owed_by_our_count(outcome: Outcome) -> None:
    assert bases(outcome, content=True, sent=True) == (COUNTED, True, COUNTED, COUNTED)


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.DRAINED])
@pytest.mark.parametrize(
    ("half", "last"), [(Usage(prompt=100), True), (Usage(completion=77), True), (REPORT, False), (Usage(), False)]
)
def test_half_a_report_is_completed_by_our_count_and_says_so(outcome: Outcome, half: Usage, last: bool) -> None:
    # An answer whose report lacked the completion was free, and not even estimated.
    usage, estimated, cost, charge = bases(outcome, content=True, sent=True, usage=half, last=last)
    assert usage.prompt == (half.prompt or COUNTED.prompt)
    assert usage.completion == (
        half.completion if last and half.completion else max(half.completion, COUNTED.completion)
    )
    assert (estimated, cost, charge) == (True, usage, usage)


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.DRAINED])
def test_a_provider_that_says_last_that_nothing_is_billed_is_believed(outcome: Outcome) -> None:
    assert bases(outcome, content=True, sent=True, usage=Usage()) == (Usage(), False, Usage(), Usage())


def test_a_report_without_a_completion_is_whole_where_nothing_was_delivered() -> None:
    prompt = Usage(prompt=100)
    assert bases(Outcome.COMPLETED, sent=True, usage=prompt) == (prompt, False, prompt, prompt)


def test_the_last_usable_report_stands() -> None:
    whole, early, late = (
        Usage(prompt=10, completion=500),
        Usage(prompt=10, cached=4),
        Usage(completion=500, reasoning=3),
    )
    assert latest(None, early) is early
    assert latest(Usage(prompt=10, completion=1), whole) is whole
    for half in (Usage(prompt=10), Usage(), early):
        assert latest(whole, half) is whole
    assert latest(early, late) == Usage(prompt=10, cached=4, completion=500, reasoning=3)
    assert latest(late, early) is late


@given(st.lists(usages(media=True), min_size=1, max_size=4))
def test_no_report_takes_away_what_an_earlier_one_said(reports: list[Usage]) -> None:
    found: Usage | None = None
    for report in reports:
        found = latest(found, report)
    assert found is not None
    assert (found.prompt > 0) >= any(report.prompt and report.completion for report in reports)
    assert (found.completion > 0) == any(report.completion for report in reports)


def test_a_cost_that_the_provider_names_is_charged_where_no_price_is_known() -> None:
    assert owed(Usage(prompt=5), None, 7) == Charge(reported=7)
    assert owed(Usage(prompt=5), Price(prompt=2, completion=0), 7) == Charge(prompt=10)
    assert owed(Usage(prompt=5, prompt_audio=5), Price(prompt=2, completion=0), 7) == Charge(reported=7)
    assert owed(None, None, 7) == Charge()


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.TIMED_OUT])
def test_an_answer_cut_after_content_is_owed_as_far_as_it_was_delivered(outcome: Outcome) -> None:
    assert bases(outcome, content=True, sent=True) == (COUNTED, True, COUNTED, COUNTED)


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.TIMED_OUT])
def test_early_figures_of_the_provider_come_before_our_count(outcome: Outcome) -> None:
    """A provider's first frame may know the prompt and hold a placeholder for the completion."""
    assert bases(outcome, content=True, sent=True, usage=EARLY) == (BLENDED, True, BLENDED, BLENDED)
    running = Usage(prompt=100, completion=77)
    assert bases(outcome, content=True, sent=True, usage=running) == (running, True, running, running)


def test_leaving_while_connecting_is_free() -> None:
    assert bases(Outcome.CANCELLED) == (Usage(), False, None, None)


def test_leaving_once_the_request_was_written_owes_at_least_the_prompt() -> None:
    """Aborting before the first token must not be a way to use a provider for nothing."""
    assert bases(Outcome.CANCELLED, sent=True) == (PROMPT, True, PROMPT, PROMPT)


def test_a_failure_is_free_for_the_caller_and_recorded_for_us() -> None:
    assert bases(Outcome.FAILED, content=True, sent=True) == (COUNTED, True, COUNTED, None)
    assert bases(Outcome.FAILED, sent=True) == (Usage(), False, None, None)


def test_an_upstream_lost_while_its_reader_stalled_is_owed_as_far_as_it_was_delivered() -> None:
    expected = (COUNTED, True, COUNTED, COUNTED)
    assert bases(Outcome.FAILED, content=True, sent=True, slow_reader=True) == expected


def test_a_clock_that_ran_out_before_content_is_free_for_the_caller_though_not_for_us() -> None:
    assert bases(Outcome.TIMED_OUT, sent=True) == (PROMPT, True, PROMPT, None)
    assert bases(Outcome.TIMED_OUT) == (Usage(), False, None, None)


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.TIMED_OUT])
def test_what_a_provider_bills_that_goes_on_is_at_least_what_was_delivered(outcome: Outcome) -> None:
    def at_least(**more: Any) -> bool:
        return who_pays(outcome, usage=None, counted=COUNTED, bills_on=True, **more).at_least

    assert at_least(content_delivered=True, fully_sent=True)
    assert at_least(content_delivered=False, fully_sent=True)
    assert not at_least(content_delivered=False, fully_sent=False)
    assert not who_pays(outcome, content_delivered=True, fully_sent=True, usage=None, counted=COUNTED).at_least


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.DRAINED])
def test_what_a_provider_bills_for_a_whole_answer_is_known(outcome: Outcome) -> None:
    assert not who_pays(
        outcome, content_delivered=True, fully_sent=True, usage=REPORT, counted=None, bills_on=True
    ).at_least


def test_charging_for_failures_passes_the_providers_bill_on() -> None:
    assert bases(Outcome.FAILED, content=True, sent=True, charge_failed=True) == (COUNTED, True, COUNTED, COUNTED)
    assert bases(Outcome.TIMED_OUT, sent=True, charge_failed=True) == (PROMPT, True, PROMPT, PROMPT)
    assert bases(Outcome.FAILED, sent=True, charge_failed=True) == (Usage(), False, None, None)


@given(
    st.sampled_from(list(Outcome)),
    st.booleans(),
    st.booleans(),
    st.none() | usages(),
    st.none() | usages(),
    st.booleans(),
    st.booleans(),
    PRICES,
)
def test_the_caller_never_owes_more_than_the_provider_bills(
    outcome: Outcome,
    content: bool,
    sent: bool,
    usage: Usage | None,
    counted: Usage | None,
    slow: bool,
    failed: bool,
    price: Price,
) -> None:
    result = who_pays(
        outcome,
        content_delivered=content,
        fully_sent=sent,
        usage=usage,
        counted=counted,
        slow_reader=slow,
        charge_failed=failed,
    )
    cost, charge = owed(result.cost, price), owed(result.charge, price)
    assert cost is not None
    assert charge is not None
    assert charge.total in (0, cost.total)
    assert result.cost in (None, result.usage)
    if outcome is Outcome.CANCELLED and (content or sent):
        assert result.charge is not None


def test_an_unknown_price_owes_nothing_that_could_be_taken_for_zero() -> None:
    assert owed(Usage(prompt=5), None) is None
    assert owed(None, None) == Charge()
