"""Answers of the Responses API that their clients may refer to: kept for a while, in the memory of this process. What
other workers of the gateway keep is asked for there.

It never gives one key's to another, and never writes any of it anywhere.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import DecodeError, Raw, Struct

from infron.records import Kept
from infron.request import Request
from infron.runtime.exchange.other_memories import Found, Held, OtherMemories, Wanted
from infron.settings import Memory as Settings
from infron.wires.openai.responses.recall import ids_in, input_items, items_in, names_in, recalled, refers

Owner = str | None  # the id of a key; None on a gateway without keys
_OVERHEAD = 1000  # bytes of an answer beside what it says, about


class Answer(Struct, eq=False, gc=False):
    """`given`: the input that it answers, with all that was before. `ids`: of its own items. `until`: loop time."""

    id: str
    owner: Owner
    kept: Kept
    given: Raw
    ids: tuple[str, ...]
    size: int
    until: float
    _items: tuple[tuple[str, Raw], ...] | None = None
    _by_id: dict[str, Raw] | None = None

    @property
    def items(self) -> tuple[tuple[str, Raw], ...]:
        """Its own, with their ids, as they go back to a model: most are never asked for."""
        if self._items is None:
            self._items = tuple(items_in(self.kept))
        return self._items

    def item(self, id: str) -> Raw:
        """One of them."""
        if self._by_id is None:
            self._by_id = dict(self.items)
        return self._by_id[id]


class _Lent(NamedTuple):
    """What other workers keep of what is wanted, by id."""

    answers: dict[str, Answer]
    items: dict[str, Raw]


_NOTHING = _Lent({}, {})


class _Shelf:
    """What is kept for one key, oldest first."""

    def __init__(self) -> None:
        self.answers: OrderedDict[str, Answer] = OrderedDict()
        self.items: dict[str, Answer] = {}  # the id of an item -> the latest answer that has it
        self.size = 0


class Memory:
    """Bounded in bytes, of a key and of all, and in time. Safe to be asked on any thread, changed on the loop alone."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, most: int, others: OtherMemories | None = None
    ) -> None:
        """`most`: bytes that a request may have with all that it refers to. `others`: of the other workers."""
        self._others = others
        self._settings = settings
        self._most = most
        self._loop = loop
        self._shelves: dict[Owner, _Shelf] = {}
        self._order: OrderedDict[str, Answer] = OrderedDict()  # of all, oldest first
        self._size = 0
        self._clearing: asyncio.TimerHandle | None = None

    # ---- what is kept

    def keep(self, owner: Owner, id: str, kept: Kept, asked: Request) -> None:
        """An answer to this request, with the request's input. One that is too large for its key is let go."""
        settings, given = self._settings, asked.fields["input"]
        size = _OVERHEAD + 2 * len(kept.response) + len(memoryview(given))
        if not settings.seconds or size > min(settings.max_bytes_per_key, settings.max_bytes):
            return
        try:
            ids = ids_in(kept)
        except DecodeError:  # of a host that told its items in another form
            return
        until = self._loop.time() + settings.seconds
        own = given if asked.size < 2 * len(memoryview(given)) else given.copy()  # not to keep the rest of a body alive
        answer = Answer(id, owner, kept, own, ids, size, until)
        shelf = self._shelves.get(owner)
        if shelf is None:
            shelf = self._shelves[owner] = _Shelf()
        shelf.answers[id] = self._order[id] = answer
        for name in ids:
            shelf.items[name] = answer
        shelf.size += size
        self._size += size
        while shelf.size > settings.max_bytes_per_key:
            self._drop(next(iter(shelf.answers.values())))
        while self._size > settings.max_bytes:
            fullest = max(self._shelves.values(), key=lambda shelf: shelf.size)
            self._drop(next(iter(fullest.answers.values())))
        if self._clearing is None:
            self._clearing = self._loop.call_at(until, self._clear)

    def forget(self, owner: Owner, id: str) -> bool:
        """Whether there was such an answer of this key here."""
        answer = self._find(owner, id)
        if answer is not None:
            self._drop(answer)
        return answer is not None

    def forget_elsewhere(self, owner: Owner, id: str) -> bool:
        """Whether another worker had it. It blocks."""
        others = self._others
        return others is not None and any([found.forgot for found in others.ask(Wanted(owner, forgotten=id))])

    def _drop(self, answer: Answer) -> None:
        shelf = self._shelves[answer.owner]
        del shelf.answers[answer.id], self._order[answer.id]
        for name in answer.ids:
            if shelf.items.get(name) is answer:
                del shelf.items[name]
        shelf.size -= answer.size
        self._size -= answer.size
        if not shelf.answers:
            del self._shelves[answer.owner]

    def _clear(self) -> None:
        """Drop what is too old, and look again when the next one will be."""
        self._clearing = None
        now = self._loop.time()
        while self._order:
            oldest = next(iter(self._order.values()))
            if oldest.until > now:
                self._clearing = self._loop.call_at(oldest.until, self._clear)
                return
            self._drop(oldest)

    # ---- what is asked for

    def find(self, owner: Owner, id: str) -> Answer | None:
        """An answer of this key. It may block, for other workers are asked."""
        return self._find(owner, id) or self._lent(owner, [id], []).answers.get(id)

    def recall(self, asked: Request, owner: Owner) -> Request:
        """The request with all that it refers to. It may block, too. Raises InvalidRequest for what is not kept (any
        more).
        """
        if not refers(asked):
            return asked
        lent = _NOTHING
        if self._others is not None:
            before, items = names_in(asked)
            missing = [before] if before and self._find(owner, before) is None else []
            lent = self._lent(owner, missing, [id for id in items if self._item(owner, id) is None])

        def history(id: str) -> Sequence[Raw] | None:
            answer = self._find(owner, id) or lent.answers.get(id)
            return None if answer is None else [*input_items(answer.given), *(item for _, item in answer.items)]

        def find(id: str) -> Raw | None:
            return self._item(owner, id) or lent.items.get(id)

        return recalled(asked, history, find, self._most)

    def _find(self, owner: Owner, id: str) -> Answer | None:
        shelf = self._shelves.get(owner)
        answer = shelf.answers.get(id) if shelf is not None else None
        return answer if answer is not None and answer.until > self._loop.time() else None

    def _item(self, owner: Owner, id: str) -> Raw | None:
        shelf = self._shelves.get(owner)
        answer = shelf.items.get(id) if shelf is not None else None
        return answer.item(id) if answer is not None and self._find(owner, answer.id) is answer else None

    # ---- other workers

    def _lent(self, owner: Owner, answers: list[str], items: list[str]) -> _Lent:
        if self._others is None or not (answers or items):
            return _NOTHING
        lent = _Lent({}, {})
        for found in self._others.ask(Wanted(owner, answers, items)):
            for id, held in found.answers.items():
                lent.answers[id] = Answer(id, owner, held.kept, Raw(held.given), (), 0, 0.0)
            lent.items.update({id: Raw(item) for id, item in found.items.items()})
        return lent

    async def _tell(self, wanted: Wanted) -> Found:
        """What is here of what another worker wants; it takes a thread, for it may be large."""
        if wanted.forgotten:
            return Found(forgot=self.forget(wanted.owner, wanted.forgotten))
        return await self._loop.run_in_executor(None, self._told, wanted)

    def _told(self, wanted: Wanted) -> Found:
        found, owner = Found({}, {}), wanted.owner
        for id in wanted.answers:
            if (answer := self._find(owner, id)) is not None:
                found.answers[id] = Held(answer.kept, bytes(memoryview(answer.given)))
        for id in wanted.items:
            if (item := self._item(owner, id)) is not None:
                found.items[id] = bytes(memoryview(item))
        return found

    async def open(self) -> None:
        """The others may ask from now on."""
        if self._others is not None:
            await self._others.tell(self._tell)

    def close(self) -> None:
        if self._others is not None:
            self._others.close()
        if self._clearing is not None:
            self._clearing.cancel()
