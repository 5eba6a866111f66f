"""Parts of a batch that are too large to be held, on their way: they begin before their turn has come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from ambry.checksum import Buffer
from ambry.errors import InvariantBroken, must_have
from ambry.ids import IdKind
from frontend.rest.batch_parts import Unit
from frontend.router.download import Download

TOGETHER_MAX = 64
"""Ranges of one download: those behind one that cannot be read are opened again."""


def take_together(waiting: deque[Unit]) -> list[Unit]:
    """Take the first, and of those behind it as many as one download brings: ranges of one blob of many chunks."""
    found = [waiting.popleft()]
    while waiting and len(found) < TOGETHER_MAX and _are_together(found[0], waiting[0]):
        found.append(waiting.popleft())
    return found


def _are_together(one: Unit, two: Unit) -> bool:
    if one.id is None or one.id.kind is not IdKind.COMPOSITE or one.wanted is None or two.wanted is None:
        return False
    return one.id == two.id and one.as_everybody == two.as_everybody


class LargeParts:
    """Some that one download brings, one behind the other. `close` it in any case."""

    def __init__(self, units: Sequence[Unit], opening: Coroutine[Any, Any, Download]) -> None:
        self.units = units
        self.opened = False
        """Whether the blob was found."""
        self._opening = opening
        self._download: Download | None = None
        self._pieces: AsyncIterator[Buffer] | None = None
        self._first: Buffer = b""
        self._beginning = asyncio.get_running_loop().create_task(self._begin())

    async def _begin(self) -> Download:
        """Open it, and read its first piece, which no client holds up before it is handed to one."""
        self._download = await self._opening
        self.opened = True
        self._pieces = self._download.stream()
        self._first = await anext(self._pieces, b"")
        self._download.handed_at = None
        return self._download

    async def begun(self) -> Download:
        """Their download, when its first piece is here. Raises what opening or reading it raises."""
        return await self._beginning

    async def next_piece(self) -> Buffer:
        """What comes next, of one part, after `begun`. What was handed over is not charged any more: let it go before."""
        data, self._first = self._first, b""
        if len(data):
            download = must_have(self._download, "the download that has begun")
            download.handed_at = asyncio.get_running_loop().time()
            return data
        data = await anext(must_have(self._pieces, "the pieces of a download that has begun"), b"")
        if not len(data):
            raise InvariantBroken("a download has fewer bytes than the parts that it brings")
        return data

    async def close(self) -> None:
        """Stop reading, and give its memory back."""
        self._beginning.cancel()
        await asyncio.gather(self._beginning, return_exceptions=True)
        self._opening.close()
        if self._download is not None:
            self._download.close()
            self._download = None
