"""The exchanges that run in this process, by id: whether there is room, what still runs at the end.

It never knows what an exchange does.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import Protocol

from infron.policy.stop import Stop
from infron.records import Progress, Settlement


class Running(Protocol):
    """An exchange that is not settled yet."""

    id: str

    @property
    def key_id(self) -> str | None: ...
    def reported_tokens(self) -> int | None:
        """How many tokens of its answer the provider has told of so far."""

    def progress(self) -> Progress:
        """What has come of it so far."""

    def stop(self, stop: Stop, /) -> None:
        """Somebody who may stops it."""

    def shut_down(self) -> None:
        """The process must end: so must this exchange, settled."""

    def settle_now(self) -> None:
        """It was shut down, and nothing is waited for any longer: it is settled with what is known."""


class Registry:
    """`idle`: set whenever nothing runs. `closing`: no further exchange is to begin. It listens to settlements."""

    def __init__(self) -> None:
        self.closing = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._running: dict[str, Running] = {}
        self._second = 0, ""  # the one at hand, and how ids begin in it
        self._random = random.Random(secrets.token_bytes(32))  # of this process alone: workers are forked before

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> list[Running]:
        return list(self._running.values())

    def get(self, id: str) -> Running | None:
        return self._running.get(id)

    def stop(self, id: str, stop: Stop) -> None:
        """Stop an exchange, if it runs here."""
        exchange = self._running.get(id)
        if exchange is not None:
            exchange.stop(stop)

    def progress(self) -> list[Progress]:
        """What has come so far of each."""
        return [exchange.progress() for exchange in self.running()]

    def new_id(self, now: float) -> str:
        """`gen-<unix seconds>-<20 hexadecimal digits>`: 3 for the part of the second, 17 random ones.

        So ids are in the order of their time, and the ledger's index grows at its end: random ones would touch a page
        of it each.
        """
        second, prefix = self._second
        if second != int(now):
            second = int(now)
            self._second = second, prefix = second, f"gen-{second}-"
        return f"{prefix}{int((now - second) * 4096):03x}{self._random.getrandbits(68):017x}"

    def add(self, exchange: Running) -> None:
        self._running[exchange.id] = exchange
        self.idle.clear()

    def settled(self, settlement: Settlement) -> None:
        self.remove(settlement.id)

    def remove(self, id: str) -> None:
        self._running.pop(id, None)
        if not self._running:
            self.idle.set()

    def end_all(self) -> None:
        """End every exchange that still runs: with an error for its client, and settled."""
        for exchange in self.running():
            exchange.shut_down()

    def settle_all(self) -> None:
        """Settle what was ended and is not settled yet, with what is known."""
        for exchange in self.running():
            exchange.settle_now()
