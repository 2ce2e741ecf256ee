"""The four programs of the page that defines streaming, as they stand there but for address, key and model."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from infron.testing import DONE, FINISH, ROLE, USAGE, Wait, text

PAGE = Path(__file__).parent / "page"
WORDS = ["Höher", " — 高い", " 🏗️", "\u2028 and\u0085so on"]
SUFFIX = {"py": "py", "ts": "mjs"}  # the TypeScript of the page has no types in it: node runs it as it is


def written(name: str, base_url: str, folder: Path) -> str:
    """The program with its three blanks filled in."""
    source = (PAGE / f"{name}.txt").read_text()
    filled, addresses = re.subn(r"https://[^/]+/v1", base_url, source)
    filled, keys = re.subn(r"\$?\{\{\{API_KEY\}\}\}|\$\{API_KEY\}|\{\{API_KEY\}\}", "sk-any", filled)
    filled, models = re.subn(r"\{\{MODEL\}\}", "mock/any", filled)
    assert (addresses, keys, models) == (1, 1, 1)
    stem, _, language = name.partition(".")
    path = folder / f"{stem}.{SUFFIX[language]}"
    path.write_text(filled)
    return str(path)


@pytest.fixture
def interpreter(request: pytest.FixtureRequest) -> str:
    return sys.executable if request.param == "py" else str(request.getfixturevalue("node"))


BOTH = pytest.mark.parametrize(("interpreter", "language"), [("py", "py"), ("ts", "ts")], indirect=["interpreter"])


@BOTH
async def test_the_streaming_program_prints_every_word_as_it_comes(stage, start, tmp_path, interpreter, language):
    gate = asyncio.Event()
    script = [ROLE, text(WORDS[0]), text(WORDS[1]), Wait(gate), *map(text, WORDS[2:]), FINISH, USAGE, DONE]
    there = await stage(script, keepalive={"first_seconds": 0.1, "every_seconds": 0.1})
    program = await start(interpreter, written(f"stream.{language}", there.base_url, tmp_path))
    await program.until(WORDS[1])
    gate.set()
    printed = await program.end()
    assert printed == ("".join(WORDS) if language == "py" else "\n".join(WORDS) + "\n")


@BOTH
async def test_the_cancelling_program_stops_the_provider(stage, start, tmp_path, interpreter, language):
    there = await stage([ROLE, text("Once"), Wait(asyncio.Event())])
    program = await start(interpreter, written(f"cancel.{language}", there.base_url, tmp_path))
    call = await asyncio.wait_for(there.provider.called(), 30)
    await asyncio.wait_for(call.closed.wait(), 30)
    await program.end()
    await asyncio.wait_for(there.running.context.registry.idle.wait(), 5)


async def test_the_cancelling_program_stops_the_provider_at_a_comment(stage, start, tmp_path):
    """It hangs up at the first line, which may be a comment that came before the provider has answered."""
    there = await stage([Wait(asyncio.Event())], keepalive={"first_seconds": 0.1, "every_seconds": 0.1})
    program = await start(sys.executable, written("cancel.py", there.base_url, tmp_path))
    call = await asyncio.wait_for(there.provider.called(), 30)
    await asyncio.wait_for(call.closed.wait(), 30)
    await program.end()
