"""What the decoders of the wires do alike: whose answer it is, how it fails, frames that are server-sent events.

It never knows what a frame means: each wire says so in `_take`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderUnavailable
from infron.events import Event, Failed, Finished, ToolCallStarted
from infron.request import Outgoing
from infron.wires import errors as openai_errors
from infron.wires import lenient_json, sse
from infron.wires.errors import Headers

MOST_CALLS = 2_000  # of one answer, in all of its choices; the id of each is remembered
UNNAMED = "unnamed_tool"  # providers refuse a history in which a call has no name
DONE = b"[DONE]"  # the chat wire's mark of the end, which hosts of other wires send too


def made_id(*seed: object) -> str:
    """An id for a call that its host gave none. `seed`: what no other call of the session has."""
    return "call_" + hashlib.sha256(" ".join(map(str, seed)).encode()).hexdigest()[:24]


class AnswerDecoder:
    """One answer of a provider; the contract is `wires.Decoder`. `_over`: nothing more comes of it."""

    # The wire's own, for errors that are told in an answer with status 200.
    _parse_error: ClassVar[Callable[..., InfronError]] = staticmethod(openai_errors.parse_error)

    upstream_id: str | None = None
    expected = 0  # not known
    choices = 1
    finished = False
    cancel: Outgoing | None = None
    further: tuple[Outgoing, ...] = ()
    headers: Headers = []  # noqa: RUF012
    seed: object = ""
    _over = _failed = False
    _names: Mapping[str, str] = {}  # of tools: the host's -> the caller's own
    _reason = _native = ""

    def __init__(self, provider: Provider, key: str) -> None:
        self._provider = provider
        self._key = key
        self._call_ids: set[str] = set()

    def rename(self, names: Mapping[str, str]) -> None:
        self._names = names

    def _called(self, index: int, id: Any, name: Any, signature: str = "", choice: int = 0) -> ToolCallStarted:
        """The `index`-th call of the choice begins: with an id and a name that later requests can have.

        Hosts that give none, or the same one again, must not make two calls of a session one: a made id is of this
        answer alone.
        """
        if len(self._call_ids) >= MOST_CALLS:
            raise self._broken(f"made more than {MOST_CALLS:,} tool calls")
        name = name if isinstance(name, str) else ""
        if not isinstance(id, str) or not id or id in self._call_ids:
            id = made_id(self.seed, self.upstream_id, choice, index, name)
        self._call_ids.add(id)
        return ToolCallStarted(index, id, self._names.get(name, name) or UNNAMED, signature, choice)

    def _ends(self, reason: str, native: str, events: list[Event]) -> None:
        """Why the only choice has ended, in the chat API's word and in the host's. It is told last, for there are hosts
        that say it before the content; here only what is known of it so far.
        """
        if self._reason in ("", "stop", "tool_calls"):
            self._reason, self._native = reason, native
        self.finished = True
        events.append(self._ending(told=True))

    def _tell_end(self, events: list[Event]) -> None:
        """Now that nothing follows it."""
        if self._reason:
            events.append(self._ending(told=False))

    def _ending(self, *, told: bool) -> Finished:
        """Because of calls where there are some, and else not."""
        normal = "tool_calls" if self._call_ids else "stop"
        reason = normal if self._reason in ("stop", "tool_calls") else self._reason
        return Finished(reason, self._native, 0, told)

    def _fail(self, error: InfronError, events: list[Event]) -> None:
        self._over = self._failed = True
        events.append(Failed(error))

    def _fail_with(self, body: bytes, events: list[Event]) -> None:
        """Fail with the error that the provider told in these bytes."""
        self._fail(self._parse_error(200, [], body, self._provider, self._key), events)

    def _fail_as(self, what: str, word: str, error: bytes, events: list[Event]) -> None:
        """Fail with the error that was told, or with what happened, which shows the provider's word at `{}`."""
        if error:
            self._fail_with(error, events)
        else:
            self._fail(self._broken(what.format(self._shown(word))), events)

    def _shown(self, word: str) -> str:
        """A word of the provider, quoted and short."""
        return repr(openai_errors.without_key(word, self._key)[:60])

    def _broken(self, what: str) -> ProviderUnavailable:
        said = openai_errors.without_key(f"{self._provider.name} {what}.", self._key)
        return ProviderUnavailable(said, provider=self._provider.id)


class SseDecoder(AnswerDecoder):
    """One whose frames are server-sent events. Raises only InfronError; nothing follows Done or Failed."""

    def __init__(
        self,
        provider: Provider,
        max_frame_bytes: int = sse.MAX_FRAME_BYTES,
        key: str = "",
        verbatim: bool = False,
    ) -> None:
        super().__init__(provider, key)
        self._sse = sse.Decoder(max_frame_bytes)

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            frames = self._sse.feed(data)
        except InfronError as error:
            error.provider = self._provider.id
            raise
        for frame in frames:
            if self._over:
                break
            self._take(frame, events)
        return events

    def close(self) -> list[Event]:
        """The body ended. A last frame counts that only lacks its blank line; a cut one does not: the missing end
        tells of it.
        """
        events: list[Event] = []
        for frame in [] if self._over else self._sse.close():
            if not self._over and _is_whole(frame.data):
                self._take(frame, events)
        return events

    def _take(self, frame: sse.Event, events: list[Event]) -> None:
        """What one frame, or a comment, says."""
        raise NotImplementedError


def _is_whole(data: bytes) -> bool:
    return data.startswith(DONE) or (data.lstrip()[:1] == b"{" and lenient_json.value_of(data) is not None)


def one_line(payload: bytes) -> bytes:
    """The JSON of a frame in one line, also for clients that break it where Unicode does."""
    if b"\n" in payload:
        payload = payload.replace(b"\n", b" ")
    if payload.isascii():
        return payload
    try:
        return sse.unbroken(payload)
    except UnicodeDecodeError:
        return sse.unbroken(lenient_json.repaired(payload))
