"""The command line as a person meets it: `serve` and `chat` as real processes, the rest as `infron` calls it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infron import config
from infron.cli import app as cli
from infron.cli import chat, keys
from infron.runtime.ledger import ledger
from infron.runtime.local import model as local

HEAD = {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": 0.00012}


def frame(text: str = "", **delta: str) -> bytes:
    delta = {"content": text, **delta} if text else delta
    return b"data: %s\n\n" % json.dumps({**HEAD, "choices": [{"index": 0, "delta": delta}]}).encode()


STOP = {"index": 0, "delta": {}, "finish_reason": "stop"}
FINISH = b"data: %s\n\n" % json.dumps({**HEAD, "choices": [STOP]}).encode()
END = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps({**HEAD, "choices": [], "usage": USAGE}).encode()


class Fake(ThreadingHTTPServer):
    """A gateway that plays a script: bytes are sent, an Event is waited for, "hang" waits until the client left."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Script)
        self.script: list[bytes | threading.Event | str] = []
        self.status = 200
        self.receipt: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Script(BaseHTTPRequestHandler):
    server: Fake
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"data": self.server.receipt}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.headers.append(dict(self.headers))
        self.send_response(self.server.status)
        self.send_header("X-Generation-Id", "gen-1")
        self.send_header("Connection", "close")
        self.end_headers()
        for step in self.server.script:
            if isinstance(step, bytes):
                self.wfile.write(step)
            elif isinstance(step, threading.Event):
                step.wait(10)
            elif self.rfile.read(1) == b"":
                self.server.left.set()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def start(*words: str, cwd: Path | None = None, **streams: Any) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INFRON_")}
    environ["PYTHONPATH"] = str(Path(cli.__file__).parents[2])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background; a child would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen([sys.executable, "-m", "infron", *words], cwd=cwd, env=environ, **streams)


def ask(fake: Fake, *words: str, text: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one `infron chat`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start("chat", "--base-url", fake.url, *words, **pipes) as process:
        out, err = process.communicate(text)
        return process.returncode, out.decode(), err.decode()


# ---- chat


def test_the_answer_goes_to_standard_output_and_one_line_about_it_to_standard_error(fake: Fake) -> None:
    fake.script = [b": Infron AI PROCESSING\n\n", frame(reasoning="hm"), frame("Hel"), frame("lo"), FINISH, END]
    code, out, err = ask(fake, "--model", "m", "--api-key", "sk-1", "Say", "hello")
    assert (code, out) == (0, "Hello\n")
    assert err.startswith("2 tokens · first after ")
    assert err.endswith(" · cost $0.00012 · receipt gen-1\n")
    assert fake.asked[0]["messages"] == [{"role": "user", "content": "Say hello"}]
    assert fake.headers[0]["Authorization"] == "Bearer sk-1"


def test_without_words_a_pipe_is_the_question(fake: Fake) -> None:
    fake.script = [frame("4"), FINISH, END]
    assert ask(fake, text=b"2+2?")[0] == 0
    assert fake.asked[0]["messages"][0]["content"] == "2+2?"
    assert fake.asked[0]["model"] == "local/smollm2-135m"


def test_ctrl_c_leaves_the_stream_and_shows_its_receipt(fake: Fake) -> None:
    fake.script = [frame("One moment"), "hang"]
    fake.receipt = {
        "outcome": "cancelled", "tokens_completion": 2, "estimated": True, "total_cost": 0.02, "upstream_closed_ms": 1.5
    }  # fmt: skip
    with start("chat", "--base-url", fake.url, "Hi", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(10) == b"One moment"
        process.send_signal(signal.SIGINT)
        assert fake.left.wait(10)
        line = "Cancelled · 2 tokens (estimated) · charge $0.02 · connection closed after 1.5 ms · receipt gen-1\n"
        assert process.stderr.read().decode() == line
        assert process.wait() == chat.CANCELLED


def test_a_reader_that_leaves_the_pipe_ends_the_stream_too(fake: Fake) -> None:
    gone = threading.Event()
    fake.script = [frame("first"), gone, frame("second"), "hang"]
    fake.receipt = {"outcome": "cancelled"}
    with start("chat", "--base-url", fake.url, "Hi", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        process.stdout.read(5)
        process.stdout.close()
        gone.set()
        assert fake.left.wait(10)
        assert process.wait() == chat.CANCELLED


@pytest.mark.parametrize(
    ("status", "script", "sentence"),
    [
        (200, [frame("a"), b'data: {"error": {"code": 502, "message": "It broke."}}\n\ndata: [DONE]\n\n'], "It broke."),
        (200, [frame("a")], "broke off its answer"),
        (200, [b"data: <html>\n\n"], "is no answer"),
        (401, [b'{"error": {"message": "A key is needed."}}'], "A key is needed. (--api-key or INFRON_API_KEY"),
        (404, [b'{"error": {"message": "No model `m`."}}'], "No model `m`."),
        (500, [b"<html>"], "status 500"),
    ],
    ids=["in-stream error", "truncated", "not JSON", "no key", "unknown model", "not ours"],
)
def test_whatever_goes_wrong_is_one_sentence(fake: Fake, status: int, script: list[bytes], sentence: str) -> None:
    fake.status, fake.script = status, list(script)
    code, _, err = ask(fake, "Hi")
    assert code == 1
    assert err.startswith("infron: ")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_refused(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert chat.run(url, None, "m", "Hi") == 1
    assert "no address of a gateway" in capfd.readouterr().err


def test_where_no_gateway_runs_it_says_how_to_start_one(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert chat.run(f"127.0.0.1:{unused.getsockname()[1]}", None, "m", "Hi") == 1
    assert "`infron serve` starts one" in capfd.readouterr().err


class Terminal:
    """`infron` on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        self.process = start(*words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> str:
        """What was shown since the last call, up to `text`."""
        deadline = time.monotonic() + 10
        while text not in self.seen:
            assert select.select([self.ours], [], [], max(0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.ours, 1 << 16).decode()
        shown, _, self.seen = self.seen.partition(text)
        return shown + text

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def close(self) -> None:
        os.close(self.ours)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(*words))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_a_conversation_remembers_survives_errors_and_ctrl_c_and_ends_with_quit(
    fake: Fake, terminal: Callable[..., Terminal]
) -> None:
    person = terminal("chat", "--base-url", fake.url)
    fake.script = [frame("Hello."), FINISH, END]
    person.until("> ")
    person.type("Hi\n")
    person.until("receipt gen-1")
    person.until("> ")
    fake.script = [b'data: {"error": {"message": "It broke."}}\n\ndata: [DONE]\n\n']
    person.type("And now?\n")
    person.until("It broke.")
    person.until("> ")
    fake.script = [frame("It is"), "hang"]
    fake.receipt = {"outcome": "cancelled", "tokens_completion": 1}
    person.type("Well?\n")
    person.until("It is")
    person.process.send_signal(signal.SIGINT)
    person.until("Cancelled · 1 token ·")
    person.until("> ")
    fake.script = [frame("Bye."), FINISH, END]
    person.type("Good bye\n")
    person.until("receipt gen-1")
    person.until("> ")
    person.type("/quit\n")
    assert person.process.wait(10) == 0
    assert [turn["content"] for turn in fake.asked[-1]["messages"]] == ["Hi", "Hello.", "Well?", "It is", "Good bye"]


def test_on_a_terminal_comments_keep_an_indicator_alive_and_reasoning_stands_apart(
    fake: Fake, terminal: Callable[..., Terminal]
) -> None:
    seen = threading.Event()
    fake.script = [b": Infron AI PROCESSING\n\n", seen, frame(reasoning="thinking"), frame("done"), FINISH, END]
    person = terminal("chat", "--base-url", fake.url, "Hi")
    person.until("Infron AI PROCESSING (0 s)")
    seen.set()
    assert "\x1b[2mthinking\x1b[0m\r\n\r\ndone" in person.until("receipt gen-1")
    assert person.process.wait(10) == 0


def test_a_model_cannot_give_orders_to_the_terminal(fake: Fake, terminal: Callable[..., Terminal]) -> None:
    fake.script = [frame("\x1b]0;owned\x07\x9bA"), frame("safe"), FINISH, END]
    person = terminal("chat", "--base-url", fake.url, "Hi")
    assert "]0;ownedAsafe" in person.until("receipt gen-1")


# ---- serve


@pytest.mark.skipif(local.missing(config.Local()) is not None, reason=local.missing(config.Local()) or "")
def test_serve_asks_its_own_api_says_how_to_go_on_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = ("serve", "--port", "0", "--ask", "What is the capital of France?")
    with start(*words, cwd=tmp_path, **pipes) as process:
        assert process.stdout
        shown = ""
        while "curl -N http://127.0.0.1:" not in shown:
            line = process.stdout.readline().decode()
            assert line, shown
            shown += line
        url = shown.split()[3].removesuffix("/v1")
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        taken = url.rpartition(":")[2]
        with start("serve", "--port", taken, cwd=tmp_path, **pipes) as second:
            out, err = second.communicate()
            assert second.returncode == 1
            assert err.decode().startswith(f"infron: Cannot listen on 127.0.0.1:{taken}: ")
            assert out == b""
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert process.returncode == 0, err
    assert "> What is the capital of France?" in shown
    assert "tokens/s" in err.decode()
    assert (tmp_path / "infron.db").exists()


# ---- the rest


@pytest.fixture
def infron(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Calls the command in an empty folder without any provider's key; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "240")
    for name in list(os.environ):
        if name.startswith("INFRON_") or "KEY" in name or "TOKEN" in name:
            monkeypatch.delenv(name)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["infron", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        if isinstance(ended.value.code, str):
            return 1, shown.out, ended.value.code
        return ended.value.code or 0, shown.out, shown.err

    return call


Infron = Callable[..., tuple[int, str, str]]


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked_by_its_name(infron: Infron) -> None:
    assert "no key yet" in infron("keys", "list")[2]
    code, out, _ = infron("keys", "create", "laptop", "--limit", "2.5")
    secret = out.strip()
    assert code == 0
    assert secret.startswith("sk-infron-")
    assert out == f"{secret}\n"
    listed = infron("keys", "list")[1]
    assert "laptop" in listed
    assert "$2.50" in listed
    assert secret not in listed
    (key,) = json.loads(infron("keys", "list", "--json")[1])
    assert (key["name"], key["limit"], key["revoked_at"]) == ("laptop", 2.5, None)
    assert infron("keys", "revoke", "laptop")[0] == 0
    assert json.loads(infron("keys", "list", "--json")[1])[0]["revoked_at"] > 0
    code, _, err = infron("keys", "revoke", "nobody")
    assert code == 1
    assert "There is no key 'nobody'" in err


def test_every_command_finds_the_ledger_of_the_named_file(infron: Infron, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "infron.toml").write_text('[ledger]\nurl = "sqlite:///money.db"\n')
    infron("keys", "create", "--config", "there/infron.toml")
    assert (tmp_path / "there" / "money.db").exists()
    assert len(json.loads(infron("keys", "list", "--config", "there/infron.toml", "--json")[1])) == 1
    assert json.loads(infron("keys", "list", "--json")[1]) == []


def test_usage_without_a_price_is_unknown_and_not_nothing(infron: Infron, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"exchanges": 2, "prompt": 1000, "completion": 5}
    found = [
        ledger.UsageRow(name="priced", cost=10**12, charge=10**12, unpriced=0, estimated=1, **row),
        ledger.UsageRow(name="unpriced", cost=0, charge=0, unpriced=2, estimated=0, **row),
    ]
    monkeypatch.setattr(ledger, "usage_rows", lambda *_: found)
    _, out, err = infron("usage")
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert lines["priced"] == ["2", "1,000", "5", "$1.00", "$1.00"]
    assert lines["unpriced"] == ["2", "1,000", "5", "unknown", "unknown"]
    assert "not in cost and charge: 2." in err
    assert "did not tell them: 1." in err


@pytest.mark.parametrize("by", ["model", "key", "day", "provider"])
def test_usage_of_an_unused_gateway_is_empty(infron: Infron, by: str) -> None:
    assert infron("usage", "--by", by) == (0, "", "Nothing was used yet.\n")
    assert json.loads(infron("usage", "--by", by, "--since", "7d", "--json")[1]) == []


def test_since_is_a_date_or_a_span(infron: Infron) -> None:
    assert keys.moment("1970-01-02", 0) == 86400
    assert keys.moment("12h", 86400) == 43200
    code, _, err = infron("usage", "--since", "yesterday")
    assert code == 1
    assert "write a date such as" in err


def test_providers_say_what_they_need_and_which_are_ready(infron: Infron, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row["id"]: row for row in json.loads(infron("providers", "--json")[1])}
    assert not rows["openai"]["usable"]
    assert "OPENAI_API_KEY" in rows["openai"]["why_not"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    shown = infron("providers")[1]
    assert "sk-secret" not in shown
    assert "set CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_API_KEY" in shown
    assert "set YI_API_KEY (uncertain)" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("openai ")]
    assert "ready" in line


def test_what_hanging_up_stops_is_told_in_a_word_or_two(infron: Infron) -> None:
    lines = {line.split()[0]: line for line in infron("providers")[1].splitlines() if line}
    for id, words in {
        "openai": "cancel   work, bill  OpenRouter 2026-08-22",
        "groq": "drain    nothing     OpenRouter 2026-08-22",
        "novita": "drain    work        Novita changelog 2026-03-27",
        "zai": "drain    unknown",
        "replicate": "call     work, bill  Replicate documentation",
    }.items():
        assert words in lines[id]


def test_a_narrow_terminal_shows_names_whole_and_leaves_out_what_has_no_room(
    terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    person = terminal("providers")
    lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", person.until("from where.")).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("google-ai-studio  gemini       drain") for line in lines)
    assert not any("known from" in line for line in lines)
    assert person.process.wait(10) == 0


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    with start("providers", "--json", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


def test_probe_refuses_to_hang_up_after_the_end_before_it_costs_anything(infron: Infron) -> None:
    code, out, err = infron("providers", "probe", "openai", "--after", "400")
    assert (code, out) == (1, "")
    assert "raise --max-tokens" in err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("opnai", "Did you mean `openai`?"),
        ("openai", "needs its key: set OPENAI_API_KEY, or api_key in [providers.openai]."),
        ("bedrock", "credentials: set AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID or AWS_PROFILE, or api_key in"),
        ("azure", "needs AZURE_RESOURCE_NAME in the environment, or base_url in [providers.azure]; and its key: set"),
        ("octoai", "is closed since 2024-10-31. What took its place: NVIDIA NIM."),
    ],
)
def test_probe_says_what_a_provider_lacks(infron: Infron, name: str, sentence: str) -> None:
    code, out, err = infron("providers", "probe", name)
    assert (code, out) == (1, "")
    assert sentence in err


@pytest.mark.parametrize("name", ["stops_work", "stops_billing", "reports_partial_usage"])
def test_providers_say_what_hanging_up_does_and_from_where_that_is_known(infron: Infron, name: str) -> None:
    for row in json.loads(infron("providers", "--json")[1]):
        assert row[name]["value"] in ("yes", "no", "unknown")
        assert row[name]["value"] == "unknown" or (row[name]["source"] and row[name]["date"])
        assert row["on_disconnect"] in ("cancel", "drain", "call")
        assert row["wire"]


def test_closed_providers_say_since_when_and_from_where_that_is_known(infron: Infron) -> None:
    rows = {row["id"]: row for row in json.loads(infron("providers", "--json")[1])}
    closed = {id for id, row in rows.items() if row["status"] == "closed"}
    never = {"lynn", "reflection"}
    assert never < closed
    for row in (rows[id] for id in closed):
        assert not row["usable"]
        assert row["notes"] in row["why_not"]
        assert row["source"]
        assert row["since"] or row["id"] in never
    assert all("never had a public API" in rows[id]["why_not"] for id in never)
    line = next(line for line in infron("providers")[1].splitlines() if line.startswith("octoai "))
    assert "closed" in line
    assert "2024-10-31" in line


def test_models_are_those_that_can_be_asked_and_all_with_all(infron: Infron, monkeypatch: pytest.MonkeyPatch) -> None:
    few = json.loads(infron("models", "--json")[1])
    every = json.loads(infron("models", "--all", "--json")[1])
    assert all(model["id"].startswith("local/") for model in few)
    assert len(every) > 60
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code, out, err = infron("models")
    assert code == 0
    assert "openai/" in out
    assert "--all" in err


def test_check_names_every_mistake_with_its_line(infron: Infron, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        '[server]\nport = 99999\nworker = 3\n\n[providers.mock]\nwire = "no-such"\nbase_url = "http://x/v1"\n'
        '\n[providers.openai]\non_disconect = "drain"\n'
    )
    code, out, _ = infron("check", "--config", "bad.toml")
    assert code == 1
    places = [line.split(":")[0] for line in out.splitlines()]
    assert places == [f"bad.toml, line {number}" for number in (2, 3, 6, 10)]
    assert "did you mean on_disconnect?" in out


def test_check_of_good_settings_says_so(infron: Infron, tmp_path: Path) -> None:
    assert infron("check") == (0, "The settings are right.\n", "")
    (tmp_path / "open.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    code, out, _ = infron("check", "--config", "open.toml")
    assert code == 1
    assert "needs an API key to exist" in out


def test_check_says_what_the_rows_of_the_file_wait_for_though_that_is_no_mistake(
    infron: Infron, tmp_path: Path
) -> None:
    (tmp_path / "rows.toml").write_text(
        '[providers.groq]\non_disconnect = "cancel"\n[providers.mine]\nwire = "openai-chat"\nbase_url = "http://h/v1"\n'
    )
    code, out, err = infron("check", "--config", "rows.toml")
    assert (code, out) == (0, "The settings are right.\n")
    assert err == "Yet Groq needs its key: set GROQ_API_KEY, or api_key in [providers.groq].\n"


def test_check_live_looks_for_credentials_where_requests_are_signed(
    infron: Infron, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFRON_LOCAL_ENABLED", "false")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "some-project")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    code, out, _ = infron("check", "--live", "--json")
    found = {answer["provider"]: answer for answer in json.loads(out)["providers"]}
    assert code == 1
    assert not found["google-vertex"]["good"]
    assert "cannot be read" in found["google-vertex"]["sentence"]
    assert found["amazon-bedrock"]["good"]
    assert "without paying" in found["amazon-bedrock"]["sentence"]


def test_check_live_asks_every_provider_that_has_a_key(infron: Infron, tmp_path: Path, fake: Fake) -> None:
    (tmp_path / "live.toml").write_text(
        "[local]\nenabled = false\n"
        f'[providers.good]\nwire = "openai-chat"\nbase_url = "{fake.url}/v1"\napi_key = "sk-1"\n'
        '[providers.dead]\nwire = "openai-chat"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "sk-2"\n'
    )
    code, out, _ = infron("check", "--live", "--config", "live.toml", "--json")
    assert code == 1
    found = {answer["provider"]: answer for answer in json.loads(out)["providers"]}
    assert found["good"]["good"]
    assert not found["dead"]["good"]
    assert set(found) == {"good", "dead"}


@pytest.mark.parametrize(
    "words", [(), ("serve",), ("chat",), ("keys",), ("keys", "create"), ("keys", "list"), ("keys", "revoke"),
              ("usage",), ("providers",), ("providers", "probe"), ("models",), ("check",)], ids=" ".join
)  # fmt: skip
def test_every_command_explains_itself_and_each_of_its_options(infron: Infron, words: tuple[str, ...]) -> None:
    code, out, _ = infron(*words, "--help")
    assert code == 0
    assert "Usage: infron" in out
    options = [line for line in out.splitlines() if line.startswith("│ ") and " --" in line]
    assert options
    assert all(line.rstrip("│ ").endswith((".", "]", ")")) for line in options), out
