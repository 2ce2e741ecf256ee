"""What docs/clients.md tells to write for each client, so that the tests run the very lines.

It never knows what a client is or does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs/clients.md"
LANGUAGES = ("python", "js")
ADDRESS = "http://127.0.0.1:8080"
BLOCK = re.compile(
    r"(?:^`~/(?P<path>[^`]+)`:\n\n)?^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


class Program(NamedTuple):
    language: str
    text: str
    address: str = ADDRESS  # as it stands in the text


class Lines(NamedTuple):
    """Of one client. `files` by their path in the home folder; `programs` in the order of the page."""

    variables: dict[str, str]
    files: dict[str, str]
    programs: list[Program]


def lines_of(client: str, address: str = ADDRESS) -> Lines:
    """What stands below the client's heading, with the gateway's address for the page's."""
    lines = Lines({}, {}, [])
    for block in BLOCK.finditer(_section(client)):
        text = block["text"].replace(ADDRESS, address)
        if block["path"]:
            lines.files[block["path"]] = text
        elif block["language"] == "sh":
            lines.variables.update(EXPORT.findall(text))
        elif block["language"] in LANGUAGES:
            lines.programs.append(Program(block["language"], text, address))
    return lines


def headings() -> list[str]:
    return re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE)


def _section(client: str) -> str:
    _, found, rest = PAGE.read_text().partition(f"\n### {client}\n")
    assert found, f"docs/clients.md has no heading {client!r}"
    return re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]
