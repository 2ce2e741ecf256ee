"""What a scripted provider says: the steps of a script, and what the voices of all wires have in common.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

Fault = Literal["overloaded", "rate_limit", "server", "invalid", "key"]
Reason = Literal["stop", "length", "tool_calls", "content_filter"]

# ---- steps of a script


class Wait(NamedTuple):
    """A step: go on when `event` is set."""

    event: asyncio.Event


class Pause(NamedTuple):
    """A step: go on after so many seconds. For clocks under test; everything else waits for an event."""

    seconds: float


class Answer(NamedTuple):
    """The first step of an answer that is no stream, or not 200. Without `body` the steps after it are its body."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/event-stream"),)
    body: bytes | None = None  # with it the answer is complete


class Raw(NamedTuple):
    """A step: these bytes as they are, outside the framing of HTTP; what follows is the script's to get right."""

    data: bytes


class Cut(NamedTuple):
    """The last step: the connection is closed, or reset."""

    reset: bool


CUT = Cut(reset=False)  # close in the middle of the body
RESET = Cut(reset=True)  # the same, by a reset
Step = bytes | Wait | Pause | Answer | Raw | Cut
Script = Sequence[Step]


class Call:
    """One request that the provider got.

    `closed` is set when the other side has closed or reset the connection, `finished` when the script ran to its end;
    `sent` counts the bytes of the script that were handed to the socket.
    """

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.sent = 0
        self.closed = asyncio.Event()
        self.finished = asyncio.Event()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Playable = Script | Callable[[Call], Script]


def split(data: bytes | Sequence[bytes], *places: int) -> list[bytes]:
    """The same bytes in pieces that end at these offsets: what one read brings is no matter of frames."""
    whole = data if isinstance(data, bytes) else b"".join(data)
    edges = [0, *sorted(places), len(whole)]
    return [piece for start, end in itertools.pairwise(edges) if (piece := whole[start:end])]


# ---- all wires alike


class TokenCounts(NamedTuple):
    """Tokens as the chat wire counts them: `prompt` includes `cached`, `completion` includes `reasoning`."""

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


class Voice:
    """One wire's way to say things. Each method gives the bytes of one step, for a script.

    `start` begins an answer anew. Where a wire has no words for something, the step is empty bytes (a script skips
    them) if the wire needs none, and ValueError if it cannot be said. Where usage is told together with the end,
    `usage` is empty and `finish` tells it, so `usage` comes first. `definition`: what that of its provider needs.
    """

    wire: ClassVar[str]
    media_type: ClassVar[str] = "text/event-stream"
    definition: ClassVar[dict[str, Any]]
    row_fields: ClassVar[dict[str, Any]]  # its old name
    reasons: ClassVar[dict[str, str]]
    faults: ClassVar[dict[Fault, tuple[int, str]]]  # the HTTP status and the wire's own word
    usage_last: ClassVar[bool] = False  # whether it is told after the finish reason

    def __init_subclass__(cls) -> None:
        cls.row_fields = cls.definition

    def start(self, prompt: int = 7) -> bytes:
        """The answer begins. `prompt`: its tokens, where the wire says them this early."""
        raise NotImplementedError

    def text(self, content: str) -> bytes:
        raise NotImplementedError

    def refusal(self, content: str) -> bytes:
        raise ValueError(f"{self.wire} has no refusal apart from its text")

    def thinking(self, content: str, signature: str = "") -> bytes:
        raise ValueError(f"{self.wire} has no reasoning apart from its text")

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        """A whole call; `arguments`: JSON, cut into two pieces where the wire has pieces, "" says nothing of them."""
        raise ValueError(f"{self.wire} has no tool calls")

    def custom_call(self, name: str, input: str, id: str = "call_1") -> bytes:
        """A whole call of a tool that takes free text; of the function that stands for it where the wire has none."""
        return self.tool_call(name, dump({"input": input}).decode(), id)

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        """The counts so far: `prompt` includes `cached`, `completion` includes `reasoning`."""
        raise NotImplementedError

    def finish(self, reason: Reason = "stop") -> bytes:
        """Why the answer ends."""
        raise NotImplementedError

    def done(self) -> bytes:
        """The stream says that it is over; empty where only the end of the body says so."""
        return b""

    def ping(self) -> bytes:
        """A sign of life without content; empty where the wire has none."""
        return b": keep-alive\n\n"

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        """A failure inside the stream."""
        raise NotImplementedError

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        """The body of an answer that is an error."""
        raise NotImplementedError

    def refuse(self, kind: Fault = "rate_limit", message: str = "scripted refusal", **headers: str) -> Answer:
        """An error instead of a stream. `headers`: with `_` for `-`, such as `retry_after="7"`."""
        status, word = self.faults[kind]
        given = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return json_answer(status, self.problem(status, word, message), *given)

    def answer(self, *texts: str, prompt: int = 7, completion: int = 3, reason: Reason = "stop") -> list[bytes]:
        """The steps of a whole answer, in the order that is this wire's habit."""
        steps = [self.start(prompt), *map(self.text, texts)]
        if self.usage_last:
            steps += [self.finish(reason), self.usage(prompt, completion)]
        else:
            steps += [self.usage(prompt, completion), self.finish(reason)]
        return [step for step in [*steps, self.done()] if step]

    def plays(self, steps: Script) -> Playable:
        """The steps of a stream as a whole script for `ScriptedProvider`: with its head, and what else a call needs."""
        return [Answer(headers=(("content-type", self.media_type),)), *steps]

    def reason_of(self, reason: Reason) -> str:
        if reason not in self.reasons:
            raise ValueError(f"{self.wire} has no word for the end `{reason}`")
        return self.reasons[reason]


def json_answer(status: int, value: Any, *headers: tuple[str, str]) -> Answer:
    """An answer that is no stream."""
    return Answer(status, (("content-type", "application/json"), *headers), dump(value))


def dump(value: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def pieces(arguments: str) -> list[str]:
    """JSON cut into two, as it comes in deltas; none of nothing."""
    middle = len(arguments) // 2
    return [piece for piece in (arguments[:middle], arguments[middle:]) if piece]


def named(type: str, **fields: Any) -> bytes:
    """An event that says its type twice, as its name and in its data."""
    return b"event: %b\ndata: %b\n\n" % (type.encode(), dump({"type": type, **fields}))
