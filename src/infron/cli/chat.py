"""The `chat` command: asks a running gateway over its own HTTP API and shows the answer as it comes.

It never knows the gateway from inside: what it shows, any client can get.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from rich.console import Console
from rich.status import Status
from rich.text import Text

from infron.errors import ProviderUnavailable
from infron.wires import sse

with contextlib.suppress(ImportError):
    import readline  # noqa: F401  (line editing and history at the prompt)

DEFAULT_MODEL = "local/smollm2-135m"
SILENCE_SECONDS = 120.0
RECEIPT_SECONDS = 5.0
CANCELLED = 130  # exit code, as shells have it for Ctrl-C
# What a terminal would obey if a model wrote it: all control characters but line feed and tab.
_CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


class GatewayError(Exception):
    """The gateway refused, broke off, or is not there; the message is one sentence for the person at the terminal."""


class Gateway:
    """A running gateway, spoken to like any client does. `base_url` with or without `/v1`."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        address = urlsplit(base_url if "://" in base_url else f"http://{base_url}")
        try:
            port = address.port
        except ValueError:
            port = -1
        if address.scheme not in ("http", "https") or not address.hostname or port == -1:
            raise GatewayError(f"{base_url!r} is no address of a gateway; write it like http://127.0.0.1:8080.")
        self.url = f"{address.scheme}://{address.netloc}"
        self._prefix = address.path.rstrip("/").removesuffix("/v1")
        self._connect = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = address.hostname, port
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    @contextlib.contextmanager
    def open(self, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[http.client.HTTPResponse]:
        """The response to a request, if it is a 200. Leaving the block closes the connection. Raises GatewayError."""
        connection = self._connect(self._host, self._port, timeout=SILENCE_SECONDS)
        response = None
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"{self._prefix}/v1{path}", data, self._headers)
            response = connection.getresponse()
            if response.status != 200:
                raise GatewayError(_refusal(response.status, response.read(1 << 20)))
            yield response
        except ConnectionRefusedError as error:
            raise GatewayError(f"No gateway answers at {self.url}; `infron serve` starts one.") from error
        except TimeoutError as error:
            raise GatewayError(f"{self.url} was silent for {SILENCE_SECONDS:.0f} seconds.") from error
        except http.client.HTTPException as error:
            raise GatewayError(f"{self.url} broke off its answer.") from error
        except OSError as error:
            raise GatewayError(f"{self.url} cannot be reached: {error.strerror or error}.") from error
        finally:
            if response is not None:
                response.close()  # it holds the socket too
            connection.close()

    def receipt(self, id: str) -> dict[str, Any]:
        """The receipt of an exchange. Waits for its outcome, but not for ever. Raises GatewayError."""
        deadline = time.monotonic() + RECEIPT_SECONDS
        while True:
            with self.open("GET", f"/generation?id={quote(id)}") as response:
                data: dict[str, Any] = json.loads(response.read())["data"]
            if data.get("outcome") or time.monotonic() > deadline:
                return data
            time.sleep(0.05)


class Answer(msgspec.Struct):
    """What came of one question so far. Times are `time.monotonic()`."""

    asked: float
    id: str = ""
    text: str = ""
    first: float | None = None
    last: float = 0.0
    usage: dict[str, Any] | None = None
    finish: str = ""

    def summary(self) -> str:
        """One line: tokens, time to first token, tokens per second, cost, receipt."""
        usage = self.usage or {}
        tokens = usage.get("completion_tokens")
        parts = ["tokens unknown" if tokens is None else f"{tokens:,} token{'s' * (tokens != 1)}"]
        if self.first is not None:
            parts.append(f"first after {self.first - self.asked:.2f} s")
            if tokens and tokens > 1 and self.last > self.first:
                parts.append(f"{(tokens - 1) / (self.last - self.first):.0f} tokens/s")
        parts.append(f"cost {dollars(usage.get('cost'))}")
        if self.finish not in ("stop", ""):
            parts.append(f"ended by {self.finish}")
        return " · ".join([*parts, f"receipt {self.id}"])


class Screen:
    """The answer goes to standard output, so that it can be piped, and all else to standard error."""

    def __init__(self) -> None:
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)
        self._thinking = False
        self._column = 0  # not 0: a line has been begun

    def waiting(self) -> contextlib.AbstractContextManager[Status | None]:
        """A live indicator, on a terminal."""
        return self._err.status("Waiting for the answer") if self._err.is_terminal else contextlib.nullcontext()

    def thought(self, text: str) -> None:
        """Reasoning: dimmed, and only where somebody looks on."""
        if self._out.is_terminal:
            self._thinking = True
            self._out.print(Text(text.translate(_CONTROLS), style="dim"), end="", soft_wrap=True)

    def content(self, text: str) -> None:
        if self._thinking:
            self._thinking = False
            print("\n")
        try:
            print(text.translate(_CONTROLS) if self._out.is_terminal else text, end="", flush=True)
        except BrokenPipeError:  # whoever read the answer has left: so do we
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise KeyboardInterrupt from None
        self._column = 0 if text.endswith("\n") else 1

    def end(self) -> None:
        """Leave the line of the answer."""
        if self._column or self._thinking:
            print(flush=True)
        self._column, self._thinking = 0, False

    def note(self, text: str) -> None:
        self._err.print(Text(text, style="dim"), soft_wrap=True)

    def error(self, text: str) -> None:
        self._err.print(Text(text, style="red"), soft_wrap=True)


def run(base_url: str, api_key: str | None, model: str, question: str | None) -> int:
    """Ask one question, or, without one, talk until the end. Returns the exit code."""
    screen = Screen()
    try:
        gateway = Gateway(base_url, api_key)
        if question is None and sys.stdin.isatty():
            return _talk(gateway, model, screen)
        text = sys.stdin.read() if question is None else question
        return 0 if _turn(gateway, model, [{"role": "user", "content": text}], screen) else CANCELLED
    except GatewayError as error:
        screen.error(f"infron: {error}")
        return 1


def _talk(gateway: Gateway, model: str, screen: Screen) -> int:
    messages: list[dict[str, str]] = []
    screen.note(f"{model} at {gateway.url}. Ctrl-C stops an answer; /quit or Ctrl-D leaves.")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print()
            screen.note("/quit or Ctrl-D leaves.")
            continue
        if text in ("/quit", "/exit"):
            return 0
        if not text:
            continue
        messages.append({"role": "user", "content": text})
        try:
            _turn(gateway, model, messages, screen)
        except GatewayError as error:
            screen.error(str(error))
        if messages[-1]["role"] == "user":
            messages.pop()  # it got no answer, so the next one is not asked in its light


def _turn(gateway: Gateway, model: str, messages: list[dict[str, str]], screen: Screen) -> bool:
    """One question and its answer, which is added to `messages`. False if Ctrl-C cut it short. Raises GatewayError."""
    answer = Answer(time.monotonic())
    request = {"model": model, "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    try:
        _stream(gateway, request, answer, screen)
        whole = True
    except KeyboardInterrupt:
        whole = False
    finally:
        screen.end()
        if answer.text:
            messages.append({"role": "assistant", "content": answer.text})
    screen.note(answer.summary() if whole else _cancelled(gateway, answer))
    return whole


def _stream(gateway: Gateway, request: dict[str, Any], answer: Answer, screen: Screen) -> None:
    decoder, done = sse.Decoder(), False
    with contextlib.ExitStack() as shown:
        status = shown.enter_context(screen.waiting())
        with gateway.open("POST", "/chat/completions", request) as response:
            answer.id = response.headers.get("X-Generation-Id", "")
            while not done and (data := response.read1(1 << 16)):
                try:
                    events = decoder.feed(data)
                except ProviderUnavailable as error:
                    raise GatewayError(error.message) from error
                for event in events:
                    if event.comment is not None and status is not None:
                        waited = time.monotonic() - answer.asked
                        status.update(Text(f"{event.comment.decode('utf-8', 'replace')} ({waited:.0f} s)"))
                    elif event.data == b"[DONE]":
                        done = True
                    elif event.data:
                        _frame(_decoded(event.data), answer, screen, shown)
    if not done:
        raise GatewayError(f"{gateway.url} broke off its answer (receipt {answer.id}).")


def _frame(frame: dict[str, Any], answer: Answer, screen: Screen, waiting: contextlib.ExitStack) -> None:
    """Show what one frame brings; the first content ends the waiting."""
    if error := frame.get("error"):
        waiting.close()
        raise GatewayError(f"{error.get('message')} (receipt {answer.id})")
    answer.usage = frame.get("usage") or answer.usage
    for choice in frame.get("choices") or ():
        delta = choice.get("delta") or {}
        answer.finish = choice.get("finish_reason") or answer.finish
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        text = delta.get("content") or delta.get("refusal")
        if not (thought or text):
            continue
        waiting.close()
        answer.last = time.monotonic()
        answer.first = answer.first or answer.last
        if isinstance(thought, str):
            screen.thought(thought)
        if isinstance(text, str):
            answer.text += text
            screen.content(text)


def _cancelled(gateway: Gateway, answer: Answer) -> str:
    """The line that a cancelled answer ends with: its receipt."""
    if not answer.id:
        return "Cancelled before the gateway had answered, so there is no receipt to show."
    try:
        receipt = gateway.receipt(answer.id)
    except GatewayError as error:
        return f"Cancelled · receipt {answer.id} · {error}"
    except KeyboardInterrupt:
        return f"Cancelled · receipt {answer.id}"
    if receipt.get("outcome") is None:
        return f"Left · the provider answers on, at full price · receipt {answer.id}"
    tokens = receipt.get("tokens_completion")
    parts = [str(receipt["outcome"]).capitalize(), f"{tokens or 0:,} token{'s' * (tokens != 1)}"]
    parts[-1] += " (estimated)" if receipt.get("estimated") else ""
    parts.append(f"charge {dollars(receipt.get('total_cost'))}")
    if (closed := receipt.get("upstream_closed_ms")) is not None:
        parts.append(f"connection closed after {closed:.1f} ms")
    return " · ".join([*parts, f"receipt {answer.id}"])


def dollars(amount: float | None) -> str:
    """USD to read, as many digits as the amount needs, eight at most."""
    if amount is None:
        return "unknown"
    if amount < 0.01:
        return f"${amount:.8f}".rstrip("0").rstrip(".")
    return f"${amount:,.4f}" if round(amount, 2) != round(amount, 4) else f"${amount:,.2f}"


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        frame = msgspec.json.decode(data)
    except msgspec.DecodeError:
        frame = None
    if not isinstance(frame, dict):
        raise GatewayError("The gateway sent something that is no answer; is it one?")
    return frame


def _refusal(status: int, body: bytes) -> str:
    with contextlib.suppress(msgspec.DecodeError, TypeError, KeyError):
        message = str(msgspec.json.decode(body)["error"]["message"])
        return message if status != 401 else f"{message} (--api-key or INFRON_API_KEY says it to this command.)"
    return f"The gateway answered with status {status}."
