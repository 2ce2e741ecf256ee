from __future__ import annotations

import json

import msgspec
from ledgers import FAILED, admitted, opened, opening, running, settlement, verdict

from infron.money import PICODOLLARS
from infron.records import Outcome
from infron.runtime.ledger import entries, receipts
from infron.runtime.ledger.administration import create_key, usage_rows
from infron.runtime.ledger.stores import opened as opened_store
from infron.runtime.ledger.verdict import Refused


async def test_a_receipt_shows_a_settlement_as_soon_as_it_was_handed_over(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", key_id="key_a", user="u", session_id="s", created_at=1_700_000_000.5)
        ledger.settled(
            settlement(
                "gen-1",
                outcome=Outcome.CANCELLED,
                estimated=True,
                cost=2 * PICODOLLARS,
                charge=3,
                finish_reason=None,
                error_type="x",
                error="why",
                upstream_id="up",
                latency_ms=1.5,
                generation_ms=2.5,
                upstream_closed_ms=3.5,
                frames=4,
                on_disconnect="cancel",
                attempts=(FAILED,),
            )
        )
        receipt = await ledger.receipt("gen-1", "key_a")
        assert receipt is not None
        assert (receipt.outcome, receipt.cancelled, receipt.estimated) == ("cancelled", True, True)
        assert (receipt.total_cost, receipt.usage, receipt.provider_cost) == (3e-12, 3e-12, 2.0)
        assert (receipt.tokens_prompt, receipt.native_tokens_prompt) == (10, 10)
        assert (receipt.tokens_completion, receipt.native_tokens_completion) == (20, 20)
        assert (receipt.native_tokens_cached, receipt.native_tokens_reasoning) == (3, 4)
        assert (receipt.latency, receipt.generation_time, receipt.upstream_closed_ms) == (1.5, 2.5, 3.5)
        assert receipt.created_at == "2023-11-14T22:13:20.500Z"
        assert receipt.error == {"type": "x", "message": "why"}
        assert [(one.provider, one.error_type, one.status) for one in receipt.attempts] == [("other", "timeout", 504)]
        assert (receipt.model, receipt.provider_name, receipt.provider_model) == ("author/model", "host", "model-1")
        assert (receipt.upstream_id, receipt.on_disconnect, receipt.frames) == ("up", "cancel", 4)
        assert (receipt.price_source, receipt.external_user, receipt.session_id) == ("a price list", "u", "s")
        assert receipt.orphaned is False


async def test_a_running_exchange_has_a_receipt_without_an_outcome(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.outcome, receipt.cancelled, receipt.total_cost, receipt.error) == (None, None, None, None)
        assert receipt.tokens_prompt is None


async def test_an_unknown_price_is_an_unknown_cost_and_not_zero(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", price=None)
        ledger.settled(settlement("gen-1", price=None, cost=None, charge=None))
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.total_cost, receipt.usage, receipt.provider_cost) == (None, None, None)
    [row] = usage_rows(url, "model")
    assert (row.charge, row.unpriced, row.uncosted) == (0, 1, 0)


async def test_an_unknown_cost_of_a_known_charge_is_counted_apart(url: str):
    async with running(url) as ledger:
        for number, cost in enumerate((5, None)):
            assert await opened(ledger, f"gen-{number}")
            ledger.settled(settlement(f"gen-{number}", cost=cost, charge=7))
    [row] = usage_rows(url, "model")
    assert (row.cost, row.charge, row.unpriced, row.uncosted) == (5, 14, 0, 1)


async def test_a_receipt_is_its_owners_only(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", key_id="key_a")
        assert await ledger.receipt("gen-1", "key_a") is not None
        assert await ledger.receipt("gen-1", "key_b") is None
        assert await ledger.receipt("gen-1", None) is None
        assert await ledger.receipt("gen-2", "key_a") is None
        assert await ledger.receipt("\ud800", "key_a") is None


async def test_the_provider_that_served_replaces_the_one_that_was_tried_first(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", provider="first")
        ledger.settled(settlement("gen-1", provider="second", provider_model="model-2"))
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.model, receipt.provider_name, receipt.provider_model) == ("author/model", "second", "model-2")


async def test_settling_twice_changes_nothing_and_is_counted(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        ledger.settled(settlement("gen-1", charge=7))
        ledger.settled(settlement("gen-1", charge=70))
        before = await ledger.receipt("gen-1", None)
        ledger.settled(settlement("gen-1", charge=700))
        assert await ledger.receipt("gen-1", None) == before
        assert before is not None
        assert before.total_cost == 7e-12
        assert (ledger.counts.settled, ledger.counts.duplicates) == (1, 2)
        assert (await ledger.spend(None)).ever == 7


async def test_opening_an_id_twice_is_refused_and_leaves_the_first_alone(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", model="first")
        assert await verdict(ledger, "gen-1", model="second") == Refused("there is an entry with this id already")
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert receipt.model == "first"


async def test_a_settlement_without_an_opening_is_written_whole(url: str):
    async with running(url) as ledger:
        ledger.settled(settlement("gen-1", charge=9))
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.outcome, receipt.total_cost) == ("completed", 9e-12)
        assert (await ledger.spend(None)).ever == 9


async def test_values_that_no_database_takes_are_mended_instead_of_blocking_the_others(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", user="\ud800")
        assert await opened(ledger, "gen-2")
        ledger.settled(settlement("gen-1", error="a\udfffb\x00c", frames=2**70, charge=1))
        ledger.settled(settlement("gen-2", latency_ms=float("nan")))
        first, second = await ledger.receipt("gen-1", None), await ledger.receipt("gen-2", None)
        assert first is not None
        assert second is not None
        assert (first.external_user, first.total_cost) == ("?", 1e-12)
        assert first.error == {"type": None, "message": "a?b\x00c"}
        assert (second.outcome, second.latency) == ("completed", None)
        assert ledger.healthy is None


async def test_a_settlement_of_the_wrong_type_is_given_up_without_holding_up_the_rest(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        assert await opened(ledger, "gen-2")
        ledger.settled(settlement("gen-1", charge="much"))
        ledger.settled(settlement("gen-2"))
        receipt = await ledger.receipt("gen-2", None)
        assert receipt is not None
        assert receipt.outcome == "completed"
        assert ledger.counts.refused == 1


async def test_charges_and_totals_that_outgrow_64_bits_are_exact(url: str):
    # A charge of more than nine million dollars was cut to 64 bits and left the key's total, and its limit, at nothing.
    key, _ = create_key(url, "one", 9_000_000)
    charges = [2**62, 2**62, 2**62, 2**70 + 1, 1, 10**18, 10**18 - 1]
    async with running(url) as ledger:
        for number, charge in enumerate(charges):
            assert await opened(ledger, f"gen-{number}", key_id=key.id)
            ledger.settled(settlement(f"gen-{number}", charge=charge, cost=charge + 1))
            receipt = await ledger.receipt(f"gen-{number}", key.id)
            assert receipt is not None
            assert receipt.total_cost == charge / PICODOLLARS
            assert receipt.provider_cost == (charge + 1) / PICODOLLARS
            spend = await ledger.spend(key.id)
            assert spend.today == spend.month == spend.ever == sum(charges[: number + 1])
    [row] = usage_rows(url, "model")
    assert (row.charge, row.cost) == (sum(charges), sum(charges) + len(charges))
    async with running(url) as ledger:
        assert (await admitted(ledger, "gen-next", key_id=key.id, least=1, most=1)).kind == "budget"


def test_a_receipt_is_plain_json(url: str):
    with opened_store(url) as store, store.round() as rows:
        entries.settle_entries(rows, [(settlement("gen-1"), opening("gen-1"))], "me", 0)
        found = receipts.read_entry(rows, "gen-1")
    assert found is not None
    shown = json.loads(msgspec.json.encode(found.receipt))
    assert shown["outcome"] == "completed"
    assert {name: shown[name] for name in ("is_byok", "cache_discount", "origin")} == {
        "is_byok": False,
        "cache_discount": None,
        "origin": None,
    }
