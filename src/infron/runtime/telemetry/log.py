"""The log: one line for each exchange that has ended, with its reason; one for each answer, if asked for; and what else
the program has to say. As text to read, or as JSON.

It never gets a prompt, an answer or a key, and never waits for a disk.
"""

from __future__ import annotations

import functools
import logging
import re
import time
import traceback

import msgspec
from msgspec import Struct

from infron import printable
from infron.errors import InfronError
from infron.money import usd
from infron.records import Outcome, Settlement
from infron.runtime.telemetry.lines import Lines
from infron.settings import LogSection

MOST_CHARACTERS = 1000  # of one value
_COMPLETED, _BAD = Outcome.COMPLETED, (Outcome.FAILED, Outcome.TIMED_OUT)
_PLAIN = re.compile(r"[\w./:@+-]+", re.ASCII)


class LogLine(Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What begins every line. As text: `time LEVEL event name=value …`, without what has no value."""

    time: str  # UTC
    level: str

    def text(self) -> str:
        return f"{self.time} {self.level.upper()} {self.__struct_config__.tag}{_pairs(self, 2)}"


class ExchangeLine(LogLine, frozen=True, kw_only=True, tag_field="event", tag="exchange"):
    """How an exchange ended. `key`: the id of the caller's, `model`: the id that was asked for.

    `charge`, `cost`: USD. `latency_ms`: to the first content, `generation_ms`: from there to the end.
    """

    id: str
    outcome: str
    reason: str
    key: str | None = None
    model: str
    provider: str
    provider_model: str
    prompt_tokens: int
    completion_tokens: int
    charge: float | None = None
    cost: float | None = None
    latency_ms: int | None = None
    generation_ms: int | None = None
    estimated: bool = False
    upstream_closed_ms: int | None = None
    attempts: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    error: str | None = None


class AccessLine(LogLine, frozen=True, kw_only=True, tag_field="event", tag="access"):
    """An answer over HTTP. `path`: without its query. `cut`: the client left before its end."""

    client: str
    method: str
    path: str
    status: int
    ms: float
    key: str | None = None
    cut: bool = False


class MessageLine(LogLine, frozen=True, kw_only=True, tag_field="event", tag="message"):
    """Whatever else there is to say."""

    logger: str
    message: str
    trace: str = ""


class Log:
    """A listener of settlements. `level`: one of logging's numbers; what is less is not written."""

    def __init__(self, section: LogSection, lines: Lines) -> None:
        self.level: int = logging.getLevelNamesMapping()[section.level.upper()]
        self._lines = lines
        self._json = section.format == "json"
        self._second = 0, ""

    def close(self) -> None:
        self._lines.close()

    def settled(self, settlement: Settlement) -> None:
        """An exchange has ended."""
        bad = settlement.outcome in _BAD
        if (logging.WARNING if bad else logging.INFO) < self.level:
            return
        stamp, bill, error = self._time(time.time()), settlement.bill, settlement.error
        if not self._json and _is_usual(settlement):
            self._lines.append(_written_out(stamp, settlement).encode())
            return
        line = ExchangeLine(
            time=stamp,
            level="warning" if bad else "info",
            id=settlement.id,
            outcome=settlement.outcome.value,
            reason=_reason(settlement),
            key=settlement.key_id,
            model=settlement.model,
            provider=settlement.provider,
            provider_model=settlement.provider_model,
            prompt_tokens=bill.usage.prompt,
            completion_tokens=bill.usage.completion,
            estimated=bill.estimated,
            charge=usd(bill.charge),
            cost=usd(bill.cost),
            latency_ms=_whole(settlement.latency_ms),
            generation_ms=_whole(settlement.generation_ms),
            upstream_closed_ms=_whole(settlement.upstream_closed_ms),
            attempts=tuple([f"{one.provider}: {one.error_type} ({one.status})" for one in settlement.attempts]),
            dropped=settlement.dropped,
            error=error[:MOST_CHARACTERS] if error else None,
        )
        self._write(line)

    def answered(
        self, *, client: str, method: str, path: str, status: int, seconds: float, key: str | None, cut: bool
    ) -> None:
        """A request was answered."""
        self._write(
            AccessLine(
                time=self._time(time.time()), level="info", client=client, method=method,
                path=path[:MOST_CHARACTERS], status=status, ms=round(seconds * 1000, 1), key=key, cut=cut,
            )
        )  # fmt: skip

    def said(self, record: logging.LogRecord) -> None:
        """Anything else, by Python's own logging."""
        stamp, message = self._time(record.created), record.getMessage()
        trace = _trace(record.exc_info[1]) if record.exc_info and record.exc_info[1] else ""
        if self._json:
            level = record.levelname.lower()
            self._write(MessageLine(time=stamp, level=level, logger=record.name, message=message, trace=trace))
            return
        lines = [f"{stamp} {record.levelname} {record.name}: {message}", *(f"  {line}" for line in trace.splitlines())]
        for line in lines:
            self._lines.append(printable.line(line).encode())

    def _write(self, line: LogLine) -> None:
        self._lines.append(printable.in_json(_JSON.encode(line)) if self._json else line.text().encode())

    def _time(self, now: float) -> str:
        """To the millisecond."""
        second, stamp = self._second
        if second != int(now):
            second = int(now)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = second, stamp
        return stamp + _MILLISECONDS[int((now - second) * 1000)]


class Handler(logging.Handler):
    """Makes the log the one place where Python's own logging goes, for as long as the block runs."""

    def __init__(self, log: Log) -> None:
        super().__init__(log.level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._log.said(record)
        except Exception:
            self.handleError(record)

    def __enter__(self) -> Handler:
        root = logging.getLogger()
        self._before = root.handlers[:], root.level
        root.handlers[:] = [self]
        root.setLevel(self.level)
        return self

    def __exit__(self, *exc: object) -> None:
        root = logging.getLogger()
        root.handlers[:], level = self._before
        root.setLevel(level)


_JSON = msgspec.json.Encoder()
_MILLISECONDS = [f"{number:03d}Z" for number in range(1000)]


def _is_usual(settlement: Settlement) -> bool:
    """Whether an exchange has nothing of what few have."""
    whole = settlement.outcome is _COMPLETED and not settlement.bill.estimated
    return whole and settlement.upstream_closed_ms is None and not (settlement.attempts or settlement.dropped)


def _written_out(stamp: str, settlement: Settlement) -> str:
    """The text of an ExchangeLine, without making one: nearly every exchange has it."""
    key, bill, first = settlement.key_id, settlement.bill, settlement.latency_ms
    charge = "" if bill.charge is None else f" charge={_value(usd(bill.charge))}"
    cost = "" if bill.cost is None else f" cost={_value(usd(bill.cost))}"
    times = "" if first is None else f" latency_ms={int(first)} generation_ms={int(settlement.generation_ms or 0)}"
    return (
        f"{stamp} INFO exchange id={settlement.id} outcome=completed reason={_name(_reason(settlement))}"
        f"{'' if key is None else f' key={_name(key)}'} model={_name(settlement.model)}"
        f" provider={_name(settlement.provider)} provider_model={_name(settlement.provider_model)}"
        f" prompt_tokens={bill.usage.prompt} completion_tokens={bill.usage.completion}{charge}{cost}{times}"
    )


def _reason(settlement: Settlement) -> str:
    """Why it ended so, in a word or a sentence."""
    if settlement.outcome is _COMPLETED:
        return settlement.finish_reason or "end"
    if settlement.outcome in _BAD:
        return settlement.error_type or "unknown"
    return settlement.on_disconnect or settlement.error_type or "unknown"


def _trace(error: BaseException) -> str:
    """Where it was raised and of which kind it is, and those that led to it; what most say may repeat a request."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_trace(earlier)}\n" if earlier is not None else ""
    said = f": {error}" if isinstance(error, InfronError | OSError) else ""
    return f"{before}{''.join(traceback.format_tb(error.__traceback__))}{type(error).__qualname__}{said}"


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else int(milliseconds)


def _pairs(line: LogLine, first: int) -> str:
    """` name=value …` of the fields from `first` on that have a value."""
    found = ((name, getattr(line, name)) for name in line.__struct_fields__[first:])
    return "".join([f" {name}={_value(value)}" for name, value in found if value or type(value) in (int, float)])


@functools.lru_cache(1000)
def _name(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else printable.line(msgspec.json.encode(value).decode())


def _value(value: object) -> str:
    if isinstance(value, str):
        return _name(value)
    if isinstance(value, float):
        return f"{value:.12f}".rstrip("0").rstrip(".")
    return ",".join(map(_name, value)) if isinstance(value, tuple) else str(value).lower()
