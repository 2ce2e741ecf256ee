"""Whatever a command prints goes through one place, and nothing that it holds gives orders to a terminal."""

from __future__ import annotations

import ast
import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Infron, Terminal, start

from infron import printable
from infron.cli import check, format
from infron.cli.probe.findings import Finding, ProvenFact, as_toml
from infron.runtime.ledger.administration import Administration
from infron.runtime.ledger.usage import UsageRow

ORDER = "x\x1b]52;c;cm0=\x07\x9bm\u202e\ny"
SHOWN = "x\\u001b]52;c;cm0=\\u0007\\u009bm\\u202e\\ny"
COMMANDS = Path(format.__file__).parent


def test_commands_print_in_the_two_places_that_escape() -> None:
    for path in COMMANDS.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {name.id if isinstance(name, ast.Name) else getattr(name, "attr", "") for name in calls}
        assert path.name in ("format.py", "chat.py") or not names & {"print", "echo", "secho", "write"}, path


@pytest.mark.parametrize("words", [("--by", "model"), ("--by", "key"), ("--json",)], ids=" ".join)
def test_usage_shows_orders_in_names_instead_of_obeying_them(
    infron: Infron, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    numbers = dict.fromkeys(
        ("exchanges", "prompt", "completion", "cost", "charge", "unpriced", "uncosted", "estimated"), 1
    )
    monkeypatch.setattr(Administration, "usage", lambda *_: [UsageRow(name=ORDER, **numbers)])
    _, out, _ = infron("usage", *words)
    assert SHOWN in out
    if "--json" in words:
        assert json.loads(out)[0]["name"] == ORDER


def test_keys_show_orders_in_names_instead_of_obeying_them(infron: Infron) -> None:
    infron("keys", "create", ORDER)
    assert SHOWN in infron("keys", "list")[1]
    assert SHOWN in infron("keys", "list", "--json")[1]
    assert SHOWN in infron("keys", "revoke", ORDER)[2]


def test_error_sentences_show_orders_instead_of_obeying_them(infron: Infron) -> None:
    code, out, err = infron("providers", "probe", ORDER)
    assert (code, out) == (1, "")
    assert printable.line(err) == err


def test_check_shows_orders_in_answers_of_providers_instead_of_obeying_them(
    infron: Infron, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live(_: object) -> list[check.ProviderCheck]:
        return [check.ProviderCheck("mock", True, ORDER, 1.0)]

    monkeypatch.setattr(check, "live", live)
    monkeypatch.setattr(check, "waiting", lambda _: [ORDER])
    code, out, err = infron("check", "--live")
    assert code == 0
    assert SHOWN in out
    assert SHOWN in err


def test_probe_prints_a_table_for_the_configuration_that_holds_nothing_else() -> None:
    evil = 'm"\n[server]\nhost = "0.0.0.0"\x7f\u202e\U000e0041'
    no = ProvenFact("unknown", evil)
    finding = Finding(
        provider="my.own", model=evil, date="2026-11-28", cut_tokens=1, cut_seconds=1.0, closed_ms=None,
        whole_tokens=None, whole_seconds=None, verdict=evil, on_disconnect="cancel",
        stops_work=ProvenFact("yes", evil, "2026-11-28"), stops_billing=no, reports_partial_usage=no,
    )  # fmt: skip
    document = as_toml(finding)
    assert printable.prose(document) == document
    (row,) = tomllib.loads(document)["providers"].values()
    assert set(row) == {"on_disconnect", "stops_work"}
    assert row["stops_work"]["source"] == f"measured with {evil}: {evil}"


def test_orders_are_shown_on_a_terminal_as_in_a_pipe(
    tmp_path: Path, terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with start("keys", "create", ORDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        process.wait(10)
    assert SHOWN in terminal("keys", "list").rest()


def test_output_onto_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with (
        open("/dev/full", "wb") as full,
        start("providers", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert err == b"infron: Standard output cannot be written (No space left on device).\n"
