"""Comparing one replica with one peer: down into the ranges that differ, what is missing there, and getting that.

Both sides answer as of their own checkpoints, under load. So a difference counts only when it is still there once this replica
has taken in everything of the peer's log up to that answer (datanode/replication/digest.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from dataclasses import replace

from ambry.clock import Clock
from ambry.errors import AmbryError, Overloaded
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.replication import (
    Change,
    DigestsReply,
    DigestsRequest,
    EntriesReply,
    EntriesRequest,
)
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.replicas import Replica
from datanode.replication.authority import Authority
from datanode.replication.cursor import Cursors
from datanode.replication.digest import (
    WITNESSES,
    Comparison,
    KeyRange,
    bounds_of,
    differing,
    lacks,
    may_be_forgotten,
)
from datanode.replication.digest_reader import DigestReader
from datanode.replication.healer import Healer
from datanode.replication.merger import Taken
from datanode.store.ranges import BEHIND_ALL, FIRST_KEY
from datanode.store.retention import Retention

log = get_logger()

EVERYTHING = KeyRange(FIRST_KEY, BEHIND_ALL)
FAN_OUT = 256
LIST_MAX = 1_000
CANDIDATES_MAX = 50_000
"""What differs beyond that is left to the next comparison, and that there is more is said."""
CHANGES_AT_ONCE = 500
"""Taken in together: what their bytes need is bounded by the intake."""
PATIENCE_S = 10.0
"""For so long what is on its way may take to come, before a comparison is put off to the next round."""
POLL_S = 0.05

TakeIn = Callable[[Peer, Replica, list[Change]], Awaitable[Taken]]
"""As Merger.take_in."""


class PairComparer:
    """Compares one replica with one peer.

    `clock` has the time that most data nodes have. `certain_retention` says what is over for sure: nothing, while there is a
    doubt about the clock (datanode/upkeep/skew.py).
    """

    def __init__(
        self,
        *,
        cursors: Cursors,
        authority: Authority,
        reader: DigestReader,
        healer: Healer,
        take_in: TakeIn,
        clock: Clock,
        certain_retention: Callable[[], Retention],
        timeout_s: float,
    ) -> None:
        self._cursors = cursors
        self._authority = authority
        self._reader = reader
        self._healer = healer
        self._take_in = take_in
        self._clock = clock
        self._certain_retention = certain_retention
        self._timeout_s = timeout_s
        self._witnesses: dict[tuple[int, bytes], set[str]] = {}
        """By partition and blob that may have been deleted long ago: the peers that hold it."""

    async def compare(self, replica: Replica, peer: Peer, *, repair: bool, fresh: bool) -> Comparison:
        """Compare, as of now where `fresh`, and `repair` what is missing here. Raises AmbryError."""
        if fresh:
            await self._reader.refresh(replica)
        retention = self._certain_retention()
        # Nobody has dropped anything that expires later: so far, both must hold the same.
        after_ms = self._clock.wall_ms() - retention.deleted_ms
        spans = await self._differing(replica, peer, EVERYTHING, 1, after_ms, fresh=fresh)
        candidates: dict[bytes, Change] = {}
        lsn = 0
        incarnation = b""
        while spans and len(candidates) < CANDIDATES_MAX:
            span = spans.pop()
            inner = await self._differing(replica, peer, span, FAN_OUT, after_ms)
            if inner != [span]:
                spans += inner
                continue
            reply = await self._list(replica, peer, span, candidates, retention, after_ms)
            if incarnation not in (b"", reply.incarnation):
                return Comparison(undecided="the peer began another log meanwhile")
            incarnation = reply.incarnation
            lsn = max(lsn, reply.lsn)
        if not candidates:
            return Comparison()
        if not await self._passed(replica, peer, incarnation, max(lsn, *(c.lsn + 1 for c in candidates.values()))):
            return Comparison(undecided="what is on its way takes long")
        result = await self._settle(replica, peer, list(candidates.values()), repair=repair)
        return replace(result, more=bool(spans))

    async def _differing(
        self, replica: Replica, peer: Peer, span: KeyRange, limit: int, after_ms: int, *, fresh: bool = False
    ) -> list[KeyRange]:
        """The ranges of the peer in a span that are not the same here."""
        request = DigestsRequest(replica.partition.id, span.low, span.high, after_ms, limit, fresh)
        frame = await peer.request(MessageType.DIGESTS, request, timeout_s=self._timeout_s)
        reply = messages.decode(frame.header, DigestsReply)
        bounds = bounds_of(span, reply.ranges)
        if not reply.whole or not reply.ranges or bounds != sorted(set(bounds)):
            raise Overloaded(f"{peer.node.name} counts its digests anew")
        ours = await self._reader.sums(replica, bounds, after_ms)
        if ours is None:
            raise Overloaded("digests are counted anew here")
        return differing(span, reply.ranges, ours)

    async def _list(
        self,
        replica: Replica,
        peer: Peer,
        span: KeyRange,
        candidates: dict[bytes, Change],
        retention: Retention,
        after_ms: int,
    ) -> EntriesReply:
        """Add to `candidates` what the peer has in a span and we do not know; returns the last answer."""
        low = span.low
        while True:
            request = EntriesRequest(replica.partition.id, low, span.high, LIST_MAX)
            frame = await peer.request(MessageType.ENTRIES, request, timeout_s=self._timeout_s)
            reply = messages.decode(frame.header, EntriesReply)
            async with replica.lookups.hold([change.id for change in reply.entries]) as here:
                for change in reply.entries:
                    lives = not change.state.deleted
                    if lives and change.state.expires_at_ms <= after_ms:
                        continue  # we may have dropped it
                    if lacks(here.get(change.id), change, retention):
                        candidates[change.id] = change
            if reply.next <= low:
                return reply
            low = reply.next

    async def _passed(self, replica: Replica, peer: Peer, incarnation: bytes, lsn: int) -> bool:
        """Wait until everything of the peer's log before `lsn` was taken in here."""
        for _ in range(max(1, round(PATIENCE_S / POLL_S))):
            cursor = self._cursors.get(peer.node.name, replica.partition.id)
            if cursor is None or cursor.incarnation != incarnation:
                return False
            if cursor.next_lsn >= lsn:
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def _settle(self, replica: Replica, peer: Peer, changes: list[Change], *, repair: bool) -> Comparison:
        """Of `changes`, all of which should have come here: count what is missing still, and get it."""
        store, name = replica.store, peer.node.name
        cursor = self._cursors.get(name, replica.partition.id)
        retention = self._certain_retention()
        missing: list[Change] = []
        doubtful = 0
        async with replica.lookups.hold([change.id for change in changes]) as here:
            for change in changes:
                entry = here.get(change.id)
                if not lacks(entry, change, retention) or cursor is None or change.id in cursor.outstanding:
                    continue  # it came meanwhile, or is being looked for
                forgotten = may_be_forgotten(
                    entry, change, retention, now_ms=self._clock.wall_ms(), purged_lsn=store.lineage.purged_lsn
                )
                if forgotten and self._count_witness(replica, change, name) < WITNESSES:
                    doubtful += 1
                    continue
                missing.append(change)
        if not missing or cursor is None:
            return Comparison(doubtful=doubtful)
        metrics.LACKING.labels(peer.node.datacenter).inc(len(missing))
        if not repair:
            return Comparison(lacking=len(missing), doubtful=doubtful)
        cursor.lack({change.id: change.lsn for change in missing})
        # What it lacked it would have said does not exist.
        self._authority.withdraw(replica)
        repaired = 0
        for first in range(0, len(missing), CHANGES_AT_ONCE):
            some = missing[first : first + CHANGES_AT_ONCE]
            failed = await self._get(peer, replica, some)
            for change in some:
                if change.id not in failed:
                    self._cursors.found(replica.partition.id, change.id)
                    self._witnesses.pop((replica.partition.id, change.id), None)
                    repaired += 1
        metrics.REPAIRED.labels(peer.node.datacenter).inc(repaired)
        self._authority.check(replica)
        return Comparison(lacking=len(missing), repaired=repaired, doubtful=doubtful)

    async def _get(self, peer: Peer, replica: Replica, changes: list[Change]) -> Container[bytes]:
        """Take changes in. Returns the blobs whose bytes the peer could not give: they are looked for everywhere then."""
        try:
            return (await self._take_in(peer, replica, changes)).failed
        except AmbryError as error:
            log.warning("repair put off", partition=replica.partition.id, peer=peer.node.name, error=error.message)
            wanted = [change for change in changes if change.present]
            for change in wanted:
                self._healer.want(replica.partition.id, change.id, change.dated)
            return {change.id for change in wanted}

    def _count_witness(self, replica: Replica, change: Change, peer: str) -> int:
        """How many peers hold a blob that we may have forgotten, `peer` included."""
        if len(self._witnesses) >= CANDIDATES_MAX:
            self._witnesses.clear()  # the next rounds find them again
        witnesses = self._witnesses.setdefault((replica.partition.id, change.id), set())
        witnesses.add(peer)
        return len(witnesses)
