from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import opening, running, settlement, until
from rawclient import ask, gateway, get

from infron.errors import Conflict, InvalidRequest, NotFound
from infron.money import PICODOLLARS
from infron.policy.editing import KeyEdit, OrganisationEdit
from infron.policy.limits import Ask, Granted, Refused
from infron.runtime.ledger.administration import Administration, administration
from infron.runtime.ledger.entries import settle_entries
from infron.runtime.ledger.journal import Payment, charge
from infron.runtime.ledger.limited import day_of
from infron.runtime.ledger.spend import add_charges
from infron.runtime.ledger.stores import opened
from infron.testing import DONE, FINISH, ScriptedProvider, frame, text


@pytest.fixture
def admin(url: str) -> Iterator[Administration]:
    with administration(url, "tester") as found:
        yield found


def sums_to_nothing(admin: Administration) -> None:
    """Each balance is what came in less what went out."""
    every = admin.transfers(limit=10_000)
    for holder, balance in admin.balances().items():
        account = f"acc_{holder}"
        came = sum(each.amount for each in every if each.target == account)
        assert balance == came - sum(each.amount for each in every if each.source == account)


def test_credits_are_added_once_for_each_reference(admin: Administration):
    # A payment's notice came twice, and the customer had twice the credits.
    team = admin.create_organisation(OrganisationEdit(name="team"))
    first, new = admin.give_credits("team", Decimal("20.5"), reference="pay_1", note="invoice 7")
    assert (new, first.kind, first.source, first.amount) == (True, "top-up", "cash", 205 * PICODOLLARS // 10)
    assert admin.give_credits("team", Decimal("20.50"), reference="pay_1") == (first, False)
    for other, amount in (
        ("team", Decimal(21)),
        (admin.create_organisation(OrganisationEdit(name="b")).id, Decimal("20.5")),
    ):
        with pytest.raises(Conflict, match="pay_1"):
            admin.give_credits(other, amount, reference="pay_1")
    assert admin.give_credits("team", Decimal(1), grant=True, reference="pay_1")[1]  # another kind, another reference
    assert admin.give_credits("team", Decimal(1))[1]
    assert admin.give_credits("team", Decimal(1))[1]  # without a reference nothing tells them apart
    assert admin.balances()[team.id] == 235 * PICODOLLARS // 10
    assert [each.action for each in admin.changes(first.id)] == ["credits.top-up"]
    sums_to_nothing(admin)


def test_credits_that_make_no_sense_are_refused_and_leave_nothing(admin: Administration):
    admin.create_organisation(OrganisationEdit(name="team"))
    key, _ = admin.create_key(KeyEdit(name="member", organisation="team"))
    admin.create_key(KeyEdit(name="ops"), "admin")
    for which, amount, match in (
        ("nobody", 1, "no organisation and no key 'nobody'"),
        ("member", 1, "give the credits to that"),
        ("ops", 1, "needs no credits"),
        ("team", 0, "above zero"),
        ("team", -1, "dollars from 0"),
    ):
        with pytest.raises((InvalidRequest, NotFound), match=match):
            admin.give_credits(which, Decimal(amount))
    with pytest.raises(InvalidRequest, match="characters"):
        admin.give_credits("team", Decimal(1), note="x" * 501)
    assert admin.balances() == {}
    assert not admin.organisation("team").limits.account
    solo, _ = admin.create_key(KeyEdit(name="solo"))
    admin.give_credits("solo", Decimal(1))
    with pytest.raises(InvalidRequest, match="credits of its own"):
        admin.edit_key(solo.id, KeyEdit(organisation="team"))
    admin.create_organisation(OrganisationEdit(name="solo"))
    with pytest.raises(InvalidRequest, match="say the id"):
        admin.give_credits("solo", Decimal(1))
    admin.close_organisation("team")
    with pytest.raises(InvalidRequest, match="closed"):
        admin.give_credits("team", Decimal(1))
    assert key.limits.account is None


def test_refund_gives_back_what_an_exchange_was_charged_and_once(admin: Administration, url: str):
    team = admin.create_organisation(OrganisationEdit(name="team"))
    admin.give_credits("team", Decimal(1))
    with opened(url) as store, store.round() as rows:
        for id, amount in (("gen-1", 2**70), ("gen-2", 7), ("gen-3", 5)):
            settle_entries(rows, [(settlement(id, charge=amount), opening(id, organisation=team.id))], "me", 0)
        charge(rows, {f"acc_{team.id}": Payment(2**70 + 7, ["gen-1", "gen-2"])}, 1, "gateway")
    assert admin.balances()[team.id] == PICODOLLARS - 2**70 - 7
    back, new = admin.refund("gen-1", note="our fault")
    assert (new, back.amount, back.source, back.reference) == (True, 2**70, "revenue", "gen-1")
    assert admin.refund("gen-1") == (back, False)
    with pytest.raises(Conflict, match="given back already"):
        admin.refund("gen-1", Decimal(1))
    with pytest.raises(InvalidRequest, match="was not paid from credits"):
        admin.refund("gen-3")
    with pytest.raises(NotFound):
        admin.refund("gen-4")
    with pytest.raises(InvalidRequest, match="or less of it"):
        admin.refund("gen-2", Decimal(1))
    assert admin.balances()[team.id] == PICODOLLARS - 7
    sums_to_nothing(admin)


def test_wrong_top_up_is_reversed_once_and_stays_in_the_journal(admin: Administration):
    team = admin.create_organisation(OrganisationEdit(name="team"))
    wrong, _ = admin.give_credits("team", Decimal(100))
    undone, new = admin.reverse(wrong.id)
    assert (new, undone.kind, undone.source, undone.target) == (True, "adjustment", wrong.target, "adjustments")
    assert admin.reverse(wrong.id) == (undone, False)
    with pytest.raises(InvalidRequest, match="adjustment is not reversed"):
        admin.reverse(undone.id)
    assert admin.balances() == {team.id: 0}
    assert admin.transfers("team") == [undone, wrong]
    assert admin.transfers("team", before=undone.id, limit=1) == [wrong]
    assert admin.transfers("team", since=wrong.created_at + 3600) == []
    assert admin.transfers("team", until=wrong.created_at) == []


async def test_exchanges_of_whoever_pays_in_advance_are_charged_by_one_transfer_a_round(
    admin: Administration, url: str
):
    team = admin.create_organisation(OrganisationEdit(name="team"))
    free, _ = admin.create_key(KeyEdit(name="free"))
    key, _ = admin.create_key(KeyEdit(name="one", organisation="team"))
    admin.give_credits("team", Decimal("0.000000000020"))
    async with running(url) as ledger:
        verdicts: list[object] = []
        for number in range(3):
            began = opening(f"gen-{number}", key_id=key.id, organisation=team.id, limited=True)
            ledger.admit(began, Ask(day=day_of(began.created_at), least=1, most=9), verdicts.append)
        ledger.open(opening("gen-free", key_id=free.id), verdicts.append)
        await until(lambda: len(verdicts) == 4, 10.0)
        granted = [each.hold for each in verdicts if isinstance(each, Granted)]
        assert granted == [9, 9, 2]
        for id in ("gen-0", "gen-1", "gen-2", "gen-free"):
            ledger.settled(settlement(id, charge=5))
        await ledger.spend(key.id)
        assert admin.balances() == {team.id: 5}
        charges = [each for each in admin.transfers("team") if each.kind == "charge"]
        assert sum(each.amount for each in charges) == 15
        assert all(each.actor == f"gateway:{ledger.boot}" for each in charges)
        began = opening("gen-9", key_id=key.id, organisation=team.id, limited=True)
        ledger.admit(began, Ask(day=day_of(began.created_at), least=6, most=9), verdicts.append)
        await until(lambda: len(verdicts) == 5, 10.0)
        assert isinstance(verdicts[-1], Refused)
        assert (verdicts[-1].kind, verdicts[-1].remaining) == ("credits", 5)
    sums_to_nothing(admin)


async def test_credits_are_spent_through_the_gateway_topped_up_and_given_back(admin: Administration, tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    team = admin.create_organisation(OrganisationEdit(name="team"))
    _, secret = admin.create_key(KeyEdit(name="one", organisation="team"))
    admin.give_credits("team", Decimal(1))
    header = f"authorization: Bearer {secret}"
    usage = {"prompt_tokens": 100_000, "completion_tokens": 500_000, "total_tokens": 600_000}
    answer = [text("Hello"), FINISH, frame(choices=[], usage=usage), DONE]
    prices = {"prices": {"any": {"prompt": "1", "completion": "1"}}}
    async with (
        ScriptedProvider(answer) as provider,
        gateway(providers={"mock": provider.definition(**prices)}, ledger={"url": url}) as running_gateway,
    ):
        port = running_gateway.port
        for _ in range(2):
            client = await (await ask(port, header)).head()
            assert client.status == 200
            await client.rest()
            await get(port, f"/v1/generation?id={client.id}", header)
        assert admin.balances() == {team.id: -PICODOLLARS // 5}
        admin.give_credits("team", Decimal(1))
        await until(lambda: admin.balances()[team.id] > 0, 10.0)
        client = await (await ask(port, header)).head()
        assert client.status == 200
        await client.rest()
        receipt = json.loads((await get(port, f"/v1/generation?id={client.id}", header)).received)["data"]
        assert receipt["total_cost"] == 0.6
        refunded, _ = admin.refund(client.id)
        assert refunded.amount == 6 * PICODOLLARS // 10
    sums_to_nothing(admin)


KINDS = st.sampled_from(["give", "grant", "charge", "refund", "reverse"])
OPERATIONS = st.lists(st.tuples(KINDS, st.integers(0, 5), st.integers(1, 2**66)), max_size=25)


@settings(max_examples=20, deadline=None)
@given(OPERATIONS)
def test_journal_adds_up_whatever_happens_and_however_often(operations: list[tuple[str, int, int]]):
    with TemporaryDirectory() as folder, administration(f"sqlite:///{folder}/ledger.db", "tester") as admin:
        team = admin.create_organisation(OrganisationEdit(name="team"))
        expected = 0
        charged: dict[int, int] = {}
        for number, (what, which, amount) in enumerate(operations):
            with contextlib.suppress(InvalidRequest, NotFound, Conflict):
                if what in ("give", "grant"):
                    usd = Decimal(amount % 10**19) / PICODOLLARS
                    given, new = admin.give_credits("team", usd, grant=what == "grant", reference=f"pay_{which}")
                    expected += given.amount if new else 0
                elif what == "charge" and team.id in admin.balances():
                    with opened(f"sqlite:///{folder}/ledger.db") as store, store.round() as rows:
                        began = opening(f"gen-{number}", organisation=team.id)
                        settle_entries(rows, [(settlement(began.id, charge=amount), began)], "me", 0)
                        day = day_of(began.created_at)
                        add_charges(rows, {("", day): amount, (team.id, day): amount})
                        charge(rows, {f"acc_{team.id}": Payment(amount, [began.id])}, 1, "gateway")
                    charged[number] = amount
                    expected -= amount
                elif what == "refund" and charged:
                    id = f"gen-{list(charged)[which % len(charged)]}"
                    back, new = admin.refund(id)
                    expected += back.amount if new else 0
                elif what == "reverse":
                    every = admin.transfers()
                    undone, new = admin.reverse(every[which % len(every)].id if every else "tr-1")
                    sign = 1 if undone.target.startswith("acc_") else -1
                    expected += sign * undone.amount if new else 0
        assert admin.balances().get(team.id, 0) == expected
        assert admin.check() == ([], [])
