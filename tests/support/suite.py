"""The names of the tests of this suite, for pages that name them.

It never takes tests of what is installed below tests/clients for its own.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
INSTALLED = {".venv", "node_modules"}


def names_of_tests() -> set[str]:
    files = [path for path in TESTS.rglob("test_*.py") if INSTALLED.isdisjoint(path.relative_to(TESTS).parts)]
    return {
        name for path in files for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
