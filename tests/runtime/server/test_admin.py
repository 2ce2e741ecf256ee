"""The admin API: keys, organisations, credits, streams, reports, each with a key of its own kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ledgers import until
from rawclient import ask, gateway, send

from infron.policy.editing import KeyEdit
from infron.runtime.ledger.administration import administration
from infron.runtime.server.endpoints import admin_endpoints
from infron.testing import DONE, FINISH, ScriptedProvider, Wait, frame, text

USAGE = {"prompt_tokens": 100_000, "completion_tokens": 500_000, "total_tokens": 600_000}
PRICES = {"prices": {"any": {"prompt": "1", "completion": "1"}}}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]

    @property
    def error(self) -> str:
        return self.body["error"]["message"]


class Admin:
    """Asks the admin API of a gateway whose provider answers for $0.60."""

    def __init__(self, port: int, url: str, secret: str, context: Any) -> None:
        self.port, self.url, self.secret, self.context = port, url, secret, context

    async def __call__(self, method: str, path: str, body: Any = None, *headers: str, secret: str = "") -> Answer:
        credential = f"authorization: Bearer {secret or self.secret}"
        data = b"" if body is None else json.dumps(body).encode()
        kind = ("content-type: application/json",) if body is not None else ()
        client = await send(
            self.port, method, f"/admin/v1{path}", data, credential, *kind, *headers, "connection: close"
        )
        await client.head()
        raw = await client.rest()
        client.close()
        return Answer(client.status, client.headers, json.loads(raw))

    async def usable(self, secret: str) -> None:
        """Wait until the gateway has seen this key."""
        await until(lambda: self.context.ledger.keys.find(secret) is not None, 10.0)


@contextlib.asynccontextmanager
async def administered(folder: Path, **sections: Any) -> AsyncIterator[Admin]:
    url = f"sqlite:///{folder}/ledger.db"
    with administration(url, "test") as admin:
        _, secret = admin.create_key(KeyEdit(name="ops"), "admin")
    answer = [text("Hello"), FINISH, frame(choices=[], usage=USAGE), DONE]
    async with (
        ScriptedProvider(answer) as provider,
        gateway(
            providers={"mock": provider.definition(**PRICES)},
            ledger={"url": url},
            **{"admin": {"shared": True}} | sections,
        ) as running,
    ):
        yield Admin(running.port, url, secret, running.context)


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with administered(tmp_path) as found:
        yield found


async def test_admin_keys_and_callers_keys_open_nothing_of_each_other(admin: Admin):
    made = await admin("POST", "/keys", {"name": "app"})
    assert made.status == 201
    secret = made.data["secret"]
    await admin.usable(secret)
    for credential in (secret, "sk-infron-admin-" + "A" * 43, "x"):
        refused = await admin("GET", "/keys", secret=credential)
        assert refused.status == 401
        assert "key of the admin API is needed" in refused.error
    asked = await (await ask(admin.port, f"authorization: Bearer {admin.secret}")).head()
    assert asked.status == 401
    assert "key of the admin API" in (await asked.error())["message"]
    assert (await (await ask(admin.port, f"authorization: Bearer {secret}")).head()).status == 200
    for path in ("/v1/key", "/v1/models", "/metrics"):
        client = await (await send(admin.port, "GET", path, b"", f"authorization: Bearer {admin.secret}")).head()
        assert client.status == 401, path


async def test_one_connection_proves_each_kind_of_key_anew(admin: Admin):
    # What the connection showed last was remembered, whatever it was for.
    made = (await admin("POST", "/keys", {"name": "app"})).data["secret"]
    await admin.usable(made)
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
    for credential, path, status in (
        (made, "/v1/key", 200), (made, "/admin/v1/keys", 401), (admin.secret, "/admin/v1/keys", 200),
        (admin.secret, "/v1/key", 401), (made, "/v1/key", 200),
    ):  # fmt: skip
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {credential}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
        await reader.readexactly(length)
        assert f"http/1.1 {status}" in head, path
    writer.close()


async def test_key_is_made_read_changed_and_revoked(admin: Admin):
    made = await admin(
        "POST", "/keys", {"name": "app", "budgets_usd": {"day": 0.5, "total": 2}, "models": ["mock/*"], "concurrent": 3}
    )
    id = made.data["id"]
    assert made.headers["etag"] == '"1"'
    assert made.data["secret"].startswith("sk-infron-")
    read = await admin("GET", f"/keys/{id}")
    assert "secret" not in read.data
    assert read.data["budgets_usd"] == {"day": 0.5, "total": 2.0}
    assert read.data["used"] == {
        "spent_usd": {"day": 0, "week": 0, "month": 0, "total": 0}, "live": 0, "balance_usd": None
    }  # fmt: skip
    changed = await admin("PATCH", f"/keys/{id}", {"concurrent": None, "budgets_usd": {"day": None}}, 'if-match: "1"')
    assert (changed.status, changed.headers["etag"]) == (200, '"2"')
    assert (changed.data["concurrent"], changed.data["budgets_usd"], changed.data["models"]) == (
        None, {"total": 2.0}, ["mock/*"]
    )  # fmt: skip
    lost = await admin("PATCH", f"/keys/{id}", {"concurrent": 9}, 'if-match: "1"')
    assert lost.status == 412
    assert "revision 2, not 1" in lost.error
    budget = await admin("PUT", f"/keys/{id}/budgets/week", {"ceiling_usd": 7})
    assert budget.data["budgets_usd"] == {"week": 7.0, "total": 2.0}
    assert (await admin("DELETE", f"/keys/{id}/budgets/total")).data["budgets_usd"] == {"week": 7.0}
    assert (await admin("DELETE", f"/keys/{id}", None, "if-match: 1")).status == 412
    revoked = await admin("DELETE", f"/keys/{id}")
    assert revoked.data["revoked_at"] > 0
    assert (await admin("PATCH", f"/keys/{id}", {"concurrent": 9})).status == 400
    log = (await admin("GET", f"/audit?subject={id}")).data
    assert [one["action"] for one in log] == ["key.revoke", *["key.edit"] * 3, "key.create"]
    assert {one["actor"][:10] for one in log} == {"admin:key_"}
    assert made.data["secret"] not in json.dumps(log)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/keys", {}, 400, "needs a `name`"),
        ("POST", "/keys", {"name": 5}, 400, "Expected `str`"),
        ("POST", "/keys", {"name": "x", "colour": 1}, 400, "colour"),
        ("POST", "/keys", {"name": "x", "concurrent": 0}, 400, ">= 1"),
        ("POST", "/keys", {"name": "x", "expires_at": "soon"}, 400, "expires_at"),
        ("POST", "/keys", {"name": "x", "organisation": "org_1"}, 404, "no organisation"),
        ("POST", "/keys", {"name": "x", "kind": "admin", "concurrent": 1}, 400, "asks no models"),
        ("POST", "/keys", [], 400, "Expected `object`"),
        ("PATCH", "/keys/key_1", {}, 404, "no key"),
        ("PATCH", "/keys/ops", {"name": "x"}, 404, "no key"),  # a name is no id
        ("GET", "/organisations/nobody", None, 404, "no organisation"),
        ("PUT", "/organisations/org_1/budgets/year", {"ceiling_usd": 1}, 400, "one of day, week, month, total"),
        ("PUT", "/organisations/org_1/budgets/day", {}, 400, "ceiling_usd"),
        ("POST", "/organisations/org_1/credits", {"amount_usd": 1}, 404, "no organisation"),
        ("POST", "/generations/gen-1/refund", {}, 404, "no generation"),
        ("POST", "/transfers/tr-1/reverse", {}, 404, "no transfer"),
        ("POST", "/streams/gen-1/cancel", None, 404, "no stream"),
        ("GET", "/keys?limit=0", None, 400, "`limit` must be"),
        ("GET", "/keys?after=key_9", None, 400, "`after` is none"),
        ("GET", "/usage?by=colour", None, 400, "`by` must be one of"),
        ("GET", "/usage?since=soon", None, 400, "`since` must be a time"),
        ("GET", "/nothing", None, 404, "nothing at /admin/v1/nothing"),
        ("DELETE", "/keys", None, 405, "does not take DELETE"),
    ],
)  # fmt: skip
async def test_mistakes_are_named(admin: Admin, method: str, path: str, body: Any, status: int, words: str):
    found = await admin(method, path, body)
    assert (found.status, words in found.error) == (status, True), found


async def test_lists_come_in_pages(admin: Admin):
    for name in "abcde":
        await admin("POST", "/keys", {"name": name})
        await admin("POST", "/organisations", {"name": name})
    seen, after = [], ""
    while True:
        page = await admin("GET", f"/keys?limit=2{after}")
        seen += [one["name"] for one in page.data]
        if not page.body["has_more"]:
            break
        after = f"&after={page.body['last_id']}"
    assert seen == ["ops", *"abcde"]
    first = await admin("GET", "/audit?limit=4")
    second = await admin("GET", f"/audit?limit=100&after={first.body['last_id']}")
    assert (first.body["has_more"], second.body["has_more"]) == (True, False)
    assert len(first.data) + len(second.data) == 11


async def test_organisation_is_filled_spent_and_topped_up(admin: Admin):
    team = (await admin("POST", "/organisations", {"name": "team", "budgets_usd": {"month": 50}})).data
    made = await admin("POST", "/keys", {"name": "one", "organisation": team["id"]})
    payment = {"amount_usd": 1.5, "reference": "pay_1"}
    first = await admin("POST", f"/organisations/{team['id']}/credits", payment)
    again = await admin("POST", f"/organisations/{team['id']}/credits", payment)
    assert (first.status, again.status, first.data) == (201, 200, again.data)
    assert (await admin("POST", f"/organisations/{team['id']}/credits", {**payment, "amount_usd": 2})).status == 409
    await admin.usable(made.data["secret"])
    await until(lambda: all(key.limited for key in admin.context.ledger.keys.keys.values()), 10.0)
    header = f"authorization: Bearer {made.data['secret']}"
    client = await (await ask(admin.port, header)).head()
    await client.rest()
    async with asyncio.timeout(10):  # until its end is in the ledger
        while (read := await admin("GET", f"/organisations/{team['id']}")).data["used"]["live"]:
            pass
    assert read.data["used"]["balance_usd"] == 0.9
    assert read.data["used"]["spent_usd"]["month"] == 0.6
    assert (await admin("POST", f"/generations/{client.id}/refund", {"amount_usd": 0.1})).data["amount_usd"] == 0.1
    transfers = await admin("GET", f"/organisations/{team['id']}/transfers")
    assert [one["kind"] for one in transfers.data] == ["refund", "charge", "top-up"]
    assert (await admin("GET", "/accounts")).data == [{"holder": team["id"], "balance_usd": 1.0}]
    [row] = (await admin("GET", "/usage?by=organisation&since=2020-01-01")).data
    assert (row["name"], row["exchanges"], row["charge"]) == ("team", 1, 0.6)
    assert (await admin("GET", f"/usage?by=key&organisation={team['id']}&until=86400")).data == []
    assert (await admin("POST", "/audit/run", {"repair": True})).data == {"found": [], "repaired": []}
    assert (await admin("DELETE", f"/organisations/{team['id']}")).data["closed_at"] > 0
    await until(lambda: admin.context.ledger.keys.find(made.data["secret"]) is None, 10.0)


async def test_stream_is_shown_and_stopped_by_the_operator(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    with administration(url, "test") as made:
        _, secret = made.create_key(KeyEdit(name="ops"), "admin")
        _, caller = made.create_key(KeyEdit(name="app"))
    async with (
        ScriptedProvider([text("Hello"), Wait(asyncio.Event())]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}, admin={"shared": True}) as running,
    ):
        admin = Admin(running.port, url, secret, running.context)
        client = await (await ask(running.port, f"authorization: Bearer {caller}")).head()
        await client.until(b"Hello")
        [stream] = (await admin("GET", "/streams")).data
        assert (stream["id"], stream["key"], stream["model"]) == (client.id, "app", "mock/any")
        stopped = await admin("POST", f"/streams/{client.id}/cancel")
        assert (stopped.status, stopped.data["outcome"]) == (202, None)
        await client.rest()
        assert b"cancelled by the gateway's operator" in client.received
        async with asyncio.timeout(10):  # until its end is in the ledger
            while (await admin("POST", f"/streams/{client.id}/cancel")).status != 200:
                pass
        [node] = (await admin("GET", "/nodes")).data
        assert not node["gone"]
        served = {one["id"]: one["usable"] for one in (await admin("GET", "/providers")).data}
        assert served["mock"]
        assert {one["action"] for one in (await admin("GET", f"/audit?subject={client.id}")).data} == {"stream.cancel"}


async def test_admin_api_is_at_its_own_port_alone_unless_it_is_shared(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with administered(tmp_path, admin={"port": port}) as admin:
        assert (await admin("GET", "/keys")).status == 404
        admin.port = port
        assert (await admin("GET", "/keys")).status == 200
        asked = await (await ask(port, f"authorization: Bearer {admin.secret}")).head()
        assert asked.status == 404
        client = await (await send(port, "GET", "/v1/models", b"", f"authorization: Bearer {admin.secret}")).head()
        assert client.status == 404


async def test_every_path_is_documented(admin: Admin):
    page = (Path(__file__).parents[3] / "docs/admin.md").read_text()
    for endpoint in admin_endpoints(admin.context):
        assert f"`{endpoint.method} {endpoint.path.removeprefix('/admin/v1')}`" in page
