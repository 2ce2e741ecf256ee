"""An answer of a host of OpenAI's legacy completions API: its frames as they came, each in one line.

It never knows which of the text is an echo of the prompt.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.events import Done, Event, Finished, Verbatim
from infron.wires import sse
from infron.wires.decoding import DONE, SseDecoder
from infron.wires.lenient_json import decode, in_utf8, value_of
from infron.wires.usage import report_of

MEDIA_TYPE = b"text/event-stream"
_fields = msgspec.json.Decoder(dict[str, Raw])
_NULL = Raw(b"null")
_REASONS = frozenset(("stop", "length", "content_filter"))


class Decoder(SseDecoder):
    def __init__(
        self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
    ) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self.choices = 0
        self._seen: set[int] = set()
        self._ended: set[int] = set()

    def whole(self, body: bytes) -> list[Event]:
        events: list[Event] = []
        self._frame(body, events, whole=True)
        if not self._over:
            self._finish(events)
        return events

    def _take(self, frame: sse.Event, events: list[Event]) -> None:
        data = frame.data
        if data.startswith(DONE):
            self._finish(events)
        elif frame.event == "error":
            self._fail_with(data, events)
        elif frame.comment is None and data.strip():
            self._frame(data, events, whole=False)

    def _frame(self, data: bytes, events: list[Event], *, whole: bool) -> None:
        data = in_utf8(data)
        value = value_of(data)
        fields = decode(data, _fields) if isinstance(value, dict) else None
        if fields is None or (not value.get("error") and not isinstance(value.get("choices"), list)):
            if not isinstance(value, dict) or value.keys().isdisjoint(("detail", "message")):
                raise self._broken("answered with something that is no completion")
            self._fail_with(data, events)
            return
        if value.get("error"):
            self._fail_with(data, events)
            return
        if isinstance(id := value.get("id"), str) and id:
            self.upstream_id = self.upstream_id or id[:200]
        report = report_of(value.get("usage"), self._provider, self.headers)
        choices = [choice for choice in value["choices"] if isinstance(choice, dict)]
        text = "".join([said for choice in choices if isinstance(said := choice.get("text"), str)])
        # A prompt that comes back alone is nothing that was made.
        said = bool(text) and not (whole and report is not None and not report.usage.completion)
        if choices:
            self._note(choices, whole=whole)
            events.append(Verbatim(fields, content=said, text=text if said else ""))
            self._tell_reason(choices, events)
        if report is not None:
            events.append(report)

    def _note(self, choices: list[dict[str, Any]], *, whole: bool) -> None:
        for choice in choices:
            index = choice.get("index")
            index = index if type(index) is int else 0
            self._seen.add(index)
            if whole or choice.get("finish_reason") is not None:
                self._ended.add(index)
        self.choices = len(self._seen)
        self.finished = self._seen <= self._ended

    def _tell_reason(self, choices: list[dict[str, Any]], events: list[Event]) -> None:
        reasons = [reason for choice in choices if isinstance(reason := choice.get("finish_reason"), str)]
        if reasons:
            reason = reasons[-1] if reasons[-1] in _REASONS else "stop"
            events.append(Finished(reason, reasons[-1], told=True))

    def _finish(self, events: list[Event]) -> None:
        self._over = True
        events.append(Done())
