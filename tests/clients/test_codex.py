"""OpenAI's agent Codex takes turns through the gateway as two of its settings let it, with Claude behind it.

What all applications have to bear is in test_applications.py, where it runs as it comes.
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
from rawclient import entries, receipt

from infron.testing import Call, Pause, RunningGateway, Script, ScriptedProvider, Step, gateway, speak

# The first of these tests may install the agent, which has 400 MB.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]

MODEL = "mock/claude-sonnet-4-5"
OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}


def calls_the_shell(voice: Any) -> list[Step]:
    arguments = json.dumps({"cmd": "echo from-the-shell"})
    said = [voice.start(), voice.thinking("I should look.", "c2ln"), voice.text("Looking.")]
    said += [voice.tool_call("exec_command", arguments, "toolu_1"), voice.usage(100, 20)]
    return [*said, voice.finish("tool_calls"), voice.done()]


class Turn(NamedTuple):
    """One turn of the agent. `process` ends with it; `said` are the events that it printed, once it has."""

    running: RunningGateway
    provider: ScriptedProvider
    process: asyncio.subprocess.Process

    async def said(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(60):
            printed, _ = await self.process.communicate()
        return [json.loads(line) for line in printed.splitlines()]

    async def outcomes(self) -> list[str]:
        """Of its exchanges, once they are settled, in their order."""
        async with asyncio.timeout(30):
            await self.running.context.registry.idle.wait()
        found = [await receipt(self.running.port, id) for id in await entries(self.running)]
        return [one["outcome"] for one in found]


def texts(events: list[dict[str, Any]]) -> list[str]:
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"]


@pytest.fixture
async def take_turn(codex: list[str], tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """`await take_turn(script)`: the agent has begun with a turn. `builtin`: with its own provider, at our address."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(script: Callable[[Call, int], Script], *, builtin: bool = False) -> Turn:
            counted = lambda call: script(call, len(provider.calls))  # noqa: E731
            provider = await stack.enter_async_context(ScriptedProvider(counted))
            definition = provider.definition(**speak("anthropic").definition)
            running = await stack.enter_async_context(gateway(providers={"mock": definition}, keepalive=OFTEN))
            stack.push_async_callback(running.context.registry.idle.wait)
            process = await start(codex, tmp_path, f"{running.url}/v1", builtin=builtin)
            stack.push_async_callback(kill, process)
            return Turn(running, provider, process)

        yield begin


async def start(codex: list[str], home: Path, address: str, *, builtin: bool) -> asyncio.subprocess.Process:
    own = f"""
        model_provider = "infron"
        [model_providers.infron]
        name = "Infron"
        base_url = "{address}"
        env_key = "OPENAI_API_KEY"
        wire_api = "responses"
    """
    settings = f"""
        model = "{MODEL}"
        check_for_update_on_startup = false
        {f'openai_base_url = "{address}"' if builtin else own}
        [analytics]
        enabled = false
    """
    (home / "config.toml").write_text(settings)
    keys = {"CODEX_HOME": str(home), "HOME": str(home), "OPENAI_API_KEY": "any", "CODEX_API_KEY": "any"}
    command = [*codex, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, "-C", str(home), "Say hello", stdin=nothing, stdout=pipe, stderr=nothing, env={**os.environ, **keys},
        start_new_session=True,
    )  # fmt: skip


async def kill(process: asyncio.subprocess.Process) -> None:
    """The agent and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@pytest.mark.parametrize("builtin", [False, True], ids=["own-provider", "websocket-first"])
async def test_codex_takes_a_turn_with_a_tool(take_turn: Callable[..., Any], builtin: bool) -> None:
    """It leaves as it reads the last event: an exchange is complete all the same."""
    voice = speak("anthropic")

    def script(call: Call, count: int) -> Script:
        return calls_the_shell(voice) if count == 1 else [Pause(0.5), *voice.answer("All ", "done.")]

    turn = await take_turn(script, builtin=builtin)
    events = await turn.said()
    assert turn.process.returncode == 0
    assert texts(events) == ["Looking.", "All done."]
    ran = [event["item"] for event in events if event.get("item", {}).get("type") == "command_execution"]
    assert (ran[-1]["aggregated_output"], ran[-1]["exit_code"]) == ("from-the-shell\n", 0)
    assert events[-1]["type"] == "turn.completed"
    assert events[-1]["usage"]["input_tokens"] == 107
    first, second = turn.provider.calls
    assert {"exec_command", "view_image"} < {tool["name"] for tool in first.json["tools"]}
    thought, text, called = second.json["messages"][1]["content"]
    assert (thought["signature"], text["text"], called["id"]) == ("c2ln", "Looking.", "toolu_1")
    assert "from-the-shell" in json.dumps(second.json["messages"][2])
    assert await turn.outcomes() == ["completed", "completed"]
