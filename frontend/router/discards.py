"""Records of puts that failed, of which nobody will ever be told: replicas hear that they are deleted, until enough have.

A put that failed may be on some replicas, or come to them later. One that hears that it is deleted is enough, be it before the
record comes, or one that never sees it: from there it goes everywhere (contract C6). As many must hear it as confirm a write,
so that the loss of one loses nothing. All replicas of the datacenter are asked at once; while too few have heard it, those of
all datacenters again and again. Chunks are tried once: without their blob they are swept
(docs/decisions/0008-chunks-follow-their-parents.md).

Bounds: at most WAITING_MAX records wait, the oldest is given up for a newer one, and each after FOR_S; the log names one that
is given up. A process that is killed forgets them (docs/decisions/0023-a-failed-put-is-discarded-by-its-frontend.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from ambry.blob import BlobState
from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.ids import BlobId, IdKind
from ambry.network.pool import Peer
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages.blobs import UpdateRequest
from ambry.service.logs import get_logger
from frontend.router.replicas import ReplicaTable

log = get_logger()

WAITING_MAX = 10_000
FOR_S = 86_400.0
RETRY_S = 5.0
PER_TICK = 100
TICK_S = 0.5
"""So many at most in such a time: they are no flood for nodes that come back."""
LAST_TRY_S = 2.0


class Discard(msgspec.Struct, eq=False):
    """One record; times are those of the event loop."""

    id: BlobId
    request_id: str
    expires_at_ms: int
    since: float
    due: float = 0.0
    asked: int = 0
    """Replicas that were asked and have not answered."""
    heard: list[Peer] = msgspec.field(default_factory=list)
    told: Callable[[bool], None] | None = None
    """Hears once whether enough replicas have heard it; such a record is not tried again here."""


class Discards:
    """Those of one frontend. `timeout_s`: how long a replica may take to answer."""

    def __init__(self, replicas: ReplicaTable, *, clock: Clock, timeout_s: float) -> None:
        self._replicas = replicas
        self._clock = clock
        self._timeout_s = timeout_s
        self._waiting: deque[Discard] = deque()
        """In the order in which they are due."""
        self._flying = 0
        self._landed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self.given_up = 0

    @property
    def waiting(self) -> int:
        """Records of which too few replicas have heard."""
        return len(self._waiting)

    def forget(self, request_id: str, ids: Iterable[BlobId], expires_at_ms: int) -> None:
        """Nobody will be told of these; `expires_at_ms` as they were put. Nobody waits for it."""
        since = asyncio.get_running_loop().time()
        for blob_id in ids:
            self._send(Discard(blob_id, request_id, expires_at_ms, since), self._replicas[blob_id.partition].local)

    async def bury(self, request_id: str, ids: Sequence[BlobId], expires_at_ms: int) -> bool:
        """Whether enough replicas have heard that these are deleted; else they are to be tried again later."""
        loop = asyncio.get_running_loop()
        buried: list[bool] = []
        done = loop.create_future()

        def told(enough: bool) -> None:
            buried.append(enough)
            if len(buried) == len(ids) and not done.done():
                done.set_result(None)

        for blob_id in ids:
            peers = self._replicas[blob_id.partition].local
            self._send(Discard(blob_id, request_id, expires_at_ms, loop.time(), told=told), peers)
        if ids:
            await done
        return all(buried)

    def _send(self, discard: Discard, peers: Sequence[Peer]) -> None:
        if not peers:
            if discard.told is not None:
                discard.told(False)
            return
        state = BlobState(0, True, discard.expires_at_ms)
        message = UpdateRequest(discard.request_id, discard.id.raw, state, self._clock.wall_ms())
        discard.asked = len(peers)
        self._flying += 1
        for peer in peers:
            peer.call(MessageType.UPDATE, message, partial(self._done, discard, peer), timeout_s=self._timeout_s)

    def _done(self, discard: Discard, peer: Peer, outcome: Frame | AmbryError) -> None:
        discard.asked -= 1
        if not isinstance(outcome, AmbryError):
            discard.heard.append(peer)
        if discard.asked:
            return
        self._flying -= 1
        if not self._flying:
            self._landed.set()
        enough = len(discard.heard) >= self._replicas[discard.id.partition].write_target
        if discard.told is not None:
            discard.told(enough)
        elif not enough and discard.id.kind is not IdKind.CHUNK:
            self._wait(discard)

    def _wait(self, discard: Discard) -> None:
        now = asyncio.get_running_loop().time()
        if self._stopped or now - discard.since >= FOR_S:
            self._give_up(discard)
            return
        if len(self._waiting) >= WAITING_MAX:
            self._give_up(self._waiting.popleft())
        discard.due = now + RETRY_S
        self._waiting.append(discard)
        self._schedule()

    def _give_up(self, discard: Discard) -> None:
        self.given_up += 1
        log.warning(
            "a put that failed may stay",
            blob=str(discard.id),
            request_id=discard.request_id,
            heard_by=[peer.node.name for peer in discard.heard],
        )

    def _schedule(self) -> None:
        if self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._waiting[0].due, loop.time() + TICK_S), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for _ in range(min(PER_TICK, len(self._waiting))):
            if self._waiting[0].due > now:
                break
            self._try_again(self._waiting.popleft())
        self._schedule()

    def _try_again(self, discard: Discard) -> None:
        every = [each.replica for each in self._replicas[discard.id.partition].every]
        peers = [peer for peer in every if peer.usable and peer not in discard.heard]
        if peers:
            self._send(discard, peers)
        else:
            self._wait(discard)

    async def stop(self) -> None:
        """Try all once more, for a moment. From now on none waits: those of which too few have heard are given up."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST_TRY_S
        while waiting and loop.time() < end:
            for _ in range(min(PER_TICK, len(waiting))):
                self._try_again(waiting.popleft())
            await asyncio.sleep(TICK_S if waiting else 0)
        for discard in waiting:
            self._give_up(discard)
        self._landed.clear()
        if self._flying:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self._landed.wait()
