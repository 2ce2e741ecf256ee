"""`infron chat` as a real process, before a gateway that plays a script."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Callable

import pytest
from commands import END, FINISH, Fake, Terminal, ask, frame, start

from infron.cli import chat


def test_chat_answer_goes_to_standard_output_and_one_line_about_it_to_standard_error(fake: Fake) -> None:
    fake.script = [b": Infron AI PROCESSING\n\n", frame(reasoning="hm"), frame("Hel"), frame("lo"), FINISH, END]
    code, out, err = ask(fake, "--model", "m", "--api-key", "sk-1", "Say", "hello")
    assert (code, out) == (0, "Hello\n")
    assert err.startswith("2 tokens · first after ")
    assert err.endswith(" · cost $0.00012 · receipt gen-1\n")
    assert fake.asked[0]["messages"] == [{"role": "user", "content": "Say hello"}]
    assert fake.headers[0]["Authorization"] == "Bearer sk-1"


def test_chat_takes_a_pipe_for_the_question(fake: Fake) -> None:
    fake.script = [frame("4"), FINISH, END]
    assert ask(fake, text=b"2+2?")[0] == 0
    assert fake.asked[0]["messages"][0]["content"] == "2+2?"
    assert fake.asked[0]["model"] == "local/smollm2-135m"


def test_chat_disconnects_on_ctrl_c_and_shows_the_receipt(fake: Fake) -> None:
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


def test_chat_disconnects_when_the_reader_of_its_pipe_leaves(fake: Fake) -> None:
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
        (200, [b"data: <html>\n\n"], "is not an Infron gateway"),
        (
            401,
            [b'{"error": {"message": "A key is needed."}}'],
            "A key is needed. (Give it to this command",
        ),
        (404, [b'{"error": {"message": "No model `m`."}}'], "No model `m`."),
        (500, [b"<html>"], "status 500"),
    ],
    ids=["in-stream error", "truncated", "not JSON", "no key", "unknown model", "not ours"],
)
def test_chat_errors_are_one_sentence(fake: Fake, status: int, script: list[bytes], sentence: str) -> None:
    fake.status, fake.script = status, list(script)
    code, _, err = ask(fake, "Hi")
    assert code == 1
    assert err.startswith("infron: ")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://127.0.0.1:port"])
def test_chat_refuses_a_wrong_address(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert chat.run(url, None, "m", "Hi") == 1
    assert "is not an address" in capfd.readouterr().err


def test_chat_says_how_to_start_a_gateway_where_none_runs(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert chat.run(f"127.0.0.1:{unused.getsockname()[1]}", None, "m", "Hi") == 1
    assert "`infron serve` starts one" in capfd.readouterr().err


def test_chat_conversation_remembers_survives_errors_and_ctrl_c_and_ends_with_quit(
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


def test_chat_on_a_terminal_shows_comments_as_an_indicator_and_reasoning_apart(
    fake: Fake, terminal: Callable[..., Terminal]
) -> None:
    seen = threading.Event()
    fake.script = [b": Infron AI PROCESSING\n\n", seen, frame(reasoning="thinking"), frame("done"), FINISH, END]
    person = terminal("chat", "--base-url", fake.url, "Hi")
    person.until("Infron AI PROCESSING (0 s)")
    seen.set()
    assert "\x1b[2mthinking\x1b[0m\r\n\r\ndone" in person.until("receipt gen-1")
    assert person.process.wait(10) == 0


ORDER = "\x1b]52;c;cm0=\x07\x9bA"
SHOWN = "\\u001b]52;c;cm0=\\u0007\\u009bA"


@pytest.mark.parametrize(
    ("status", "script"),
    [
        (200, [frame(ORDER), FINISH, END]),
        (200, [frame(reasoning=ORDER), FINISH, END]),
        (200, [f": {ORDER}\n\n".encode(), frame("x"), FINISH, END]),
        (200, [frame("x"), b"data: %s\n\n" % json.dumps({"error": {"message": ORDER}}).encode()]),
        (200, [frame("x", finish_reason=ORDER), END]),
        (400, [json.dumps({"error": {"message": ORDER}}).encode()]),
    ],
    ids=["content", "reasoning", "comment", "error in the stream", "finish reason", "error"],
)
def test_chat_shows_orders_to_the_terminal_instead_of_obeying_them(
    fake: Fake, terminal: Callable[..., Terminal], status: int, script: list[bytes]
) -> None:
    fake.status, fake.script = status, list(script)
    assert SHOWN in terminal("chat", "--base-url", fake.url, "Hi").rest().replace("\r\n", "")


def test_chat_writes_into_a_pipe_what_the_model_wrote(fake: Fake) -> None:
    fake.script = [frame(ORDER), FINISH, END]
    assert ask(fake, "Hi")[1] == ORDER + "\n"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error": "no object"}', b'{"error": {"message": 5}}', b'{"choices": [5]}', b'{"choices": {"a": 1}}', b"[]",
        b'{"choices": [{"delta": []}]}', b'{"choices": [], "usage": {"completion_tokens": "many"}}',
    ],
)  # fmt: skip
def test_chat_names_an_address_where_something_else_answers(fake: Fake, answer: bytes) -> None:
    fake.script = [b"data: " + answer + b"\n\n", END]
    code, _, err = ask(fake, "Hi")
    assert (code, err) == (1, "infron: What answers there is not an Infron gateway: check --base-url.\n")
