"""Which store stands behind a ledger's address: the registry of stores.

It never opens one that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infron.errors import ConfigError
from infron.runtime.ledger import sqlite
from infron.runtime.ledger.store import Store

# By the scheme of the address: what makes the store of `url`, with the setting `ledger.synchronous`.
STORES: dict[str, Callable[[str, str], Store]] = {
    "sqlite": lambda url, synchronous: sqlite.SQLite(sqlite.path_of(url), synchronous=synchronous),
}


def store_of(url: str, *, synchronous: str = "normal") -> Store:
    """The store at this address, not opened yet. Raises ConfigError where the address is none of a store."""
    scheme = url.partition(":")[0]
    if scheme in STORES:
        return STORES[scheme](url, synchronous)
    if scheme.startswith("postgres"):
        raise ConfigError("ledger.url: PostgreSQL is not supported by this version yet; use sqlite:///path/to/file.db.")
    raise ConfigError(f"ledger.url: {url!r} is not an address of the form sqlite:///path/to/file.db.")


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """The same for a command: closed at the end of the block. Raises ConfigError."""
    store = store_of(url)
    try:
        yield store
    finally:
        store.close()
