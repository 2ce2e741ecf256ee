"""What the page on security says is held by tests, which exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SECURITY.md").read_text()


def test_security_page_names_tests_of_the_suite():
    source = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    there = set(re.findall(r"^\s*(?:async )?def (test_\w+)", source, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named - there == set()
    assert named


def test_security_page_names_a_test_for_each_threat():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert [row for row in rows if "`test_" not in row] == []
