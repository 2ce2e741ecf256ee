"""Which models and providers a key may use, by the patterns that its operator gave it.

It never knows what is served, nor by whom.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct


class Permissions(Struct, frozen=True):
    """`models`, `providers`: patterns in which `*` stands for anything, letters in any case; None: all."""

    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None

    def model(self, *names: str) -> bool:
        """Whether the model with these names may be used: the one asked by, and the one that this stands for."""
        return self.models is None or any(_matches(self.models, name) for name in names)

    def provider(self, id: str) -> bool:
        return self.providers is None or _matches(self.providers, id)


EVERYTHING = Permissions()


@lru_cache(4096)
def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(_compiled(pattern).fullmatch(name) for pattern in patterns)


@lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.sub(r"\*+", "*", pattern).split("*"))), re.IGNORECASE | re.DOTALL)
