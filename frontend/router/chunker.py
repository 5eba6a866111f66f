"""A body that streams in, cut into chunks, each charged to the process's memory budget while it is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from ambry.checksum import Buffer
from ambry.errors import InvalidRequest, TooLarge
from frontend.router.budget import MemoryBudget

STEP_BYTES = 256 << 10
"""Memory is charged in such steps while a chunk fills, so that an upload that stalls holds no more than it sent."""
PATIENCE_S = 1.0


class Piece(msgspec.Struct, frozen=True):
    """One chunk, empty at the end of the body, and what was charged for it. `data` is never changed again."""

    data: Buffer
    charged: int


class Chunker:
    """Full chunks of `chunk_size` bytes, the last one shorter; others only when memory is short for long.

    `size` is the body's size where it is known. The first chunk of a body gives its charge back at `close`, the others when
    whoever wrote them calls `give_back`.
    """

    def __init__(
        self, body: AsyncIterator[bytes], *, chunk_size: int, size: int | None, size_max: int, budget: MemoryBudget
    ) -> None:
        self._body = body
        self._chunk_size = chunk_size
        self._size = size
        self._size_max = size_max
        self._budget = budget
        self._left: bytes = b""
        self._taken = 0
        self._received = 0
        self._held = 0
        self._ended = False

    async def next_chunk(self) -> Piece:
        """The next chunk, waiting for memory and for the body. Raises what the body raises, InvalidRequest, TooLarge."""
        if await self.at_end():
            return Piece(b"", 0)
        limit = self._chunk_size
        if self._size is not None:
            limit = min(limit, max(1, self._size - self._taken))
        charged = min(STEP_BYTES, limit)
        await self._charge(charged)
        data, charged = await self._fill(limit, charged)
        self._taken += len(data)
        return Piece(data, charged)

    async def _charge(self, size: int) -> None:
        await self._budget.take(size)
        self._held += size

    async def at_end(self) -> bool:
        """Whether the body has no more bytes; may wait for the next ones to tell. Raises as `next_chunk`."""
        while not self._left and not self._ended:
            await self._pull()
        return not self._left

    async def _pull(self) -> None:
        try:
            self._left = await anext(self._body)
        except StopAsyncIteration:
            self._ended = True
            if self._size is not None and self._received != self._size:
                raise InvalidRequest(f"the body ended after {self._received} of {self._size} bytes") from None
        else:
            self._received += len(self._left)
            if self._received > self._size_max:
                raise TooLarge(f"the body exceeds the largest allowed blob of {self._size_max} bytes")

    async def _fill(self, limit: int, charged: int) -> tuple[Buffer, int]:
        """Up to `limit` bytes and what is charged for them. A small body that arrives in one piece is handed on as it is."""
        if len(self._left) == limit == charged:
            data, self._left = self._left, b""
            return data, charged
        buffer = bytearray(limit)
        view = memoryview(buffer)
        filled = 0
        while filled < limit and not (filled and await self.at_end()):
            if filled == charged:
                step = min(STEP_BYTES, limit - charged)
                if not await self._charge_soon(step):
                    break
                charged += step
            part = self._left[: charged - filled]
            view[filled : filled + len(part)] = part
            filled += len(part)
            self._left = self._left[len(part) :]
        return view[:filled], charged

    async def _charge_soon(self, size: int) -> bool:
        """Charge more for a chunk that is being filled; False when there is no memory for so long that others must be stuck.

        Then the chunk ends here: a shorter one that is written gives its memory back, a full one that is waited for does not.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._charge(size)
        except TimeoutError:
            return False
        return True

    def give_back(self, charged: int) -> None:
        """The chunk with this charge is not held any more."""
        self._held -= charged
        self._budget.give_back(charged)

    def close(self) -> None:
        """Give back all that is still held."""
        held, self._held = self._held, 0
        if held:
            self._budget.give_back(held)
