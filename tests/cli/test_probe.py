"""The cancel experiment, against providers that stop, go on, tell what they billed, or tell nothing; and for real."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
from infron.cli import app as cli
from infron.cli.probe import accounts, findings
from infron.cli.probe import experiment as probe
from infron.cli.probe.findings import Finding, Report, Trial
from infron.errors import InfronError
from infron.runtime.local import model as local
from infron.settings import Config, Local
from infron.testing import DONE, ROLE, Answer, Call, Pause, Script, ScriptedProvider, delta, frame, speak, text
from infron.wires import PROVIDER_WIRES

WORDS = 60
PACE = 0.01  # seconds a word
QUICK = probe.Options(model="owner/any", after=10, max_tokens=WORDS, wait=5)
ALONE = probe.Options(model="owner/any", after=10, max_tokens=WORDS, wait=5, control=False)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of half a second are long enough here."""
    monkeypatch.setattr(findings, "LEFT_SECONDS", 0.2)


def usage(completion: int) -> dict[str, Any]:
    return {"prompt_tokens": 30, "completion_tokens": completion, "total_tokens": 30 + completion}


def story(running_usage: bool = False) -> Script:
    """WORDS tokens, a pause after each, cut at their limit."""
    steps: list[Any] = [ROLE]
    for number in range(WORDS):
        choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
        steps += [frame(choices=[choice], usage=usage(number + 1)) if running_usage else text(" word"), Pause(PACE)]
    return [*steps, delta("length"), frame(choices=[], usage=usage(WORDS)), DONE]


def as_json(value: Any, status: int = 200) -> Script:
    return [Answer(status, (("content-type", "application/json"),), json.dumps(value).encode())]


class Simulator:
    """A provider whose answers go to `story`, and all else to `tell(path, words made of the last answer)`.

    `goes_on`: it makes the whole answer whether somebody reads it or not.
    """

    def __init__(
        self, tell: Callable[[str, int], Script], *, goes_on: bool = False, running_usage: bool = False
    ) -> None:
        self._tell = tell
        self._story = story(running_usage)
        self._goes_on = goes_on
        self._asked = 0.0
        self._last: Call | None = None
        self.answers = 0

    def __call__(self, call: Call) -> Script:
        if call.method == "POST":
            self.answers += 1
            self._asked, self._last = time.monotonic(), call
            return self._story
        return self._tell(call.path, self.made)

    @property
    def made(self) -> int:
        """Words of the last answer by now."""
        if self._last is None:
            return 0
        if self._goes_on:
            return min(WORDS, int((time.monotonic() - self._asked) / PACE))
        return min(WORDS, self._last.sent // len(b"%x\r\n%b\r\n" % (len(text(" word")), text(" word"))))

    @property
    def working(self) -> bool:
        if self._last is None or self._last.finished.is_set():
            return False
        return self.made < WORDS if self._goes_on else not self._last.closed.is_set()


async def probed(
    name: str,
    script: Any,
    options: probe.Options = QUICK,
    environ: dict[str, str] | None = None,
    said: list[str] | None = None,
    **definition: Any,
) -> Finding:
    said = [] if said is None else said
    async with ScriptedProvider(script) as provider:
        given = {"base_url": provider.base_url, "api_key": "provider-key", **definition}
        return await probe.run(name, Config(providers={name: given}), options, environ or {}, said.append)


# ---- providers that tell what they billed


def generation(tokens: Callable[[int], int]) -> Callable[[str, int], Script]:
    asked = 0

    def tell(path: str, made: int) -> Script:
        nonlocal asked
        asked += 1
        assert path == "/v1/generation?id=chatcmpl-1"
        if asked == 1:
            return as_json({"error": {"code": 404, "message": "not yet"}}, 404)
        return as_json({"data": {"id": "chatcmpl-1", "cancelled": True, "native_tokens_completion": tokens(made)}})

    return tell


async def test_probe_of_a_provider_that_bills_what_it_made_says_both_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts.Account, "pause", 0.02)
    said: list[str] = []
    found = await probed("openrouter", Simulator(generation(lambda made: made)), said=said)
    assert (found.stops_work.value, found.stops_billing.value) == ("yes", "yes")
    assert (found.verdict, found.on_disconnect) == ("Disconnecting stops the work and the bill.", "cancel")
    assert found.whole_tokens == WORDS
    assert 10 <= found.cut_tokens < 20
    assert found.closed_ms is not None
    assert found.closed_ms < 100
    assert "the whole answer has 60" in found.stops_billing.source
    assert [said.index(line) for line in said if "whole answer" in line or "Disconnected after" in line] == [1, 4]


async def test_probe_of_a_provider_that_bills_all_says_nothing_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts.Account, "pause", 0.02)
    found = await probed("openrouter", Simulator(generation(lambda made: WORDS), goes_on=True))
    assert (found.stops_work.value, found.stops_billing.value, found.on_disconnect) == ("no", "no", "drain")
    assert "60 completion tokens" in found.stops_billing.source


async def test_probe_without_a_whole_answer_to_compare_with_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts.Account, "pause", 0.02)
    simulator = Simulator(generation(lambda made: made))
    found = await probed("openrouter", simulator, ALONE)
    assert simulator.answers == 1
    assert (found.stops_work.value, found.stops_billing.value, found.whole_tokens) == ("unknown", "unknown", None)
    assert "--control" in found.stops_billing.source


class Organization:
    """OpenAI's usage by the minute. `others`: requests of somebody else."""

    def __init__(self, others: int = 0) -> None:
        self.others = others
        self.keys: list[str] = []

    def __call__(self, call: Call) -> Script:
        if call.method == "POST":
            return self.simulator(call)
        self.keys.append(call.headers["authorization"])
        assert call.path.startswith("/v1/organization/usage/completions?start_time=")
        assert "bucket_width=1m" in call.path
        count = {"num_model_requests": 2 + self.others, "output_tokens": WORDS + self.simulator.made}
        other = {"model": "another-model", "num_model_requests": 9, "output_tokens": 999}
        return as_json(
            {"object": "page", "data": [{"results": []}, {"results": [{"model": "owner/any-2026", **count}, other]}]}
        )

    simulator: Simulator


@pytest.mark.parametrize(("others", "value"), [(0, "yes"), (1, "unknown")])
async def test_probe_of_openai_asks_with_an_admin_key_and_believes_it_where_nobody_else_used_the_model(
    others: int, value: str
) -> None:
    organization = Organization(others)
    organization.simulator = Simulator(lambda path, made: [])
    found = await probed("openai", organization, environ={"OPENAI_ADMIN_KEY": "admin-key"})
    assert organization.keys == ["Bearer admin-key"]
    assert found.stops_billing.value == value
    if others:
        assert "3 requests used owner/any in these minutes, 2 of them ours" in found.stops_billing.source


async def test_probe_of_openai_without_an_admin_key_says_which_is_missing() -> None:
    found = await probed("openai", Simulator(lambda path, made: as_json({}, 500)), ALONE)
    assert (found.stops_work.value, found.stops_billing.value, found.on_disconnect) == ("unknown", "unknown", None)
    assert "OPENAI_ADMIN_KEY" in found.stops_billing.source


async def test_probe_of_replicate_tells_it_to_stop_and_believes_its_prediction() -> None:
    voice = speak("replicate")
    paced = [step for _ in range(WORDS) for step in (voice.text(" word"), Pause(PACE))]
    voice.usage(30, WORDS)
    script = voice.plays([voice.start(), *paced, voice.finish()])
    assert callable(script)
    found = await probed("replicate", script, QUICK)
    assert (found.stops_work.value, found.stops_billing.value, found.on_disconnect) == ("yes", "yes", "call")
    assert found.stops_work.source == "its prediction is canceled after 0.1 s of work"
    assert found.stops_billing.source.endswith("where the whole answer took 0.5 s")


# ---- engines of one's own


def slots(working: Callable[[], bool]) -> Callable[[str, int], Script]:
    def tell(path: str, made: int) -> Script:
        if path != "/slots":
            return as_json({}, 404)
        idle = {"id": 0, "is_processing": False}
        return as_json([idle, {"id": 1, "id_task": 4, "is_processing": working(), "next_token": [{"n_decoded": made}]}])

    return tell


def gauge(working: Callable[[], bool]) -> Callable[[str, int], Script]:
    def tell(path: str, made: int) -> Script:
        if path != "/metrics":
            return as_json({}, 404)
        body = f'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name="m"}} {working():.1f}\n'
        return [Answer(200, (("content-type", "text/plain"),), body.encode())]

    return tell


@pytest.mark.parametrize("tells", [slots, gauge])
@pytest.mark.parametrize(("goes_on", "value"), [(False, "yes"), (True, "no")])
async def test_probe_of_an_engine_watches_it_at_work(tells: Any, goes_on: bool, value: str) -> None:
    simulator = Simulator(tells(lambda: simulator.working), goes_on=goes_on)
    found = await probed("mine", simulator, wire="openai-chat")
    assert found.stops_work.value == value, found.stops_work.source
    assert found.stops_billing.value == "unknown"
    assert "ms after the disconnect" in found.stops_work.source


async def test_probe_of_an_engine_that_is_busy_with_others_proves_nothing() -> None:
    found = await probed("mine", Simulator(gauge(lambda: True)), ALONE, wire="openai-chat")
    assert found.stops_work.value == "unknown"
    assert "at work for somebody else" in found.stops_work.source


async def test_probe_of_an_engine_still_at_work_after_the_wait_says_it_goes_on() -> None:
    states = iter([False])
    options = probe.Options(model="owner/any", after=10, max_tokens=WORDS, wait=0.5)
    found = await probed("mine", Simulator(gauge(lambda: next(states, True))), options, wire="openai-chat")
    assert found.stops_work.value == "no"
    assert "still at work" in found.stops_work.source


# ---- what is told in the stream, or nowhere


async def test_probe_of_a_provider_without_such_an_api_leaves_both_unknown_and_tells_the_closing() -> None:
    said: list[str] = []
    found = await probed("groq", Simulator(lambda path, made: as_json({}, 404)), ALONE, said=said)
    assert (found.stops_work.value, found.stops_billing.value, found.on_disconnect) == ("unknown", "unknown", None)
    assert found.verdict.startswith("Unknown")
    assert "Groq has no API that tells what it did or billed" in found.stops_billing.source
    assert "our connection was closed" in found.stops_work.source
    assert found.reports_partial_usage.value == "no"


async def test_probe_takes_usage_that_runs_along_in_the_stream_for_partial_usage() -> None:
    found = await probed("perplexity", Simulator(lambda path, made: as_json({}, 404), running_usage=True), ALONE)
    assert found.reports_partial_usage.value == "yes"
    assert "it had reported" in found.reports_partial_usage.source


async def test_probe_takes_a_placeholder_at_the_beginning_for_no_partial_usage() -> None:
    voice = speak("anthropic")
    paced = [step for _ in range(WORDS) for step in (voice.text(" word"), Pause(PACE))]
    steps = [voice.start(30), *paced, voice.usage(30, WORDS), voice.finish("length"), voice.done()]
    found = await probed("anthropic", voice.plays(steps), ALONE)
    assert (found.reports_partial_usage.value, found.stops_work.value) == ("no", "unknown")
    assert found.reports_partial_usage.source.startswith("it had reported 0 completion tokens when")


# ---- where there is nothing to probe


async def refused(name: str, **providers: Any) -> str:
    with pytest.raises(InfronError) as caught:
        await probe.run(name, Config(providers=providers), QUICK, {}, lambda line: None)
    assert "\n" not in caught.value.message
    return caught.value.message


async def test_probe_of_an_unknown_name_answers_with_the_nearest() -> None:
    assert await refused("opnai") == "No provider `opnai`. Did you mean `openai`? `infron providers` lists them."


async def test_probe_of_a_closed_provider_or_without_a_key_is_one_sentence() -> None:
    assert (await refused("lepton")).startswith("Lepton AI is closed since 2025-04.")
    assert "OPENAI_API_KEY" in await refused("openai")


async def test_probe_of_a_provider_that_refuses_the_key_is_one_sentence() -> None:
    body = as_json({"error": {"message": "Incorrect API key provided.", "type": "invalid_request_error"}}, 401)
    with pytest.raises(InfronError, match=r"The experiment failed: OpenAI refused the gateway's API key"):
        await probed("openai", lambda call: body)


async def test_probe_of_an_answer_that_is_over_too_soon_is_one_sentence() -> None:
    short = [ROLE, text("No."), delta("stop"), DONE]
    with pytest.raises(InfronError, match="was over before we disconnected: try a smaller --after"):
        await probed("groq", lambda call: short if call.method == "POST" else as_json({}, 404))


def test_probe_asks_the_cheapest_known_model_unless_one_is_named() -> None:
    catalog = load_catalog({}, {}, {}, wires=PROVIDER_WIRES)
    offers = {offer.id: model.id for model in catalog.models.values() for offer in model.served_by
              if offer.provider == "openai"}  # fmt: skip
    chosen = probe.model_of(catalog.providers["openai"], catalog, "")
    assert chosen in offers
    assert probe.model_of(catalog.providers["openai"], catalog, offers[chosen]) == chosen
    assert probe.model_of(catalog.providers["openai"], catalog, "ft:mine") == "ft:mine"
    with pytest.raises(InfronError, match="No model of Mine is known here: name one with --model"):
        probe.model_of(Provider(id="mine", name="Mine"), catalog, "")


# ---- what is proved by what


def judged(seen: Report | None, whole: Trial | None, *, waited: float = 5.0, seconds: float = 1.0) -> Finding:
    cut = Trial(asked=0.0, seconds=seconds, tokens=20, closed_ms=1.0)
    return findings.find(
        "p", "m", "cancel", cut=cut, whole=whole, seen=seen, why_not="nobody told", waited=waited, most=400,
        free=False, date="2026-11-25",
    )  # fmt: skip


def whole(tokens: int = 400, seconds: float = 8.0, finish: str = "length") -> Trial:
    return Trial(asked=0.0, seconds=seconds, tokens=tokens, finish=finish)


def counted(tokens: int) -> Report:
    return Report(words=f"it counted {tokens}", tokens=tokens, billed=True)


@pytest.mark.parametrize(
    ("seen", "against", "work", "billing"),
    [
        (counted(24), whole(), "yes", "yes"),
        (counted(390), whole(), "no", "no"),
        (counted(330), whole(), "yes", "yes"),  # late, but it stopped: the answer ends at its limit
        (counted(330), whole(finish="stop"), "unknown", "unknown"),  # or was shorter this time
        (counted(60), whole(finish="stop"), "yes", "yes"),
        (counted(24), whole(30), "unknown", "unknown"),  # too short an answer
        (counted(24), whole(seconds=1.1), "unknown", "unknown"),  # too quick a one
        (counted(24), None, "unknown", "unknown"),
        (counted(400), None, "no", "no"),  # as much as was allowed is all of it
        (Report(words="idle", freed=0.1), whole(), "yes", "unknown"),
        (Report(words="idle", freed=6.9), whole(), "no", "unknown"),
        (Report(words="idle", freed=0.1), None, "unknown", "unknown"),
        (Report(words="idle", freed=0.1), whole(seconds=1.1), "unknown", "unknown"),
        (Report(words="at work", working=True, final=False), whole(), "no", "unknown"),
        (Report(words="at work", working=True, final=False), None, "unknown", "unknown"),
        (Report(words="canceled", stopped=True, billed=True, seconds=1.2, whole_seconds=8.0), whole(), "yes", "yes"),
        (Report(words="canceled", stopped=True, billed=True, seconds=8.1, whole_seconds=8.0), whole(), "yes", "no"),
        (Report(words="canceled", stopped=True, billed=True, seconds=1.2), whole(), "yes", "unknown"),
        (Report(words="canceled", stopped=True, billed=True), whole(), "yes", "unknown"),
        (None, whole(), "unknown", "unknown"),
    ],
)
def test_findings_follow_from_what_was_seen_or_are_unknown(
    seen: Report | None, against: Trial | None, work: str, billing: str
) -> None:
    found = judged(seen, against)
    assert (found.stops_work.value, found.stops_billing.value) == (work, billing)
    assert found.on_disconnect == {"yes": "cancel", "no": "drain"}.get(billing)
    for fact in (found.stops_work, found.stops_billing, found.reports_partial_usage):
        assert fact.source
        assert fact.date == "2026-11-25"


def test_findings_of_a_look_that_ended_too_early_are_unknown() -> None:
    found = judged(Report(words="at work", working=True, final=False), whole(), waited=1.0)
    assert found.stops_work.value == "unknown"
    assert "--wait" in found.stops_work.source


def test_findings_can_be_pasted_into_the_configuration() -> None:
    found = judged(Report(words='it said "no\\way"', tokens=24, billed=True), whole())
    pasted = tomllib.loads(findings.as_toml(found).replace("[providers.p]", "[providers.groq]"))
    found = load_catalog(pasted["providers"], {}, {}, wires=PROVIDER_WIRES).providers["groq"]
    assert found.on_disconnect == "cancel"
    assert found.stops_billing.value == "yes"
    assert found.stops_billing.source.startswith('measured with m: it said "no\\way", where 20 were delivered')
    assert found.reports_partial_usage.date == "2026-11-25"


# ---- the command, and the bundled model


def command(*words: str, file: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "PATH": "/usr/bin:/bin", "HOME": str(file.parent)}
    given = [sys.executable, "-m", "infron", "providers", "probe", *words, "--config", str(file)]
    return subprocess.run(given, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.heavy
@pytest.mark.timeout(60)  # a real model computes, beside other tests
def test_bundled_model_really_stops(tmp_path: Path) -> None:
    if reason := local.missing(Local()):
        pytest.skip(reason)
    file = tmp_path / "infron.toml"
    file.write_text("[local]\nslots = 1\ncontext_tokens = 512\n")
    done = command("local", "--max-tokens", "240", "--after", "10", file=file)
    assert done.returncode == 0, done.stderr
    found = tomllib.loads(done.stdout)["providers"]["local"]
    assert (found["stops_work"]["value"], found["stops_billing"]["value"]) == ("yes", "yes"), done.stdout
    assert found["on_disconnect"] == "cancel"
    assert "Disconnected after" in done.stderr


def test_probe_command_says_in_one_sentence_what_stands_in_its_way(tmp_path: Path) -> None:
    file = tmp_path / "infron.toml"
    file.write_text("[local]\nenabled = false\n")
    done = command("local", file=file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "infron: The bundled model is switched off ([local] enabled).\n"
