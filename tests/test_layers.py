"""The floors of the house, asserted from the source: imports point down, never sideways, never round in a circle.

Imports under `TYPE_CHECKING` count like any others. Sizes are asserted too; an exception states its reason beside it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "infron"
FLOORS = {
    "errors": 0,
    "money": 0,
    "conversation": 0,
    "request": 0,
    "events": 0,
    "records": 0,
    "printable": 0,
    "toml_lines": 0,
    "config": 1,
    "settings": 1,
    "catalog": 1,
    "wires": 2,
    "policy": 2,
    "runtime": 3,
    "cli": 4,
    "testing": 4,
    "__main__": 5,
}
PURE = ("errors", "money", "conversation", "request", "events", "records", "printable", "toml_lines", "wires", "policy")
WAITING = {"asyncio", "socket", "threading", "subprocess", "select", "signal", "sqlite3", "uvloop", "uvicorn", "time"}

FILE_LINES, FUNCTION_LINES, CLASS_LINES = 450, 60, 300
# What is longer, and why it is still one thing.
LONG_FILES = {}
LONG_FUNCTIONS: dict[str, str] = {}
LONG_CLASSES: dict[str, str] = {}
# The places where an import stands inside a function, and why.
HIDDEN = {"runtime/local/llama.py": "the optional native model, loaded in a process of its own"}

SOURCES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(("infron", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCES
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, inside a function) of each import."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inner
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in MODULES else node.module), id(node) in inner


IMPORTS = {module: sorted({there for there, _ in imports(path)} - {module}) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", [module for module in MODULES if module != "infron"])
def test_imports_point_down_only(module: str):
    here = room(module)
    assert here in FLOORS, f"{here} stands on no floor"
    for imported in IMPORTS[module]:
        if not imported.startswith("infron.") or room(imported) == here:
            continue
        there = room(imported)
        assert FLOORS[there] <= FLOORS[here], f"{module} imports {imported} from a higher floor"
        assert {here, there} != {"wires", "policy"}, f"{module} imports {imported} sideways"


def circle() -> list[str]:
    """The modules of one circle of imports, in order; none where there is no circle."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for imported in IMPORTS.get(module, ()):
            if found := walk(imported, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in MODULES if (found := walk(module, []))), [])


def test_imports_never_go_round_in_a_circle():
    assert circle() == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_never_hide_in_a_function(path: Path):
    if name(path) not in HIDDEN:
        assert [module for module, hidden in imports(path) if hidden] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module != "infron" and room(module) in PURE])
def test_wires_and_policy_never_wait_and_never_read_a_clock(module: str):
    assert not {imported.split(".")[0] for imported in IMPORTS[module]} & WAITING


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_modules_say_first_what_they_do_and_then_what_they_must_never_know(path: Path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc, f"{path} has no docstring"
    if path.name not in ("__init__.py", "__main__.py"):
        assert "never" in doc.lower(), f"{path}: what must it never know?"


def sized(path: Path, *kinds: type[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, kinds):
            yield f"{name(path)}:{node.name}", node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


def test_files_are_short():
    long = {name(path): size for path in SOURCES if (size := len(path.read_text().splitlines())) > FILE_LINES}
    assert long.keys() == LONG_FILES.keys(), long


def test_functions_are_short():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {what: size for path in SOURCES for what, size in sized(path, *kinds) if size > FUNCTION_LINES}
    assert long.keys() == LONG_FUNCTIONS.keys(), long


def test_classes_are_short():
    long = {what: size for path in SOURCES for what, size in sized(path, ast.ClassDef) if size > CLASS_LINES}
    assert long.keys() == LONG_CLASSES.keys(), long
