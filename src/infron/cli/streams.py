"""`infron streams`: what runs now in every process of this gateway, and stopping one of it.

It never asks the gateway: it reads the ledger, into which each process writes how far it is while somebody looks.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.live import Live as Screen

from infron import config
from infron.cli.administering import actor
from infron.cli.format import say, show, show_json, table
from infron.cli.options import AsJson, ConfigFile, stop
from infron.runtime.ledger import live
from infron.runtime.ledger.administration import administration
from infron.runtime.ledger.live import Live
from infron.runtime.ledger.stores import opened

TELL_SECONDS = 0.8  # in which each process has told how far it is
WATCH_SECONDS = 1.0
COLUMNS = ["id", "model", "provider", "key", "state", "tokens", "tokens/s", "age"]
NUMBERS = (5, 6, 7)


def streams(
    cancel: Annotated[str | None, typer.Option(metavar="ID", help="Stop this one, whosever it is.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again each second, until Ctrl-C.")] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List what runs now, in all workers: who asked, who answers, how far it is. Tokens are estimates."""
    url = config.load(config_file).ledger_url()
    if cancel is not None:
        _cancel(url, cancel, as_json=as_json)
        return
    with opened(url) as store:
        if not store.exists():
            stop("There is no ledger here yet: no gateway has run with these settings.")
        if watch and not as_json:
            _watch(lambda: live.streams(store))
            return
        found = live.streams(store)
        if any(not one.lost for one in found):
            time.sleep(TELL_SECONDS)
            found = live.streams(store)
    now = time.time()
    if as_json:
        show_json([_fields(one, now) for one in found])
    elif not found:
        say("Nothing runs now.")
    else:
        show(_title(found), COLUMNS, [_cells(one, now) for one in found], right=NUMBERS, spare=2)


def _cancel(url: str, id: str, *, as_json: bool) -> None:
    with administration(url, actor()) as administrator:
        receipt = administrator.cancel_stream(id)
    if as_json:
        show_json(receipt)
    elif receipt.outcome is None:
        say(f"{receipt.id} is being stopped.")
    else:
        say(f"{receipt.id} is over already: {receipt.outcome.value}.")


def _watch(look: Callable[[], list[Live]]) -> None:
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        stop("--watch needs a terminal; `infron streams --json` can be asked again and again.")
    with contextlib.suppress(KeyboardInterrupt), Screen(console=console, screen=True, auto_refresh=False) as screen:
        look()
        time.sleep(TELL_SECONDS)
        while True:
            found, now = look(), time.time()
            rows = [_cells(one, now) for one in found]
            screen.update(table(console, _title(found), COLUMNS, rows, right=NUMBERS, spare=2), refresh=True)
            time.sleep(WATCH_SECONDS)


def _title(found: list[Live]) -> str:
    return f"{len(found):,} running" if found else "Nothing runs now"


def _state(one: Live) -> str:
    if one.lost:
        return "lost"
    if one.stop is not None:
        return "stopping"
    if one.draining:
        return "draining"
    if one.tokens is None:
        return "running"
    return "waiting" if one.first_at is None else "streaming" if one.streamed else "answering"


def _speed(one: Live, now: float) -> float | None:
    """Tokens a second since its content began."""
    if one.first_at is None or not one.tokens:
        return None
    return one.tokens / max(0.1, now - one.first_at)


def _cells(one: Live, now: float) -> list[str]:
    speed = _speed(one, now)
    return [
        one.id,
        one.model,
        one.provider,
        one.key or "",
        _state(one),
        "" if one.tokens is None else f"{one.tokens:,}",
        "" if speed is None else f"{speed:,.0f}",
        age(now - one.started_at),
    ]


def _fields(one: Live, now: float) -> dict[str, Any]:
    told = msgspec.structs.asdict(one)
    return {**told, "state": _state(one), "tokens_per_second": _speed(one, now), "age_seconds": now - one.started_at}


def age(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
