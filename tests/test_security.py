"""What the page on security says is held by tests, which exist."""

import re
from pathlib import Path

from suite import names_of_tests

PAGE = (Path(__file__).parents[1] / "SECURITY.md").read_text()


def test_security_page_names_tests_of_the_suite():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named - names_of_tests() == set()
    assert named


def test_security_page_names_a_test_for_each_threat():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert [row for row in rows if "`test_" not in row] == []
