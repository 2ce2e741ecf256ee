"""The floors of the house, asserted from the source: imports point down, never sideways, never inside a function."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "infron"
FLOORS = {
    "model": 0,
    "errors": 0,
    "conversation": 0,
    "rows": 1,
    "catalog": 1,
    "config": 1,
    "wires": 2,
    "policy": 2,
    "runtime": 3,
    "cli": 4,
    "shown": 4,
    "chat": 4,
    "check": 4,
    "scripts": 4,
    "voices": 4,
    "testing": 4,
    "findings": 4,
    "accounts": 4,
    "probe": 4,
    "__main__": 5,
}
SOURCES = sorted(ROOT.rglob("*.py"))
WAITING = {"asyncio", "socket", "threading", "subprocess", "select", "signal", "sqlite3", "uvloop", "uvicorn", "time"}


def place(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, inside a function) of each import."""
    tree = ast.parse(path.read_text())
    inner = {id(node) for def_ in ast.walk(tree) if isinstance(def_, ast.FunctionDef | ast.AsyncFunctionDef)
             for node in ast.walk(def_)}  # fmt: skip
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in inner) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module != "infron"
            names = [node.module] if whole else [f"infron.{alias.name}" for alias in node.names]
            found += [(name, id(node) in inner) for name in names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_only(path: Path):
    here = place(path)
    if here == "__init__":
        return
    assert here in FLOORS, f"{here} stands on no floor"
    for module, _ in imports(path):
        if not module.startswith("infron."):
            continue
        there = module.split(".")[1]
        if there.startswith("__version"):
            continue
        if there == here:
            continue
        assert FLOORS[there] <= FLOORS[here], f"{path.name} imports {module} from a higher floor"
        assert {here, there} != {"wires", "policy"}, f"{path.name} imports {module} sideways"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_hides_in_a_function(path: Path):
    if path.name == "llama.py":
        return  # the one place: the optional native model, loaded in a process of its own
    assert [module for module, hidden in imports(path) if hidden] == []


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if place(path) in ("wires", "policy", "model", "conversation", "errors", "rows")],
    ids=lambda path: str(path.relative_to(ROOT)),
)  # fmt: skip
def test_wires_and_policy_never_wait_and_never_read_a_clock(path: Path):
    roots = {module.split(".")[0] for module, _ in imports(path)}
    assert not roots & WAITING


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_says_first_what_it_knows_and_then_what_it_must_never_know(path: Path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc, f"{path} has no docstring"
    if path.name not in ("__init__.py", "__main__.py"):
        assert "never" in doc.lower(), f"{path}: what must it never know?"
