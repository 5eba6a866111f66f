"""How requests come in: what of memory they get before they are here, and who lets them come too slowly.

A request is refused at its head where there is no room for its body: the answer goes at once, and the body is passed over. One
whose body has memory must come: whoever sends less than PROGRESS_BYTES of it in STALL_S, while we read, is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ambry.errors import AmbryError, Overloaded, ProtocolViolation
from ambry.network.connection import RpcConnection
from ambry.network.requests import Requests
from ambry.network.responding import refusal
from ambry.protocol.frame import Prefix

REQUEST_BODY_MAX = 32 << 20
"""Bytes: the payload of one record (ambry/format/record.py)."""
STALL_S = 10.0
PROGRESS_BYTES = 64 << 10


def no_room(size: int) -> Overloaded:
    """For a request of so many bytes."""
    return Overloaded(f"the requests of this process have no room for {size} bytes; retry shortly, or elsewhere")


class ReceivingConnection(RpcConnection):
    """A connection that requests come on; `requests` bounds those of the process, `on_refused` hears of what found no room."""

    def __init__(
        self,
        *,
        requests: Requests,
        on_refused: Callable[[int, AmbryError], None],
        on_lost: Callable[[RpcConnection], None] | None,
    ) -> None:
        super().__init__(on_lost=on_lost, body_size_max=REQUEST_BODY_MAX)
        self.known = False
        """Whether it is introduced, to us and as one of our cluster."""
        self._requests = requests
        self._on_refused = on_refused
        self._stall: asyncio.TimerHandle | None = None
        """Runs while a part of a large request is here, until more must have come."""
        self._awaited = 0
        """What was missing of it when that began; 0 when it came meanwhile."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._note_taken(0)
        if self._stall is not None:
            self._stall.cancel()

    @property
    def awaited(self) -> int:
        """Bytes that are missing of a large request that comes."""
        return self._decoder.awaited

    def _admit_frame(self, prefix: Prefix | None, size: int) -> bool:
        requests, known = self._requests, self.known
        if requests.room_for(size, known=known) or requests.make_room(size, self._loop.time(), known=known):
            return True
        requests.refused += 1
        if prefix is not None:
            error = no_room(size)
            self._on_refused(prefix.type, error)
            self._send(refusal(prefix, error), b"")
        return False

    def _note_taken(self, taken: int) -> None:
        super()._note_taken(taken)
        self._requests.receives(self, taken, self._loop.time())

    def _on_part(self) -> None:
        # What comes here is no answer.
        if self._stall is None and self._decoder.awaited:
            self._expect_more()

    def _expect_more(self) -> None:
        self._awaited = self._decoder.awaited
        self._stall = self._loop.call_later(STALL_S, self._require_progress)

    def _require_progress(self) -> None:
        self._stall = None
        awaited = self._decoder.awaited
        stalls = awaited > self._awaited - PROGRESS_BYTES and self._awaited > 0
        if awaited and stalls and not self._read_paused:
            self._violation(ProtocolViolation(f"{awaited} bytes of a request did not come within {STALL_S:g} s"))
        elif awaited:
            self._expect_more()
