"""A body that streams in, cut into chunks, each charged to the process's memory budget while it is held.

A chunk's buffer grows as the body arrives, and what it may grow to is charged first: an upload that stalls holds no more
than the step it stands on, whatever it announced. While others wait for memory it does not hold that either: the chunk ends
where it is, and is written.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable

import msgspec

from ambry.buffers import LARGE_BYTES
from ambry.checksum import Buffer
from ambry.errors import InvalidRequest, TooLarge
from ambry.network.scratch import memory_of
from frontend.router.budget import SMALL_BYTES, MemoryBudget, Need

FIRST_STEP_BYTES = 16 << 10
STEP_BYTES = 256 << 10
"""A buffer grows to the first step, then by a factor of four, then by this many bytes."""


Grow = Callable[[], memoryview]
"""Gives the memory that follows what is full, empty where there is none now."""
NOT_NOW = -1


class StraightBody(AsyncIterator[bytes | None]):
    """A body that can come straight into memory that it is given, too."""

    straight: bool
    """Whether that may be tried."""

    @abstractmethod
    async def receive_into(self, room: memoryview, grow: Grow) -> int | None:
        """Wait until `room`, and what `grow` then gives, is full, or the body ends; returns how many bytes came, 0 at its end.

        It may return before. None where nothing came for a while and others wait for memory; NOT_NOW where the next bytes
        must be taken out of the iterator.
        """


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
        self._straight = body if isinstance(body, StraightBody) and body.straight else None
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
        elif self._straight is not None and limit >= LARGE_BYTES:
            data, charged = await self._receive(self._straight, limit)
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
            self._took_in(len(piece))

    def _took_in(self, size: int) -> None:
        self._received += size
        if self._received > self._size_max:
            raise TooLarge(f"the body has more than the {self._size_max} bytes that it may have")

    async def _fill(self, limit: int) -> tuple[Buffer, int]:
        """Up to `limit` bytes and what is charged for them."""
        need = Need.SMALL if self._size is not None and self._size <= SMALL_BYTES else Need.LARGE
        capacity = min(FIRST_STEP_BYTES, limit)
        charged = charge_of(capacity)
        await self._charge(charged, need)
        buffer = bytearray()
        while len(buffer) < limit and (not buffer or (await self._fetch() and self._left)):
            if len(buffer) == capacity:
                grown = capacity + self._step(capacity, limit)
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

    async def _receive(self, body: StraightBody, limit: int) -> tuple[Buffer, int]:
        """As `_fill`, in memory that has room for all from the beginning: pages of it that were not written take none."""
        memory = memory_of(asyncio.get_running_loop()).buffers.take(limit)
        filled = 0
        charged = capacity = FIRST_STEP_BYTES
        await self._charge(charged, Need.LARGE)

        def grow() -> memoryview:
            nonlocal charged, capacity
            before = capacity
            step = self._step(capacity, limit)
            if step and self._budget.try_take(step):
                self._held += step
                charged = capacity = before + step
            return memory[before:capacity]

        while filled < limit:
            if filled == capacity:
                step = self._step(capacity, limit)
                if not await self._charge_soon(step, Need.LARGE, 4 * capacity >= self._chunk_size):
                    break
                charged = capacity = capacity + step
            if self._left:
                size = min(len(self._left), capacity - filled)
                memory[filled : filled + size] = self._left[:size]
                self._left = self._left[size:]
                filled += size
                continue
            came = await body.receive_into(memory[filled:capacity], grow)
            if came == NOT_NOW:
                if not await self._fetch() or not self._left:
                    break
            elif came:
                filled += came
                self._took_in(came)
            elif came is None:
                self._wanted = True
                if self._worth_giving():
                    break
            else:
                await self._fetch()  # its end, which may be too early
                break
        return memory[:filled], charged

    @staticmethod
    def _step(capacity: int, limit: int) -> int:
        """By how much a chunk of `limit` bytes grows that has room for `capacity` of them."""
        return min(limit, 4 * capacity, capacity + STEP_BYTES) - capacity

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
