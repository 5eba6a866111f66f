"""A body that streams in, cut into chunks, each charged to the process's memory budget while it is held.

A chunk's buffer grows as the body arrives, and what it may grow to is charged first: an upload that stalls holds no more
than the step it stands on, whatever it announced. While others wait for memory it does not hold that either: the chunk ends
where it is, and is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from ambry.checksum import Buffer
from ambry.errors import InvalidRequest, TooLarge
from frontend.router.budget import SMALL_BYTES, MemoryBudget, Need

FIRST_STEP_BYTES = 16 << 10
STEP_BYTES = 256 << 10
"""A buffer grows to the first step, then by a factor of four, then by this many bytes."""


class Piece(msgspec.Struct, frozen=True):
    """One chunk, empty at the end of the body, and what was charged for it. `data` is never changed again."""

    data: Buffer
    charged: int


def charge_of(capacity: int) -> int:
    """What a growing buffer of `capacity` bytes can cost: a bytearray takes up to an eighth more than it was asked for."""
    return capacity + (capacity >> 3)


class Chunker:
    """Full chunks of `chunk_size` bytes, the last one shorter; others only when memory is short for long.

    Where the body gives None instead of a piece, its client sends nothing and others wait for memory. `size` is the body's size
    where it is known. `wait_s` is how long an upload waits for memory before it is refused. The
    first chunk of a body gives its charge back at `close`, the others when whoever wrote them calls `give_back`.
    """

    def __init__(
        self,
        body: AsyncIterator[bytes | None],
        *,
        chunk_size: int,
        size: int | None,
        size_max: int,
        budget: MemoryBudget,
        wait_s: float = 5.0,
    ) -> None:
        self._body = body
        self._chunk_size = chunk_size
        self._size = size
        self._size_max = size_max
        self._budget = budget
        self._wait_s = wait_s
        self._left: bytes = b""
        self._taken = 0
        self._received = 0
        self._held = 0
        self._ended = False
        self._wanted = False
        """Whether others want the memory, and nothing more has come."""

    async def next_chunk(self) -> Piece:
        """The next chunk, waiting for memory and for the body.

        Raises what the body raises, InvalidRequest, TooLarge, and Overloaded when memory does not come.
        """
        while not await self._fetch():
            pass
        if not self._left:
            return Piece(b"", 0)
        limit = self._chunk_size
        if self._size is not None:
            limit = min(limit, max(1, self._size - self._taken))
        if len(self._left) == limit <= STEP_BYTES:
            # It arrived in one piece, and is handed on as it is.
            data: Buffer = self._left
            self._left = b""
            charged = limit
            await self._charge(limit, Need.READY if self._received == self._size else Need.LARGE)
        else:
            data, charged = await self._fill(limit)
        self._taken += len(data)
        return Piece(data, charged)

    async def _charge(self, size: int, need: Need) -> None:
        # Who stored chunks already has more to lose than who has just begun.
        await self._budget.take(size, need, timeout_s=self._wait_s if not self._taken else 4 * self._wait_s)
        self._held += size

    async def at_end(self) -> bool:
        """Whether the body has no more bytes; may wait for the next ones to tell. Raises as `next_chunk`.

        False too where nobody knows yet, and others want the memory of the chunk that was handed out.
        """
        return not (self._wanted and self._worth_giving()) and await self._fetch() and not self._left

    async def _fetch(self) -> bool:
        """See that some of the body is here, or its end. False where nothing came, and what is held is wanted by others."""
        while not self._left and not self._ended:
            await self._pull()
            if self._wanted and self._worth_giving():
                return False
        return True

    def _worth_giving(self) -> bool:
        """Whether much is held; a little costs more to write than it is worth."""
        return self._held > charge_of(FIRST_STEP_BYTES)

    async def _pull(self) -> None:
        try:
            piece = await anext(self._body)
        except StopAsyncIteration:
            self._ended = True
            self._wanted = False
            if self._size is not None and self._received != self._size:
                raise InvalidRequest(f"the body ended after {self._received} of {self._size} bytes") from None
            return
        self._wanted = piece is None
        if piece is not None:
            self._left = piece
            self._received += len(piece)
            if self._received > self._size_max:
                raise TooLarge(f"the body exceeds the largest allowed blob of {self._size_max} bytes")

    async def _fill(self, limit: int) -> tuple[Buffer, int]:
        """Up to `limit` bytes and what is charged for them."""
        need = Need.SMALL if self._size is not None and self._size <= SMALL_BYTES else Need.LARGE
        capacity = min(FIRST_STEP_BYTES, limit)
        charged = charge_of(capacity)
        await self._charge(charged, need)
        buffer = bytearray()
        while len(buffer) < limit and (not buffer or (await self._fetch() and self._left)):
            if len(buffer) == capacity:
                grown = min(limit, 4 * capacity, capacity + STEP_BYTES)
                step = charge_of(grown) - charged
                if not await self._charge_soon(step, need, 4 * capacity >= self._chunk_size):
                    break
                charged += step
                capacity = grown
            room = capacity - len(buffer)
            if len(self._left) <= room:
                buffer += self._left
                self._left = b""
            else:
                buffer += memoryview(self._left)[:room]
                self._left = self._left[room:]
        return memoryview(buffer), charged

    async def _charge_soon(self, size: int, need: Need, large: bool) -> bool:
        """Charge more for a chunk that is being filled; False when there is no memory, for a chunk that is `large` at once.

        Then the chunk ends here: a shorter one that is written gives its memory back, a full one that is waited for does not.
        """
        if not self._budget.try_take(size, need) and (
            large or not await self._budget.wait(size, need, timeout_s=self._wait_s, holds=True)
        ):
            return False
        self._held += size
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
