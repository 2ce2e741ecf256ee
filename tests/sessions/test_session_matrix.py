"""Agents' sessions through a gateway: each client API in front of each provider's, with changes of model on the way.

Client libraries give their answers back as they made them; strict fakes judge each request by its provider's rules
(support/rules.py), and answer with thinking between calls, parallel calls and signatures.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from agents import AGENTS, TOOLS, Agent, Called
from rules import RULES, judged

from infron.testing import Call, ScriptedProvider, gateway, speak
from infron.testing.gemini import GeminiVoice
from infron.testing.scripts import Script, Voice

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What answers: the wire that it speaks, and the model that is asked there.
_OF_ITS_OWN = ("anthropic", "bedrock", "cloudflare", "cohere", "gemini", "openai-responses", "replicate")
WIRES = {name: name if name in _OF_ITS_OWN else "openai-chat" for name in RULES}
MODELS = {
    "anthropic": "claude-opus-5",
    "bedrock": "us.anthropic.claude-sonnet-4-6",
    "gemini": "gemini-3.1-pro",
    "replicate": "openai/gpt-5",
}
SHIPPED = ("openai", "deepseek", "mistral", "groq", "cerebras", "fireworks")
ON_THE_WAY = ("anthropic", "gemini", "deepseek", "bedrock", "openai-chat")


class Host:
    """A provider that judges what it is asked, and answers with so many calls, for as long as `calls` says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wire = WIRES[name]
        self.calls = 0
        self.asked: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self._number = itertools.count()
        self._playing: Any = None

    def script(self, call: Call) -> Script:
        voice = speak(self.wire)
        if self.wire == "replicate" and not (call.method == "POST" and call.path.endswith("/predictions")):
            played: Script = self._playing(call)  # the stream of what was asked before
            return played
        rules = self.name
        if call.path.endswith("/responses") and self.wire == "openai-chat":  # it has both of OpenAI's APIs
            voice, rules = speak("openai-responses"), "openai-responses"
        body = call.json
        self.asked.append(body)
        try:
            wrong = judged(rules, body)
        except Exception as error:  # so that nobody waits for an answer
            wrong = repr(error)
        if wrong is not None:
            self.refused.append(wrong)
            return [voice.refuse("invalid", f"{self.name} refuses this: {wrong}")]
        steps = [voice.start(), *self._said(voice, _names_in(body)), voice.done()]
        self._playing = voice.plays([step for step in steps if step])
        return self._playing(call) if callable(self._playing) else self._playing

    def _said(self, voice: Voice, names: list[str]) -> Iterator[bytes]:
        number = next(self._number)
        calls = min(self.calls, len(names)) if self.wire != "replicate" else 0
        thinks = voice.wire in ("anthropic", "bedrock", "gemini", "openai-responses") or self.name == "deepseek"
        signature = {"anthropic": "claude", "bedrock": "claude", "openai-responses": "openai"}.get(voice.wire, "")
        for place in range(calls):
            if thinks and (place == 0 or voice.wire in ("anthropic", "bedrock")):
                yield voice.thinking(f"Hm {place}.", f"{signature}-{number}-{place}" if signature else "")
            yield self._call(voice, names[place], number, place)
        if not calls:
            yield voice.text("Done. ")
        usage, finish = voice.usage(7, 3), voice.finish("tool_calls" if calls else "stop")
        yield from (finish, usage) if voice.usage_last else (usage, finish)

    def _call(self, voice: Voice, name: str, number: int, place: int) -> bytes:
        if isinstance(voice, GeminiVoice):
            signature = "" if place else f"gem-{number}"
            arguments = json.dumps({"signed_as": signature} if signature else {"n": 1})
            return voice.tool_call(name, arguments, f"call_{place}", signature)
        # Claude's ids are its own; many others number anew in each answer.
        id = f"toolu_{number}_{place}" if self.wire in ("anthropic", "bedrock") else f"call_{place}"
        return voice.tool_call(name, '{"n": 1.50}', id)


def _names_in(body: dict[str, Any]) -> list[str]:
    """Of the tools that are offered."""
    if "tools" in body.get("toolConfig", {}):
        return [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]]
    names = []
    for tool in body.get("tools", []):
        listed = tool.get("functionDeclarations") or [tool.get("function", tool)]
        names += [each["name"] for each in listed]
    return names


class Stage(NamedTuple):
    url: str
    hosts: dict[str, Host]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        hosts, providers = {}, {}
        for name in RULES:
            host = hosts[name] = Host(name)
            provider = await stack.enter_async_context(ScriptedProvider(host.script))
            definition = provider.definition(**speak(host.wire).definition)
            providers[name] = {"base_url": provider.base_url, "api_key": "k" * 20} if name in SHIPPED else definition
        running = await stack.enter_async_context(gateway(providers=providers))
        yield Stage(running.url, hosts)


@pytest_asyncio.fixture(loop_scope="module")
async def agent_of(stage: Stage) -> AsyncIterator[Any]:
    agents: list[Agent] = []

    def make(api: str) -> Agent:
        agents.append(AGENTS[api](stage.url))
        return agents[-1]

    yield make
    for agent in agents:
        await agent.close()
    for host in stage.hosts.values():
        host.refused.clear()


async def turn(stage: Stage, agent: Agent, name: str, calls: int, stream: bool) -> list[Called]:
    """One answer of this host, with so many calls. What it calls are the agent's own tools."""
    stage.hosts[name].calls = calls
    called = await agent.answer(f"{name}/{MODELS.get(name, 'm')}", stream)
    assert stage.hosts[name].refused == []
    assert {call.name for call in called} <= set(TOOLS)
    assert len(called) == (0 if name == "replicate" else calls)
    return called


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("api", AGENTS)
async def test_session_goes_on_at_each_provider_in_each_client_api(
    stage: Stage, agent_of: Any, api: str, name: str, stream: bool
) -> None:
    agent = agent_of(api)
    agent.ask("Look.")
    for calls in (2, 1):
        if called := await turn(stage, agent, name, calls, stream):
            agent.results(called)
        else:
            agent.ask("Go on.")
    await turn(stage, agent, name, 0, stream)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("api", AGENTS)
async def test_session_goes_on_after_changes_of_model(stage: Stage, agent_of: Any, api: str, name: str) -> None:
    agent = agent_of(api)
    agent.ask("Look.")
    for place, host in enumerate((*ON_THE_WAY, name)):
        if called := await turn(stage, agent, host, 2, stream=place % 2 == 0):
            agent.results(called)
    agent.ask("Go on.")
    for place, host in enumerate((name, *ON_THE_WAY)):  # back to those whose own thinking is in it
        await turn(stage, agent, host, 0, stream=place % 2 == 1)
        agent.ask("Go on.")


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("api", AGENTS)
async def test_session_goes_on_after_it_was_interrupted_and_cut(
    stage: Stage, agent_of: Any, api: str, name: str
) -> None:
    agent = agent_of(api)
    agent.ask("Look.")
    for host in ("gemini", "openai-chat"):
        agent.results(await turn(stage, agent, host, 2, stream=True))
    (lost, kept) = await turn(stage, agent, "anthropic", 2, stream=True)
    agent.results([kept])  # the other one was interrupted
    agent.ask("Stop. Go on.")
    await turn(stage, agent, name, 1, stream=True)  # and so is this one
    agent.ask("Stop.")
    agent.turns = agent.turns[4:]  # the context was cut in the middle of calls
    await turn(stage, agent, name, 0, stream=False)
    assert lost.id != kept.id


@pytest.mark.parametrize("api", AGENTS)
async def test_thoughts_stand_at_claude_where_claude_had_them(stage: Stage, agent_of: Any, api: str) -> None:
    # Between its calls; in another order Anthropic refuses the session.
    agent = agent_of(api)
    agent.ask("Look.")
    agent.results(await turn(stage, agent, "anthropic", 2, stream=True))
    agent.results(await turn(stage, agent, "gemini", 1, stream=True))
    await turn(stage, agent, "anthropic", 0, stream=True)
    kinds = [block["type"] for block in stage.hosts["anthropic"].asked[-1]["messages"][1]["content"]]
    assert kinds == ["thinking", "tool_use", "thinking", "tool_use"]
