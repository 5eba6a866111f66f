"""A body that streams in, cut into chunks, each charged to the process's memory budget while it is held."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from ambry.checksum import Buffer
from ambry.errors import InvalidRequest, TooLarge
from frontend.router.budget import MemoryBudget


class Piece(msgspec.Struct, frozen=True):
    """One chunk, empty at the end of the body, and what was charged for it. `data` is never changed again."""

    data: Buffer
    charged: int


class Chunker:
    """Full chunks of `chunk_size` bytes, the last one shorter.

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
        charge = self._chunk_size
        if self._size is not None:
            charge = min(charge, max(1, self._size - self._taken))
        await self._budget.take(charge)
        self._held += charge
        data = await self._fill(charge)
        self._taken += len(data)
        return Piece(data, charge)

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

    async def _fill(self, charge: int) -> Buffer:
        """Up to `charge` bytes. A body that arrives in one piece is handed on as it is."""
        if len(self._left) == charge:
            data, self._left = self._left, b""
            return data
        buffer = bytearray(charge)
        view = memoryview(buffer)
        filled = 0
        while filled < charge and not (filled and await self.at_end()):
            part = self._left[: charge - filled]
            view[filled : filled + len(part)] = part
            filled += len(part)
            self._left = self._left[len(part) :]
        return view[:filled]

    def give_back(self, charged: int) -> None:
        """The chunk with this charge is not held any more."""
        self._held -= charged
        self._budget.give_back(charged)

    def close(self) -> None:
        """Give back all that is still held."""
        held, self._held = self._held, 0
        if held:
            self._budget.give_back(held)
