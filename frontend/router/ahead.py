"""A part of a record that was asked for ahead of the client, and is handed on as it comes."""

from __future__ import annotations

import asyncio

from ambry.checksum import BLOCK_SIZE, Buffer
from ambry.errors import InvariantBroken
from ambry.ids import BlobId
from frontend.request import RequestContext
from frontend.router.answers import StateOnly
from frontend.router.context import RouterContext
from frontend.router.plan import ReadUnit
from frontend.router.quorum_read import Fetch

PIECE_LEAST = 4 * BLOCK_SIZE
"""Less is not handed on while more is to come."""
PIECE_MAX = 1 << 20


class Ahead:
    """One unit. Its memory is all in use until its last piece was handed on and let go.

    Every piece was verified before. Where whoever sends it fails in the middle, another replica sends all of it again, and it
    goes on behind what was handed on: a record has the same bytes everywhere.
    """

    __slots__ = ("_future", "_here", "_waiter", "given", "unit")

    def __init__(
        self, request: RequestContext, context: RouterContext, unit: ReadUnit, *, sealed: bool = False
    ) -> None:
        """Ask for it; `sealed` takes no plain record. Raises Unavailable for a partition that is in no layout of ours."""
        self.unit = unit
        self.given = 0
        """Bytes of it that were handed on."""
        self._here = memoryview(b"")
        """Its beginning, as far as it came."""
        self._waiter: asyncio.Future[None] | None = None
        on_part = self._came if unit.size > PIECE_LEAST else None
        blob_id = BlobId(unit.id)
        self._future = Fetch(
            request,
            context,
            blob_id,
            first=unit.first,
            end=unit.end,
            any_state=True,
            on_part=on_part,
            sealed=sealed,
        ).start()
        self._future.add_done_callback(self._wake)

    def _came(self, beginning: memoryview) -> None:
        """So much of it is here."""
        if len(beginning) > len(self._here):
            self._here = beginning
            self._wake()

    def _wake(self, _future: object = None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def next_piece(self) -> Buffer | None:
        """The bytes behind those that were handed on, when some are here; None where no replica has them. Raises as Fetch."""
        while not self._future.done():
            if len(self._here) - self.given >= PIECE_LEAST:
                return self._cut(self._here)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._here = memoryview(b"")
        outcome = self._future.result()
        if isinstance(outcome, StateOnly):
            return None
        if len(outcome.data) != self.unit.size:
            raise InvariantBroken(f"a record is shorter than bytes {self.unit.first} to {self.unit.end}")
        return outcome.data if self.unit.size <= PIECE_MAX and not self.given else self._cut(outcome.data)

    def _cut(self, data: Buffer) -> memoryview:
        return memoryview(data)[self.given : self.given + PIECE_MAX]

    @property
    def rest(self) -> ReadUnit:
        """What was not handed on."""
        return ReadUnit(self.unit.id, self.unit.first + self.given, self.unit.end)

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._here = memoryview(b"")
        self._future.cancel()
