"""The background loop that finds data chunks whose blob is gone: deleted, expired, or never finished by its upload.

A chunk lives while its parent does, and only its record says who that is. What is found dead gets a tombstone like any deleted
blob: it replicates, and compaction gives the space back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ambry.blob import BlobState
from ambry.clock import Clock
from ambry.errors import AmbryError, ReplicaUnavailable
from ambry.format.properties import decode_properties
from ambry.format.record import Record, RecordKind
from ambry.ids import BlobId, IdKind
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.config import SweepSection
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.entry import IndexEntry
from datanode.upkeep.fates import FateOracle

log = get_logger()

PAGE = 500
"""Index entries looked at in one turn of the event loop, and heads read in one visit to a disk thread."""
PAUSE_S = 0.01
TICK_S = 30.0

MakeDurable = Callable[[Replica, Sequence[Record]], Awaitable[None]]
"""Appends records; they are durable when it returns."""


class ChunkSweeper:
    """Sweeps the replicas of a node, one after the other."""

    def __init__(
        self,
        replicas: Replicas,
        *,
        disk: Disk,
        config: SweepSection,
        clock: Clock,
        oracle: FateOracle,
        make_durable: MakeDurable,
    ) -> None:
        self._replicas = replicas
        self._disk = disk
        self._config = config
        self._clock = clock
        self._oracle = oracle
        self._make_durable = make_durable
        self._due_at: dict[int, float] = {}

    async def tick(self) -> float:
        """Sweep what is due; the tick of a worker."""
        for replica in self._replicas.all():
            number = replica.partition.id
            now = self._clock.monotonic()
            if self._due_at.get(number, now) <= now:
                await self.sweep(replica)
                self._due_at[number] = self._clock.monotonic() + self._config.interval_s
        return min(TICK_S, self._config.interval_s)

    async def sweep(self, replica: Replica) -> int:
        """One round over a replica. Returns how many chunks were found dead. Raises AmbryError, OSError."""
        store = replica.store
        swept = 0
        lsn = 0
        while store.state is StoreState.OPEN:
            try:
                page = store.changes_since(lsn, PAGE)
            except ReplicaUnavailable:
                return swept  # its index is being rebuilt
            if not page:
                break
            lsn = page[-1].lsn + 1
            chunks = [entry for entry in page if self._may_be_orphan(entry)]
            if chunks:
                swept += await self._sweep_page(replica, chunks)
            await asyncio.sleep(PAUSE_S)
        if swept:
            log.info("chunks without a blob", partition=store.partition, chunks=swept)
        return swept

    def _may_be_orphan(self, entry: IndexEntry) -> bool:
        """Whether its upload must be over by now."""
        old = entry.changed_at_ms + self._config.grace_s * 1000 <= self._clock.wall_ms()
        return old and entry.present and not entry.state.deleted and BlobId(entry.id).kind is IdKind.CHUNK

    async def _sweep_page(self, replica: Replica, chunks: list[IndexEntry]) -> int:
        parents = await self._disk.submit(_parents_of, replica.store, chunks)
        dead = await self._oracle.dead(sorted(set(parents.values())))
        records = [
            Record(
                kind=RecordKind.UPDATE,
                id=entry.id,
                state=BlobState(entry.state.life_version, True, entry.state.expires_at_ms),
                # Its retention ran while its parent's did.
                written_at_ms=dead[parents[entry.id]] or entry.changed_at_ms,
            )
            for entry in chunks
            if parents.get(entry.id) in dead
        ]
        await self._make_durable(replica, records)
        metrics.SWEPT.inc(len(records))
        return len(records)


def _parents_of(store: BlobStore, chunks: Sequence[IndexEntry]) -> dict[bytes, bytes]:
    """The parent of each chunk whose head can be read. Blocking."""
    parents: dict[bytes, bytes] = {}
    for entry in chunks:
        try:
            payload = store.read(entry, 0, 0, cached_only=False)
            parent = decode_properties(payload.head.properties).parent if payload is not None else b""
            parents[entry.id] = BlobId(parent).raw
        except ReplicaUnavailable:
            raise
        except (OSError, AmbryError):
            continue  # damaged: the scrub finds it; not a chunk with a parent: it stays
    return parents
