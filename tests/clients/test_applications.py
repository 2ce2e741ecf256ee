"""Applications take turns through the gateway, with providers behind it that speak other wires than they do.

What each does after a failure is its own doing: these tests say that it can do it here as at its own provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from applications import APPLICATIONS, SAID, Application
from clients_page import lines_of
from rawclient import entries, receipt, true

from infron.testing import CUT, Call, Pause, RunningGateway, Script, ScriptedProvider, Step, Voice, Wait, gateway, speak

# The first of these tests may install the application.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

LONGEST = 120  # seconds that a turn may take on a busy machine
OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}
ALIASES = {"claude-*": "mock/any", "gpt-*": "mock/any", "openai/gpt-5.4-mini": "mock/any"}
EACH = pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
ON_EACH_WIRE = pytest.mark.parametrize(
    ("application", "wire"),
    [(application, wire) for application in APPLICATIONS for wire in application.wires],
    ids=lambda value: value if isinstance(value, str) else value.name,
)


class Turn(NamedTuple):
    """One turn of an application. `asked`: the requests of the turn itself, without those for a title."""

    running: RunningGateway
    provider: ScriptedProvider
    process: asyncio.subprocess.Process
    asked: list[Call]

    async def streams(self) -> None:
        """Its request is here, and content on its way."""
        running = self.running.context.registry.running
        await true(lambda: self.asked, LONGEST)
        await true(lambda: [one for one in running() if one.state.phase.name == "STREAMING"], LONGEST)

    async def said(self) -> str:
        """All that it printed, once it has ended."""
        async with asyncio.timeout(LONGEST):
            printed, errors = await self.process.communicate()
        return f"{printed.decode()}\n{errors.decode()}"

    async def outcomes(self) -> list[str]:
        """Of the exchanges of the turn, once they are settled, in their order."""
        async with asyncio.timeout(30):
            await self.running.context.registry.idle.wait()
        found = [await receipt(self.running.port, id) for id in await entries(self.running)]
        return [one["outcome"] for one in found]


@pytest.fixture
async def take_turn(
    request: pytest.FixtureRequest, programs: Callable[[str], Path], tmp_path: Path
) -> AsyncIterator[Callable[..., Any]]:
    """`await take_turn(application, wire, script)`: it has begun. `script`: what to say to the n-th request."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(application: Application, wire: str, script: Callable[[Voice, int], Script]) -> Turn:
            if application.folder:
                folder = request.getfixturevalue("installed")(application.folder)
            else:
                folder = programs(application.environment_of)
            program = next(folder.glob(application.program), None)
            if program is None:
                pytest.skip(f"{application.heading} has no program for this machine")
            asked: list[Call] = []

            def play(call: Call) -> Script:
                voice = speak(wire)
                if application.tool and f'"{application.tool[0]}"' not in json.dumps(call.json.get("tools")):
                    return voice.plays(voice.answer("A title"))
                asked.append(call)
                return script(voice, len(asked))

            provider = await stack.enter_async_context(ScriptedProvider(play))
            definition = provider.definition(**speak(wire).definition)
            running = await stack.enter_async_context(
                gateway(providers={"mock": definition}, aliases=ALIASES, keepalive=OFTEN)
            )
            stack.push_async_callback(running.context.registry.idle.wait)
            process = await start(application, program, tmp_path, running.url)
            stack.push_async_callback(kill, process, tmp_path)
            return Turn(running, provider, process, asked)

        yield begin


async def start(application: Application, program: Path, home: Path, address: str) -> asyncio.subprocess.Process:
    lines = lines_of(application.heading, address)
    for path, text in lines.files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    work = home / "work"
    work.mkdir()
    command = [str(program)] if os.access(program, os.X_OK) else ["node", str(program)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", "TERM": "dumb"}
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, *application.arguments, stdin=nothing, stdout=pipe, stderr=pipe, cwd=work, start_new_session=True,
        env={**environment, **application.environment, **lines.variables},
    )  # fmt: skip


async def kill(process: asyncio.subprocess.Process, home: Path) -> None:
    """The application and what it has started, which some leave behind in a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"HOME={home}".encode() in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)


def acts(voice: Voice, application: Application) -> list[Step]:
    """The model lets the application do something: by a call of its tool, or by text."""
    said, reason = [voice.start(), voice.text(application.text)], "stop"
    if application.tool:
        name, arguments = application.tool
        said.append(voice.tool_call(name, json.dumps(arguments), "toolu_1"))
        reason = "tool_calls"
    end = [voice.finish(reason), voice.usage(100, 20)]
    return [*said, *(end if voice.usage_last else reversed(end)), voice.done()]


@ON_EACH_WIRE
async def test_application_takes_a_turn_with_a_tool(take_turn, application: Application, wire: str) -> None:
    """It bears comments, and that the model is silent for longer than most clients wait for a byte."""

    def script(voice: Voice, count: int) -> Script:
        steps = acts(voice, application) if count == 1 else [Pause(6), *voice.answer("All ", "done.")]
        return voice.plays(steps)

    turn = await take_turn(application, wire, script)
    printed = await turn.said()
    assert turn.process.returncode == 0, printed
    assert "All done." in printed
    _, second = turn.asked
    assert SAID in second.body.decode()
    assert set(await turn.outcomes()) == {"completed"}


@EACH
async def test_application_that_is_interrupted_stops_the_provider(take_turn, application: Application) -> None:
    def script(voice: Voice, count: int) -> Script:
        return voice.plays([voice.start(), voice.text("Hel"), Wait(asyncio.Event())])

    turn = await take_turn(application, application.wires[0], script)
    await turn.streams()
    os.killpg(turn.process.pid, application.stopped_by)  # as a terminal does it
    async with asyncio.timeout(LONGEST):
        await turn.asked[0].closed.wait()
    await turn.said()
    assert "cancelled" in await turn.outcomes()


@EACH
async def test_application_waits_as_long_as_it_is_told_to(take_turn, application: Application) -> None:
    times: list[float] = []

    def script(voice: Voice, count: int) -> Script:
        times.append(asyncio.get_running_loop().time())
        return [voice.refuse("rate_limit", retry_after="1")] if count == 1 else voice.plays(voice.answer("Hello"))

    turn = await take_turn(application, application.wires[0], script)
    printed = await turn.said()
    assert "Hello" in printed
    assert times[1] - times[0] >= 0.9


@EACH
@pytest.mark.parametrize("failure", ["error", "cut"])
async def test_application_where_a_stream_breaks_off(take_turn, application: Application, failure: str) -> None:
    content = asyncio.Event()

    def script(voice: Voice, count: int) -> Script:
        if count > 1:
            return voice.plays(voice.answer("Hello"))
        broken = voice.error("overloaded", "Overloaded") if failure == "error" else CUT
        return voice.plays([voice.start(), voice.text("Hal"), Wait(content), broken])

    turn = await take_turn(application, application.wires[0], script)
    await turn.streams()
    content.set()
    printed = await turn.said()
    if failure in application.again:
        assert "Hello" in printed
        assert "completed" in await turn.outcomes()
    else:
        assert "Hello" not in printed
        assert len(turn.asked) == 1
    assert "failed" in await turn.outcomes()
