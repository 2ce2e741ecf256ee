"""The `chat` command: asks a running gateway over its own HTTP API and shows the answer as it comes.

It never knows the gateway from inside: what it shows, any client can get.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

import msgspec
from rich.console import Console
from rich.status import Status
from rich.text import Text

from infron import printable
from infron.cli.gateway import Gateway, GatewayError, StreamedDelta, StreamedFrame, StreamedUsage, decoded
from infron.errors import ProviderUnavailable
from infron.wires import sse

with contextlib.suppress(ImportError):
    import readline  # noqa: F401  (line editing and history at the prompt)

DEFAULT_MODEL = "local/smollm2-135m"
CANCELLED = 130  # exit code, as shells have it for Ctrl-C


class StreamedAnswer(msgspec.Struct):
    """What came of one question so far. Times are `time.monotonic()`."""

    asked: float
    id: str = ""
    text: str = ""
    first: float | None = None
    last: float = 0.0
    usage: StreamedUsage | None = None
    finish: str = ""

    def summary(self) -> str:
        """One line: tokens, time to first token, tokens per second, cost, receipt."""
        usage = self.usage or StreamedUsage()
        tokens = usage.completion_tokens
        parts = ["tokens unknown" if tokens is None else f"{tokens:,} token{'s' * (tokens != 1)}"]
        if self.first is not None:
            parts.append(f"first after {self.first - self.asked:.2f} s")
            if tokens and tokens > 1 and self.last > self.first:
                parts.append(f"{(tokens - 1) / (self.last - self.first):.0f} tokens/s")
        parts.append(f"cost {dollars(usage.cost)}")
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

    def reasoning(self, text: str) -> None:
        """Reasoning: dimmed, and only where somebody looks on."""
        if self._out.is_terminal:
            self._thinking = True
            self._out.print(Text(printable.prose(text), style="dim"), end="", soft_wrap=True)

    def content(self, text: str) -> None:
        if self._thinking:
            self._thinking = False
            print("\n")
        try:
            print(printable.prose(text) if self._out.is_terminal else text, end="", flush=True)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # whoever read the answer has left: so do we
                raise KeyboardInterrupt from None
            raise GatewayError(f"Standard output cannot be written ({error.strerror}).") from error
        self._column = 0 if text.endswith("\n") else 1

    def end(self) -> None:
        """Leave the line of the answer."""
        if self._column or self._thinking:
            print(flush=True)
        self._column, self._thinking = 0, False

    def note(self, text: str) -> None:
        self._err.print(Text(printable.line(text), style="dim"), soft_wrap=True)

    def error(self, text: str) -> None:
        self._err.print(Text(printable.line(text), style="red"), soft_wrap=True)


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
    answer = StreamedAnswer(time.monotonic())
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


def _stream(gateway: Gateway, request: dict[str, Any], answer: StreamedAnswer, screen: Screen) -> None:
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
                        comment = printable.line(event.comment.decode("utf-8", "replace"))
                        status.update(Text(f"{comment} ({waited:.0f} s)"))
                    elif event.data == b"[DONE]":
                        done = True
                    elif event.data:
                        _frame(decoded(event.data, StreamedFrame), answer, screen, shown)
    if not done:
        raise GatewayError(f"{gateway.url} broke off its answer (receipt {answer.id}).")


def _frame(frame: StreamedFrame, answer: StreamedAnswer, screen: Screen, waiting: contextlib.ExitStack) -> None:
    """Show what one frame brings; the first content ends the waiting."""
    if frame.error is not None:
        waiting.close()
        raise GatewayError(f"{frame.error.message} (receipt {answer.id})")
    answer.usage = frame.usage or answer.usage
    for choice in frame.choices or ():
        answer.finish = choice.finish_reason or answer.finish
        delta = choice.delta or StreamedDelta()
        reasoning = delta.reasoning_content or delta.reasoning
        text = delta.content or delta.refusal
        if not (reasoning or text):
            continue
        waiting.close()
        answer.last = time.monotonic()
        answer.first = answer.first or answer.last
        if reasoning:
            screen.reasoning(reasoning)
        if text:
            answer.text += text
            screen.content(text)


def _cancelled(gateway: Gateway, answer: StreamedAnswer) -> str:
    """The line that a cancelled answer ends with: its receipt."""
    if not answer.id:
        return "Cancelled before the gateway had answered, so there is no receipt to show."
    try:
        receipt = gateway.receipt(answer.id)
    except GatewayError as error:
        return f"Cancelled · receipt {answer.id} · {error}"
    except KeyboardInterrupt:
        return f"Cancelled · receipt {answer.id}"
    if receipt.outcome is None:
        return f"Disconnected · the provider answers on, at full price · receipt {answer.id}"
    tokens = receipt.tokens_completion
    parts = [receipt.outcome.capitalize(), f"{tokens or 0:,} token{'s' * (tokens != 1)}"]
    parts[-1] += " (estimated)" if receipt.estimated else ""
    parts.append(f"charge {dollars(receipt.total_cost)}")
    if (closed := receipt.upstream_closed_ms) is not None:
        parts.append(f"connection closed after {closed:.1f} ms")
    return " · ".join([*parts, f"receipt {answer.id}"])


def dollars(amount: float | None) -> str:
    """USD to read, as many digits as the amount needs, eight at most."""
    if amount is None:
        return "unknown"
    if amount < 0.01:
        return f"${amount:.8f}".rstrip("0").rstrip(".")
    return f"${amount:,.4f}" if round(amount, 2) != round(amount, 4) else f"${amount:,.2f}"
