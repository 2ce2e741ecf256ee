"""Names of tools and ids of calls that a host takes, in place of those that it would refuse.

It never knows which host: each wire states its rules.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterable

from msgspec import Struct


class Names(Struct, frozen=True):
    """Of tools: `allowed` are the characters, as a class of a regular expression; `first`: those that may begin one."""

    allowed: str
    length: int
    first: str = ""

    @property
    def pattern(self) -> str:
        """A regular expression for them."""
        first = f"(?=[{self.first}])" if self.first else ""
        return f"{first}[{self.allowed}]{{1,{self.length}}}"

    def take(self, name: str) -> bool:
        return re.fullmatch(self.pattern, name) is not None


class Ids(Struct, frozen=True):
    """Of tool calls: a regular expression for them, and how long one is that is made here, of letters and digits.

    `unique`: two calls of a session must not share one.
    """

    pattern: str
    length: int = 24
    unique: bool = True


ANY_ID = Ids(r"[\s\S]+")


# ---- ids of calls

_ALPHABET = string.ascii_letters + string.digits


class CallIds:
    """Of one session, message by message: an id is the same for a call and its results, and never for two calls."""

    def __init__(self, rule: Ids) -> None:
        self._rule = rule
        self._pattern = re.compile(rule.pattern)
        self._taken: set[str] = set()
        self._message = 0
        self._open: dict[str, list[tuple[int, str]]] = {}  # the caller's id -> (message, ours) of its latest calls

    def next_message(self) -> None:
        self._message += 1

    def of_call(self, id: str) -> str:
        ours, turn = id, 0
        while (self._rule.unique and ours in self._taken) or not self._pattern.fullmatch(ours):
            ours = _made(id, turn, self._rule.length)
            turn += 1
        self._taken.add(ours)
        latest = [known for known in self._open.get(id, ()) if known[0] == self._message]
        self._open[id] = [*latest, (self._message, ours)]
        return ours

    def of_result(self, id: str) -> str:
        """Of several calls of one message that share an id each has its result in its turn."""
        known = self._open.get(id)
        if not known:
            return id if self._pattern.fullmatch(id) else _made(id, 0, self._rule.length)
        return known.pop(0)[1] if len(known) > 1 else known[0][1]


def _made(id: str, turn: int, length: int) -> str:
    """An id of `length` letters and digits, always the same for the same one in the same turn."""
    number = int.from_bytes(hashlib.sha256((f"{turn}:{id}" if turn else id).encode("utf-8", "replace")).digest())
    return "".join(_ALPHABET[number // 62**place % 62] for place in range(length))


# ---- names of tools


def renamings(names: Iterable[str], rule: Names) -> dict[str, str]:
    """The caller's own names that the host does not take -> names that it does, each another."""
    known = list(dict.fromkeys(names))
    take = re.compile(rule.pattern).fullmatch
    taken = {name for name in known if take(name)}
    renamed: dict[str, str] = {}
    for name in known:
        if name in taken:
            continue
        plain = re.sub(f"[^{rule.allowed}]", "_", name) or "_"
        if rule.first and not re.match(f"[{rule.first}]", plain):
            plain = f"t_{plain}"
        sent = plain
        if len(sent) > rule.length or sent in taken:
            mark = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
            sent = f"{plain[: rule.length - 9]}_{mark}"
        taken.add(sent)
        renamed[name] = sent
    return renamed
