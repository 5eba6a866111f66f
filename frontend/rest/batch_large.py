"""A part of a batch that is too large to be held, on its way: it begins before its turn has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from ambry.checksum import Buffer
from frontend.rest.batch_parts import Unit
from frontend.router.get import Download


class LargePart:
    """One of them. `close` it in any case."""

    def __init__(self, unit: Unit, opening: Coroutine[Any, Any, Download]) -> None:
        self.unit = unit
        self._opening = opening
        self._download: Download | None = None
        self._pieces: AsyncIterator[Buffer] | None = None
        self._first: Buffer = b""
        self._beginning = asyncio.get_running_loop().create_task(self._begin())

    async def _begin(self) -> Download:
        """Open it, and read its first piece, which no client holds up before it is handed to one."""
        self._download = await self._opening
        self._pieces = self._download.stream()
        self._first = await anext(self._pieces, b"")
        self._download.handed_at = None
        return self._download

    async def begun(self) -> Download:
        """Its download, when its first piece is here. Raises what opening or reading it raises."""
        return await self._beginning

    async def pieces(self) -> AsyncIterator[Buffer]:
        """All of it, in order, as `Download.stream` gives it; after `begun`."""
        download, pieces = self._download, self._pieces
        data, self._first = self._first, b""
        if download is None or pieces is None or not len(data):
            return
        download.handed_at = asyncio.get_running_loop().time()
        yield data
        del data  # it is not charged any more
        async for data in pieces:
            yield data
            del data

    async def close(self) -> None:
        """Stop reading, and give its memory back."""
        self._beginning.cancel()
        await asyncio.gather(self._beginning, return_exceptions=True)
        self._opening.close()
        if self._download is not None:
            self._download.close()
            self._download = None
