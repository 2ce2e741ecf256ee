"""What the commands print: sentences, tables, JSON, amounts, and what of a provider is shown.

It never reads settings or the ledger: it gets values. What they hold never gives orders to a terminal.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Literal

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infron import printable
from infron.catalog.definitions import Provider
from infron.catalog.endpoint import lacking
from infron.cli import chat
from infron.cli.options import stop
from infron.money import usd

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
WIDE = 110  # columns of a terminal that has room for every column of a table


def answer(text: str) -> None:
    """What was asked for, to standard output."""
    with _writing():
        print(printable.prose(text))


def say(sentence: str) -> None:
    """What there is to say about it, to standard error."""
    print(printable.line(sentence), file=sys.stderr)


def announce(text: str) -> None:
    """What a program says that runs on, whether it can be read or not."""
    with contextlib.suppress(OSError):
        print(printable.prose(text), flush=True)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        stop(f"Standard output cannot be written ({error.strerror}).")


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback whose messages cannot give orders to the terminal."""
    print(printable.prose("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def show(
    title: str,
    columns: list[str],
    rows: list[list[str]],
    *,
    right: Any = (),
    spare: int | None = None,
    head: bool = True,
) -> None:
    """`right`: columns set to the right. `spare`: the one that a narrow terminal does without. `head`: their names."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 240  # whatever reads it is no screen: do not cut
    with _writing():
        console.print(table(console, title, columns, rows, right=right, spare=spare, head=head))


def table(
    console: Console,
    title: str,
    columns: list[str],
    rows: list[list[str]],
    *,
    right: Any = (),
    spare: int | None = None,
    head: bool = True,
) -> Table:
    """What `show` shows, for this console."""
    found = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, show_header=head, padding=(0, 1, 0, 0)
    )
    shown = [place for place in range(len(columns)) if place != spare or console.width >= WIDE]
    for place in shown:
        # The first column, which names what a row is about, is the last to be folded.
        least = min(20, max((len(row[0]) for row in rows), default=0)) if place == 0 else None
        side: Literal["left", "right"] = "right" if place in right else "left"
        found.add_column(columns[place], justify=side, overflow="fold", min_width=least)
    for row in rows:
        found.add_row(*(Text(printable.line(row[place])) for place in shown))
    return found


def show_json(value: Any) -> None:
    with _writing():
        print(printable.in_json(msgspec.json.format(msgspec.json.encode(value))).decode())


def show_csv(fields: list[dict[str, Any]]) -> None:
    """A line for each, below one with the names. Text that a spreadsheet would take for a formula gets a quote mark."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(fields[0])
    for each in fields:
        writer.writerow(
            f"'{value}" if isinstance(value, str) and value[:1] in _FORMULAS else value for value in each.values()
        )
    with _writing():
        print(printable.prose(lines.getvalue()), end="")


def show_as(
    format: Literal["table", "json", "csv"],
    title: str,
    fields: list[dict[str, Any]],
    columns: list[str],
    rows: list[list[str]],
    right: Any,
    empty: str,
) -> None:
    """The same as a table (`columns`, `rows`) or as data (`fields`). `empty`: what to say where there is nothing."""
    if format == "json":
        show_json(fields)
    elif not fields:
        say(empty)
    elif format == "csv":
        show_csv(fields)
    else:
        show(title, columns, rows, right=right)


def money(picodollars: int | None, unknown: str = "") -> str:
    amount = usd(picodollars)
    if amount is None:
        return unknown
    return f"-{chat.dollars(-amount)}" if amount < 0 else chat.dollars(amount)


def number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def moment(seconds: float | None) -> str:
    """To the minute, in this machine's zone."""
    if seconds is None:
        return ""
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z").strip()


def day(seconds: float | None) -> str:
    return "" if seconds is None else datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d")


# ---- a provider


def provider_fields(provider: Provider, why: str | None) -> dict[str, Any]:
    """A definition as JSON, and why it cannot be used now (None: it can)."""
    return {
        "id": provider.id,
        "name": provider.name,
        "aliases": provider.aliases,
        "wire": provider.wire,
        "base_url": provider.base_url,
        "env": provider.auth.env,
        "usable": why is None,
        "why_not": why,
        "status": provider.status,
        "since": provider.since or None,
        "successor": provider.successor or None,
        "on_disconnect": provider.on_disconnect,
        "stops_work": provider.stops_work,
        "stops_billing": provider.stops_billing,
        "reports_partial_usage": provider.reports_partial_usage,
        "notes": provider.notes,
        "source": provider.source,
    }


def provider_cells(provider: Provider, why: str | None) -> list[str]:
    if provider.status == "closed":
        return [
            provider.id,
            provider.wire,
            "",
            "",
            known_from(provider.source, provider.since),
            f"closed {provider.since}".strip(),
        ]
    fact = provider.stops_billing
    return [
        provider.id,
        provider.wire,
        provider.on_disconnect,
        stopped(provider),
        known_from(fact.source, fact.date),
        state(provider, why),
    ]


def known_from(source: str, date: str) -> str:
    """A source in a few words, up to the first comma or colon, and its date."""
    return f"{re.split('[,:;] ', source)[0]} {date}".strip()


def stopped(provider: Provider) -> str:
    """What a disconnect stops there: `work, bill`; with a question mark where that is unknown."""
    marks = {"yes": "", "unknown": "?"}
    facts = {"work": provider.stops_work.value, "bill": provider.stops_billing.value}
    if set(facts.values()) == {"unknown"}:
        return "unknown"
    return ", ".join(name + marks[value] for name, value in facts.items() if value in marks) or "nothing"


def state(provider: Provider, why: str | None) -> str:
    """`ready`, or what to set. `why`: the whole sentence that says why it cannot be used."""
    doubt = " (uncertain)" if provider.status == "uncertain" else ""
    if why is None:
        return f"ready{doubt}"
    needs = [names[0] for _, names in lacking(provider, os.environ) if names]
    return f"set {', '.join(needs)}{doubt}" if needs and not provider.bundled else why
