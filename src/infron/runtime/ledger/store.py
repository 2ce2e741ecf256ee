"""What a ledger asks of its database: rounds that are durable as a whole or undone, and statements with plain values.

It never knows which database answers, nor what an exchange or a key is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from infron.errors import ConfigError

Value = str | int | float | None
Row = tuple[Any, ...]
Change = tuple[str, tuple[Value, ...]]  # a statement that changes rows, and its values

LARGEST = 2**63 - 1  # what a column of whole numbers holds


class StoreError(ConfigError):
    """The store cannot be used now: one sentence for the operator, with the store's name in it."""


class StoreBusy(StoreError):
    """Another program has it locked: it is to be tried again."""


class UnusableRow(Exception):
    """Values that the store takes in no form; the round they belong to goes on without them."""


class Rows(Protocol):
    """Runs statements. Their parameters are `?1` to `?n`. All methods raise StoreError.

    In what is read, or changed by itself, `LIST ?n` stands for a SELECT of what a JSON array of strings holds, and the
    comment `statements.LOCK` for the lock on the rows found that a store needs whose rounds do not shut out each other.
    """

    def read(self, statement: str, *values: Value) -> list[Row]:
        """What a SELECT finds. Raises UnusableRow for a value that nothing can be compared with."""

    def change(self, statement: str, *values: Value) -> int:
        """How many rows were inserted, updated or deleted. Raises UnusableRow."""

    def change_all(self, changes: Sequence[Change]) -> list[int | UnusableRow]:
        """Many changes, in their order, in as few journeys as the store can: what `change` gives or raises for each."""


class Store(Protocol):
    """A database with a ledger's tables, used by one thread at a time. It is opened by the first `reach`.

    `opened`: how often it was; what was read through an earlier connection may hold no longer.
    """

    @property
    def opened(self) -> int: ...

    def exists(self) -> bool:
        """Whether there is anything to open: a mere question must not make a ledger."""

    def problem(self) -> str | None:
        """Why it cannot be opened or made here, in one sentence, as far as can be seen without doing so."""

    def reach(self) -> Rows:
        """Rows outside of any round, for reading; opens the store where it is not open. Raises StoreError.

        A connection that was lost, or to a database that is not the one at its address any more, is made anew.
        """

    def round(self) -> AbstractContextManager[Rows]:
        """One writing transaction: all of it is durable afterwards, or none. Raises StoreError."""

    def view(self) -> AbstractContextManager[Rows]:
        """A transaction that only reads: all of it of one moment, while others write. Raises StoreError."""

    def version(self) -> str:
        """Changes whenever another connection wrote anything; cheap enough to be asked twice a second."""

    def close(self) -> None: ...


def repaired(value: Value) -> Value:
    """The nearest value that every store takes: valid Unicode, a number, and a whole number of 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return max(-LARGEST, min(LARGEST, value))
    return value
