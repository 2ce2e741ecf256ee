"""The types of the pages' scripts, as their comments state them, are checked by TypeScript."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fetched import installed_in

TYPES = Path(__file__).parent / "types"
PAGE = Path(__file__).parents[2] / "src/infron/web/chat"


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    compiler = installed_in(TYPES) / "node_modules/typescript/bin/tsc"
    return subprocess.run([node, str(compiler), "--project", str(folder)], capture_output=True, text=True, timeout=50)


def test_types_of_the_page_fit() -> None:
    found = checked(TYPES)
    assert (found.returncode, found.stdout) == (0, "")


def test_types_that_do_not_fit_are_found(tmp_path: Path) -> None:
    """Else nothing would be checked, and nobody told."""
    for file in PAGE.iterdir():
        text = file.read_text()
        (tmp_path / file.name).write_text(text.replace("tell({ head:", "tell({ heat:"))
    (tmp_path / "tsconfig.json").write_text(
        (TYPES / "tsconfig.json").read_text().replace("../../../src/infron/web", ".")
    )
    found = checked(tmp_path)
    assert "heat" in found.stdout
    assert found.returncode != 0
