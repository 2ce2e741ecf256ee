from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from infron.errors import ConfigError
from infron.runtime.ledger import statements
from infron.runtime.ledger.store import LARGEST, Store, UnusableRow, repaired
from infron.runtime.ledger.stores import opened, store_of

CALLER = ("caller", None, None, None, None)
SOURCES = Path(__file__).parents[3] / "src" / "infron"
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER TABLE|PRAGMA|BEGIN|COMMIT|ROLLBACK)\b")


def strings(path: Path) -> list[str]:
    """All strings of a module but its docstrings."""
    tree = ast.parse(path.read_text())
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in constants if id(node) not in docs]


@pytest.mark.parametrize("path", sorted(SOURCES.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCES)))
def test_store_keeps_its_database_to_itself(path: Path):
    name = str(path.relative_to(SOURCES))
    if name != "runtime/ledger/sqlite.py":
        assert "sqlite3" not in path.read_text(), "the driver is one store's own affair"
    if name.removeprefix("runtime/ledger/") not in ("sqlite.py", "statements.py", "schema.py"):
        assert [text for text in strings(path) if SQL.search(text)] == []


def test_statements_number_their_parameters_without_gaps_and_hold_no_other_question_mark():
    found = [text for text in vars(statements).values() if isinstance(text, str) and SQL.search(text)]
    found += statements.USAGE_BY.values()
    assert len(found) > 20
    for statement in found:
        numbers = {int(number) for number in re.findall(r"\?(\d+)", statement)}
        assert numbers == set(range(1, len(numbers) + 1)), statement
        assert not re.search(r"\?(?!\d)|%\S|json_|sqlite|rowid|IFNULL|\bIS \?", statement), statement


def test_store_of_names_what_an_address_may_be():
    for url in ("mysql://host/db", "sqlite:///", "sqlite://x", "infron.db", ""):
        with pytest.raises(ConfigError, match=r"of the form sqlite:///"):
            store_of(url)
    with pytest.raises(ConfigError, match="PostgreSQL is not supported by this version yet"):
        store_of("postgresql+psycopg://host/db")


@pytest.fixture
def store(tmp_path: Path):
    with opened(f"sqlite:///{tmp_path}/ledger.db") as store:
        yield store


def test_store_undoes_a_round_that_was_not_finished(store: Store):
    def stumble() -> None:
        with store.round() as rows:
            rows.change(statements.CREATE_KEY, "key_1", "one", "…", "00", 1, *CALLER)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert store.reach().read(statements.KEYS) == []


def test_store_goes_on_without_a_row_that_it_cannot_take(store: Store):
    with store.round() as rows:
        found = rows.change_all(
            [
                (statements.CREATE_KEY, ("key_1", "a\ud800", "…", "01", 2**70, *CALLER)),
                (statements.CREATE_KEY, ("key_1", "the same id", "…", "02", 1, *CALLER)),
                (statements.CREATE_KEY, ("key_3", "three", "…", "03", "when", *CALLER)),
                (statements.CREATE_KEY, ("key_4", "four", "…", "04", 1, *CALLER)),
            ]
        )
        with pytest.raises(UnusableRow):
            rows.change(statements.CREATE_KEY, "key_4", "again", "…", "05", 1, *CALLER)
    assert [isinstance(one, UnusableRow) for one in found] == [False, True, True, False]
    assert [row[:2] for row in store.reach().read(statements.KEYS)] == [("key_4", "four"), ("key_1", "a?")]


def test_store_tells_of_changes_by_others_only(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    with opened(url) as one, opened(url) as other:
        one.reach()
        before = one.version()
        with one.round() as rows:
            rows.change(statements.FORGET_OWNER, "nobody")
        assert one.version() == before
        with other.round() as rows:
            rows.change(statements.CREATE_KEY, "key_1", "one", "…", "01", 1, *CALLER)
        assert one.version() != before


def test_mended_values_are_taken_by_every_store():
    assert [repaired(value) for value in ("\ud800", 2**70, -(2**70), float("nan"), 1.5, None, "ä")] == [
        "?", LARGEST, -LARGEST, None, 1.5, None, "ä",
    ]  # fmt: skip
