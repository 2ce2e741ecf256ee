"""What the log says of exchanges, answers and everything else, as text and as JSON."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from infron.money import Usage
from infron.records import Bill, FailedAttempt, Outcome, Settlement
from infron.runtime.telemetry.bugs import report_bug
from infron.runtime.telemetry.lines import Lines
from infron.runtime.telemetry.log import Handler, Log
from infron.settings import LogSection

WHOLE: dict[str, Any] = {
    "id": "gen-1", "outcome": Outcome.COMPLETED, "key_id": "key_1", "model": "openai/gpt-5.4-mini",
    "provider": "openai", "provider_model": "gpt-5.4-mini", "finish_reason": "stop",
    "bill": Bill(usage=Usage(prompt=7, completion=3), price=None, cost=12_000_000, charge=12_000_000),
    "latency_ms": 120.4, "generation_ms": 900.6,
}  # fmt: skip
CUT: dict[str, Any] = {
    **WHOLE, "outcome": Outcome.CANCELLED, "upstream_closed_ms": 1.7,
    "bill": Bill(usage=Usage(prompt=7, completion=3), price=None, estimated=True),
    "on_disconnect": "cancel: closing the connection stops openai", "dropped": ("top_k", "seed"),
    "attempts": (
        FailedAttempt(provider="groq", provider_model="m", status=429, error_type="rate_limit_exceeded", started_ms=0,
                      ended_ms=9),
    ),
}  # fmt: skip
FAILED: dict[str, Any] = {
    **WHOLE, "outcome": Outcome.FAILED, "error_type": "provider_unavailable", "error": "It broke\x1b[2J\noff.",
    "bill": Bill(usage=Usage(prompt=7, completion=3), price=None, cost=0, charge=0),
    "latency_ms": None, "generation_ms": None, "provider_model": 'a "model"',
}  # fmt: skip


class Written:
    """A log in a file, read when it is closed."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.log = Log(LogSection(**settings), Lines(path))

    def lines(self) -> list[str]:
        self.log.close()
        return self.path.read_text().splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "infron.log"


def test_exchanges_as_json_have_a_reason_and_nothing_that_has_no_value(path: Path) -> None:
    written = Written(path, format="json")
    for facts in (WHOLE, CUT, FAILED):
        written.log.settled(Settlement(**facts))
    whole, cut, failed = map(json.loads, written.lines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", whole.pop("time"))
    assert whole == {
        "event": "exchange", "level": "info", "id": "gen-1", "outcome": "completed", "reason": "stop",
        "key": "key_1", "model": "openai/gpt-5.4-mini", "provider": "openai", "provider_model": "gpt-5.4-mini",
        "prompt_tokens": 7, "completion_tokens": 3, "charge": 1.2e-05,
        "cost": 1.2e-05, "latency_ms": 120, "generation_ms": 900,
    }  # fmt: skip
    assert cut["reason"] == "cancel: closing the connection stops openai"
    assert (cut["estimated"], cut["upstream_closed_ms"], cut["dropped"]) == (True, 1, ["top_k", "seed"])
    assert cut["attempts"] == ["groq: rate_limit_exceeded (429)"]
    assert not cut.keys() & {"charge", "cost", "error"}
    assert (failed["level"], failed["reason"], failed["charge"]) == ("warning", "provider_unavailable", 0.0)
    assert failed["error"] == "It broke\x1b[2J\noff."


@pytest.mark.parametrize("facts", [WHOLE, CUT, FAILED], ids=lambda facts: facts["outcome"].value)
def test_exchanges_as_text_say_the_same_as_json(path: Path, facts: dict[str, Any]) -> None:
    lines = []
    for format in ("json", "text"):
        written = Written(path, format=format)
        written.log.settled(Settlement(**facts))
        lines.append(written.lines()[-1])  # each writes by a thread of its own
    document, line = lines
    fields = json.loads(document)
    _, level, event, *pairs = re.findall(r'(?:[^ "]|"(?:[^"\\]|\\.)*")+', line)
    assert (level.lower(), event) == (fields.pop("level"), fields.pop("event"))
    found = dict(pair.split("=", 1) for pair in pairs)
    assert found.keys() == fields.keys() - {"time"}
    for name, value in found.items():
        if isinstance(fields[name], str):
            assert (json.loads(value) if value[0] == '"' else value) == fields[name]
        elif isinstance(fields[name], float):
            assert float(value) == fields[name]
    assert line.isprintable()


@pytest.mark.parametrize(("level", "outcomes"), [("info", 3), ("warning", 1), ("error", 0)])
def test_the_level_leaves_out_what_is_less(path: Path, level: str, outcomes: int) -> None:
    written = Written(path, level=level)
    for facts in (WHOLE, CUT, FAILED):
        written.log.settled(Settlement(**facts))
    assert len(written.lines()) == outcomes


@pytest.mark.parametrize("format", ["text", "json"])
def test_answers_are_one_line_whatever_was_asked_for(path: Path, format: str) -> None:
    written = Written(path, format=format, level="error")
    written.log.answered(
        client="127.0.0.1", method="GET", path="/x\x1b\n" + "y" * 5000, status=404, seconds=0.00123, key="key_1",
        cut=True,
    )  # fmt: skip
    (line,) = written.lines()
    assert line.isprintable()
    assert len(line) < 1300
    if format == "json":
        found = json.loads(line)
        assert (found["event"], found["status"], found["ms"], found["cut"]) == ("access", 404, 1.2, True)
    else:
        assert ' INFO access client=127.0.0.1 method=GET path="/x\\u001b\\nyyy' in line
        assert line.endswith(" status=404 ms=1.2 key=key_1 cut=true")


def test_what_python_logs_goes_there_too_for_as_long_as_the_block_runs(path: Path) -> None:
    before = logging.getLogger().handlers[:]
    written = Written(path)
    with Handler(written.log):
        logging.getLogger("infron.ledger").info("one\n2")
        logging.getLogger("infron").debug("nothing")
    assert logging.getLogger().handlers == before
    (line,) = written.lines()
    assert line.endswith(" INFO infron.ledger: one\\n2")


@pytest.mark.parametrize("format", ["text", "json"])
def test_bugs_are_logged_with_their_places_and_not_with_what_was_said(path: Path, format: str) -> None:
    written = Written(path, format=format)
    with Handler(written.log):
        try:
            try:
                raise OSError(28, "No space\x1b left")
            except OSError as error:
                raise ValueError(" ".join(["a", "secret"])) from error
        except ValueError:
            report_bug("reading a request")
    lines = written.lines()
    if format == "json":
        (found,) = map(json.loads, lines)
        assert (found["event"], found["level"], found["logger"]) == ("message", "error", "infron")
        assert found["message"] == "a bug while reading a request"
        lines = found["trace"].splitlines()
        assert lines[2] == "OSError: [Errno 28] No space\x1b left"
    else:
        assert lines.pop(0).endswith(" ERROR infron: a bug while reading a request")
        assert lines[2] == "  OSError: [Errno 28] No space\\u001b left"
    assert "test_log.py" in lines[0]
    assert lines[-1].strip() == "ValueError"
    assert "a secret" not in path.read_text()
