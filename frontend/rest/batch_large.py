"""Parts of a batch that are too large to be held, on their way: they begin before their turn has come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from ambry.checksum import Buffer
from ambry.errors import InvariantBroken, must_have
from frontend.rest.batch_parts import Unit
from frontend.router.download import Download
from frontend.router.get import Resolved

Opened = tuple[Download, Sequence[Resolved]]
"""A download, and what each range that was asked for is of the blob: it brings those that the blob has."""

TOGETHER_MAX = 64
"""Ranges of one download: those behind one that cannot be read are opened again."""


def take_together(waiting: deque[Unit]) -> list[Unit]:
    """Take the first, and of those behind it as many as one download brings: what is of the same blob."""
    found = [waiting.popleft()]
    while waiting and len(found) < TOGETHER_MAX and _are_together(found[0], waiting[0]):
        found.append(waiting.popleft())
    return found


def _are_together(one: Unit, two: Unit) -> bool:
    return one.id is not None and one.id == two.id and one.as_everybody == two.as_everybody


class LargeParts:
    """Some that one download brings, one behind the other. `close` it in any case."""

    def __init__(self, units: Sequence[Unit], opening: Coroutine[Any, Any, Opened]) -> None:
        """`opening` opens what the units ask for, in their order."""
        self.units = units
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(opening)
        self._first: asyncio.Task[Buffer] | None = loop.create_task(self._read_first())
        self._pieces: AsyncIterator[Buffer] | None = None

    async def _read_first(self) -> Buffer:
        """The first piece, which no client holds up before it is handed to one."""
        download, _ = await self._opening
        self._pieces = download.stream()
        piece = await anext(self._pieces, b"")
        download.handed_at = None
        return piece

    async def opened(self) -> tuple[Download, list[tuple[Unit, Resolved]]]:
        """Their download, and what each is. Raises what opening it raises: then they are all told that."""
        download, resolved = await self._opening
        return download, list(zip(self.units, resolved, strict=True))

    async def next_piece(self) -> Buffer:
        """What comes next, of one part, once it is open. What was handed over is not charged any more: let it go before."""
        if self._first is None:
            data = await anext(must_have(self._pieces, "the pieces of a download that has begun"), b"")
        else:
            data = await self._first
            self._first = None
            self._opening.result()[0].handed_at = asyncio.get_running_loop().time()
        if not len(data):
            raise InvariantBroken("a download has fewer bytes than the parts that it brings")
        return data

    async def close(self) -> None:
        """Stop reading, and give its memory back."""
        tasks = (self._opening, *(() if self._first is None else (self._first,)))
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            # Whoever is cancelled while it waits gives the memory back all the same.
            if self._opening.done() and not self._opening.cancelled() and self._opening.exception() is None:
                self._opening.result()[0].close()
