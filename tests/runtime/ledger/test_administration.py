from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from ledgers import opened as started
from ledgers import running, until

from infron.errors import InvalidRequest, NotFound, PreconditionFailed
from infron.policy.access import KeyRing, identify, identify_admin
from infron.policy.editing import KeyEdit, OrganisationEdit
from infron.policy.holders import Budget
from infron.runtime.ledger import keys
from infron.runtime.ledger.administration import Administration, administration
from infron.runtime.ledger.stores import opened

NOW = 1_800_000_000.0


@pytest.fixture
def admin(url: str) -> Iterator[Administration]:
    with administration(url, "tester") as found:
        yield found


def ring(url: str, now: float = NOW) -> KeyRing:
    with opened(url) as store:
        return keys.read_ring(store.reach(), now)[0]


def test_key_is_made_with_all_that_is_said_of_it_and_edited_member_by_member(admin: Administration, url: str):
    team = admin.create_organisation(OrganisationEdit(name="team", budgets_usd={"month": Decimal(20)}))
    key, secret = admin.create_key(
        KeyEdit(
            name="laptop", organisation="team", expires_at=NOW + 1, models=["openai/*"], providers=["openai"],
            requests_per_minute=10, budgets_usd={"day": Decimal("0.5"), "total": Decimal(3)},
        )
    )  # fmt: skip
    assert ring(url).find(secret) == key
    assert (key.organisation, key.expires_at, key.revision) == (team, NOW + 1, 1)
    assert key.limits.budgets == (Budget("day", 5 * 10**11), Budget("total", 3 * 10**12))
    edited = admin.edit_key("laptop", KeyEdit(expires_at=None, requests_per_minute=None, budgets_usd={"day": None}))
    assert (edited.revision, edited.expires_at, edited.permissions) == (2, None, key.permissions)
    assert (edited.limits.requests_per_minute, edited.limits.budgets) == (None, (Budget("total", 3 * 10**12),))
    left = admin.edit_key(key.id, KeyEdit(organisation=None, models=None, providers=None, budgets_usd=None))
    assert (left.organisation, left.permissions.models, left.limits.budgets) == (None, None, ())
    assert not left.limited


def test_key_of_an_organisation_with_limits_is_limited(admin: Administration, url: str):
    admin.create_organisation(OrganisationEdit(name="team"))
    key, secret = admin.create_key(KeyEdit(name="one", organisation="team"))
    assert not key.limited
    admin.edit_organisation("team", OrganisationEdit(concurrent=5))
    found = ring(url).find(secret)
    assert found is not None
    assert found.limited
    assert found.organisation is not None
    assert found.organisation.limits.concurrent == 5


def test_changes_are_audited_with_what_was_before_and_never_with_a_secret(admin: Administration):
    key, secret = admin.create_key(KeyEdit(name="one"))
    admin.edit_key("one", KeyEdit(concurrent=3))
    admin.edit_key("one", KeyEdit(concurrent=3))  # which raises its revision, though its limits are the same
    admin.revoke_key("one")
    admin.revoke_key("one")  # which changes nothing
    found = admin.changes(key.id)
    assert [(one.actor, one.action) for one in found] == [
        ("tester", f"key.{action}") for action in ("revoke", "edit", "edit", "create")
    ]
    assert found[2].before is not None
    assert found[2].after is not None
    assert (found[3].before, found[2].before["concurrent"], found[2].after["concurrent"]) == (None, None, 3)
    assert secret not in repr(found)
    assert admin.changes(key.id, before=found[1].id, limit=1) == found[2:3]
    assert admin.changes("key_other") == []


def test_update_that_would_be_lost_is_refused(admin: Administration):
    # Two people read the same key, and the second change took the first one back.
    key, _ = admin.create_key(KeyEdit(name="one"))
    admin.edit_key(key.id, KeyEdit(concurrent=3), revision=1)
    with pytest.raises(PreconditionFailed, match="revision 2"):
        admin.edit_key(key.id, KeyEdit(concurrent=5), revision=1)
    with pytest.raises(PreconditionFailed):
        admin.revoke_key(key.id, revision=1)
    team = admin.create_organisation(OrganisationEdit(name="team"))
    with pytest.raises(PreconditionFailed):
        admin.edit_organisation(team.id, OrganisationEdit(name="other"), revision=7)
    assert admin.key(key.id).limits.concurrent == 3


def test_what_cannot_be_is_refused_in_a_sentence_and_leaves_nothing(admin: Administration):
    admin.create_organisation(OrganisationEdit(name="team"))
    for edit, match in (
        (KeyEdit(), "needs a `name`"),
        (KeyEdit(name="x", organisation="nobody"), "no organisation 'nobody'"),
        (KeyEdit(name="x", budgets_usd={"day": Decimal(-1)}), "dollars from 0"),
        (KeyEdit(name="x", expires_at="soon"), "expires_at"),
    ):
        with pytest.raises((InvalidRequest, NotFound), match=match):
            admin.create_key(edit)
    with pytest.raises(InvalidRequest, match="asks no models"):
        admin.create_key(KeyEdit(name="x", concurrent=1), "admin")
    with pytest.raises(InvalidRequest, match="already"):
        admin.create_organisation(OrganisationEdit(name="team"))
    assert admin.list_keys() == []
    assert [one.action for one in admin.changes()] == ["organisation.create"]
    admin.close_organisation("team")
    with pytest.raises(InvalidRequest, match="closed"):
        admin.create_key(KeyEdit(name="x", organisation="team"))
    with pytest.raises(InvalidRequest, match="closed"):
        admin.edit_organisation("team", OrganisationEdit(name="y"))
    again = admin.create_organisation(OrganisationEdit(name="team"))
    assert admin.organisation("team") == again


def test_admin_key_opens_nothing_but_the_admin_api(admin: Administration, url: str):
    key, secret = admin.create_key(KeyEdit(name="ops"), "admin")
    _, caller = admin.create_key(KeyEdit(name="app"))
    found = ring(url)
    assert secret.startswith("sk-infron-admin-")
    assert identify_admin(found, secret) == key
    for credential in (caller, None, "", secret[:-1], "sk-infron-admin-"):
        with pytest.raises(Exception, match="admin API"):
            identify_admin(found, credential)
    with pytest.raises(Exception, match="This is a key of the admin API"):
        identify(found, secret)
    admin.revoke_key("ops")
    with pytest.raises(Exception, match="admin API"):
        identify_admin(ring(url), secret)


async def test_expired_key_is_refused_as_soon_as_it_is_though_nobody_writes(url: str, admin: Administration):
    # Keys were only read again when the ledger had changed.
    now = NOW
    _, secret = admin.create_key(KeyEdit(name="one", expires_at=NOW + 100))
    async with running(url, clock=lambda: now) as ledger:
        assert identify(ledger.keys, secret)
        now = NOW + 100
        await until(lambda: ledger.keys.find(secret) is None, 10.0)
        with pytest.raises(Exception, match="expired at 2027-01-15 08:01 UTC"):
            identify(ledger.keys, secret)
        admin.edit_key("one", KeyEdit(expires_at=NOW + 200))
        await until(lambda: ledger.keys.find(secret) is not None, 10.0)


async def test_closed_organisation_has_no_usable_keys(url: str, admin: Administration):
    admin.create_organisation(OrganisationEdit(name="team"))
    _, secret = admin.create_key(KeyEdit(name="one", organisation="team"))
    async with running(url) as ledger:
        assert identify(ledger.keys, secret)
        admin.close_organisation("team")
        await until(lambda: ledger.keys.find(secret) is None, 10.0)
        with pytest.raises(Exception, match="organisation of this API key is closed"):
            identify(ledger.keys, secret)


def test_questions_make_no_ledger(url: str, admin: Administration):
    assert (admin.list_keys(), admin.list_organisations(), admin.changes()) == ([], [], [])
    for ask in (admin.key, admin.organisation, admin.revoke_key, admin.close_organisation):
        with pytest.raises(NotFound):
            ask("one")
    with opened(url) as store:
        assert not store.exists()


async def test_keys_are_not_read_again_for_marks_and_top_ups(url: str, admin: Administration):
    # Each stop of a stream elsewhere let every process read ten thousand keys again.
    admin.create_key(KeyEdit(name="one"))
    admin.give_credits("one", Decimal(1))
    async with running(url) as ledger:
        before = ledger.keys
        admin.give_credits("one", Decimal(1))
        assert await started(ledger, "gen-1")
        stopped: list[object] = []
        ledger.serve(lambda id, stop: stopped.append(id), list)
        admin.cancel_stream("gen-1")
        await until(lambda: bool(stopped), 10.0)
        assert ledger.keys is before
        admin.edit_key("one", KeyEdit(concurrent=1))
        await until(lambda: ledger.keys is not before, 10.0)
