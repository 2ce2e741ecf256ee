"""The settings: what is wrong is named with its place, old names work, variables win over the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from infron import config
from infron.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "infron.toml"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[server]\nport = 99999", "line 2: server.port: expected an integer of at most 65535."),
        ("[server]\nworker = 3", "line 2: server.worker: there is no such setting; did you mean server.workers?"),
        ("[server]\nhost = 5", "line 2: server.host: expected a string, got an integer."),
        ('[server]\ncors_origins = "x"', "line 2: server.cors_origins: expected a list, got a string."),
        ("[servr]\nx = 1", "line 1: servr: there is no such setting; did you mean server?"),
        ("[banana]\nx = 1", "line 1: banana: there is no such setting."),
        ('[log]\nformat = "xml"', 'line 2: log.format: expected "text" or "json", got \'xml\'.'),
        ('[log]\naccess = "yes"', "line 2: log.access: expected true or false, got a string."),
        ("[timeouts]\ntotal_seconds = nan", "line 2: timeouts.total_seconds: expected a number of at least 0.0."),
        ("[timeouts]\ntotal_seconds = inf", "line 2: timeouts.total_seconds: expected a number below 1000000000.0."),
        ("[timeouts]\nstall_seconds = 2026-01-01", "line 2: timeouts.stall_seconds: expected a number, got a date."),
        ("server = 3", "line 1: server: expected a table, got an integer."),
        ('path = "x"', "line 1: path: there is no such setting."),
        ("notes = []", "line 1: notes: there is no such setting."),
        ("[server]\ndrain_seconds = -1", "line 2: server.grace_seconds: expected a number of at least 0.0."),
    ],
    ids=lambda value: value if ":" in value else None,
)
def test_settings_that_are_wrong_are_named_with_their_line(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    assert config.problems(file, {}) == [f"{file}{'' if sentence[0] == ':' else ', '}{sentence}"]
    with pytest.raises(ConfigError, match=r"no such|expected") as refused:
        config.load(file, {})
    assert refused.value.message == config.problems(file, {})[0]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("INFRON_SERVER_PORT", "many", "expected an integer."),
        ("INFRON_SERVER_PORT", "99999", "expected an integer of at most 65535."),
        ("INFRON_SERVER_DRAIN_SECONDS", "soon", "expected a number."),
        ("INFRON_TIMEOUTS_TOTAL_SECONDS", "inf", "expected a number below 1000000000.0."),
        ("INFRON_LOG_ACCESS", "ja", "expected true or false."),
        ("INFRON_LOG_FORMAT", "xml", 'expected "text" or "json", got \'xml\'.'),
    ],
)
def test_variables_that_are_wrong_are_named(file: Path, name: str, value: str, sentence: str) -> None:
    file.write_text("[server]\nport = 1\n")
    with pytest.raises(ConfigError) as refused:
        config.load(file, {name: value})
    assert refused.value.message == f"{name}={value!r}: {sentence}"
    assert config.problems(file, {name: value}) == [refused.value.message]


def test_settings_of_old_names_work_and_say_so_once(file: Path) -> None:
    file.write_text("[server]\n\ndrain_seconds = 5\n")
    loaded = config.load(file, {})
    assert loaded.server.grace_seconds == 5
    assert loaded.notes == (
        f"{file}, line 3: server.drain_seconds is called server.grace_seconds now; the old name works as before.",
    )
    assert config.problems(file, {}) == []
    assert config.load(file, {"INFRON_SERVER_DRAIN_SECONDS": "7"}).server.grace_seconds == 7
    both = {"INFRON_SERVER_DRAIN_SECONDS": "7", "INFRON_SERVER_GRACE_SECONDS": "8"}
    assert config.load(None, both).server.grace_seconds == 8


def test_settings_under_both_names_are_refused(file: Path) -> None:
    file.write_text("[server]\ndrain_seconds = 5\ngrace_seconds = 6\n")
    (problem,) = config.problems(file, {})
    assert problem == (
        f"{file}, line 2: server.drain_seconds is the old name of server.grace_seconds: keep one of them."
    )


def test_paths_are_relative_to_the_file(file: Path) -> None:
    file.write_text('[ledger]\nurl = "sqlite:///money.db"\n[log]\nfile = "infron.log"\n')
    loaded = config.load(file, {})
    assert loaded.ledger_url() == f"sqlite:///{file.parent / 'money.db'}"
    assert loaded.log_file() == file.parent / "infron.log"
    assert config.load(None, {}).log_file() is None
