"""The programs of docs/clients.md, as they stand there, against a model that calls a tool and then answers.

Gemini plays the model, in its own API, which none of them speaks; Claude does for Google's library.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from applications import APPLICATIONS
from clients_page import Program, headings, lines_of

from infron.testing import Call, Pause, Script, ScriptedProvider, gateway, speak

# The first of these tests may install the libraries.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}
LIBRARIES = [heading for heading in headings() if heading not in {one.heading for one in APPLICATIONS}]
PROGRAMS = [
    pytest.param(program, id=f"{heading}-{number}")
    for heading in LIBRARIES
    for number, program in enumerate(lines_of(heading).programs, 1)
]


def says(wire: str, call: Call) -> Script:
    """A word and a call of the first tool, then what it has found. It takes its time, so that comments come."""
    voice = speak(wire)
    if "A box." in call.body.decode():
        return voice.plays(voice.answer("It is ", "a box."))
    if "tools" not in call.json:  # DSPy has its own form for fields in text
        return voice.plays(voice.answer("[[ ## answer ## ]]\n", "A box in the attic.\n\n", "[[ ## completed ## ]]"))
    tool = call.json["tools"][0]
    name = tool["functionDeclarations"][0]["name"] if wire == "gemini" else tool["name"]
    steps = [Pause(0.3), voice.start(), voice.text("Loo"), Pause(0.3), voice.text("king. "), voice.usage(9, 5)]
    steps[-1:-1] = [voice.tool_call(name, '{"place": "attic"}')]
    return voice.plays([step for step in [*steps, voice.finish("tool_calls"), voice.done()] if step])


async def command(program: Program, request: pytest.FixtureRequest, folder: Path, address: str) -> list[str]:
    file = folder / f"program.{'mjs' if program.language == 'js' else 'py'}"
    file.write_text(program.text.replace(program.address, address))
    if program.language == "python":
        lock = "clients-apart" if "llama_index" in program.text else "clients"
        return [str(request.getfixturevalue("programs")(lock) / "python"), str(file)]
    node, packages = request.getfixturevalue("node"), request.getfixturevalue("packages")
    (folder / "node_modules").symlink_to(packages / "node_modules")
    return [node, str(file)]


def test_page_has_programs() -> None:
    assert len(PROGRAMS) > 10
    assert len(LIBRARIES) > 8


@pytest.mark.parametrize("program", PROGRAMS)
async def test_library_shows_what_comes(request: pytest.FixtureRequest, tmp_path: Path, program: Program) -> None:
    wire = "anthropic" if "google" in program.text else "gemini"
    async with ScriptedProvider(lambda call: says(wire, call)) as provider:
        definition: dict[str, Any] = provider.definition(**speak(wire).definition)
        sections = {"aliases": {"openai/gpt-5.4-mini": "mock/any"}, "keepalive": OFTEN}
        async with gateway(providers={"mock": definition}, **sections) as running:
            process = await asyncio.create_subprocess_exec(
                *await command(program, request, tmp_path, running.url), cwd=tmp_path,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                async with asyncio.timeout(120):
                    printed, errors = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await asyncio.wait_for(running.context.registry.idle.wait(), 10)
    said = printed.decode()
    assert process.returncode == 0, errors.decode()
    assert ("attic" if len(provider.calls) == 1 else "a box.") in said  # those that run tools ask once more
