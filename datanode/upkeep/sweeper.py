"""The background loop that finds data chunks whose blob is gone: deleted, expired, or never finished by its upload.

A chunk lives while its parent does, and only its record says who that is. What is found dead gets a tombstone like any deleted
blob: it replicates, and compaction gives the space back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

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
from datanode.upkeep.progress import RoundProgress, describe
from datanode.upkeep.schedule import Schedule
from datanode.upkeep.throttle import PIECE_MAX_S, REST_FACTOR

log = get_logger()

PAGE = 500
"""Index entries looked at, and heads read, in one visit to a disk thread."""
PAUSE_S = 0.01
TICK_S = 30.0
RETRY_S = 60.0
"""After a round that failed."""
ROUND = "sweep"

MakeDurable = Callable[[Replica, Sequence[Record]], Awaitable[None]]
"""Appends records; they are durable when it returns."""


class ChunkSweeper:
    """Sweeps the replicas of a node, one after the other.

    `clock` has the time that most data nodes have; `doubt` says why nothing may be freed by it now, if so. How old a chunk is
    depends on neither: it is counted here, from the moment it came (datanode/store/age.py).
    """

    def __init__(
        self,
        replicas: Replicas,
        *,
        disk: Disk,
        config: SweepSection,
        clock: Clock,
        doubt: Callable[[], str],
        oracle: FateOracle,
        make_durable: MakeDurable,
    ) -> None:
        self._replicas = replicas
        self._disk = disk
        self._config = config
        self._clock = clock
        self._doubt = doubt
        self._oracle = oracle
        self._make_durable = make_durable
        self._progress: RoundProgress | None = None
        self._schedule = Schedule(replicas, clock=clock)

    def opened(self, replica: Replica) -> None:
        """A replica was opened: it is due once it was open for an interval since its last round, or since it began."""
        store = replica.store
        self._schedule.put(replica, in_s=self._config.interval_s - (store.age.open_s - store.rounds.get(ROUND, 0.0)))

    async def tick(self) -> float:
        """Sweep what is due; the tick of a worker."""
        # Not in doubt about the clock: a tombstone carries a time.
        while not self._doubt() and (replica := self._schedule.due()) is not None:
            store = replica.store
            self._schedule.put(replica, in_s=RETRY_S)
            try:
                await self.sweep(replica)
            finally:
                self._progress = None
            store.rounds[ROUND] = store.age.open_s
            self._schedule.put(replica, in_s=self._config.interval_s)
        return min(TICK_S, self._config.interval_s)

    def progress(self) -> dict[str, Any]:
        """At which replica the sweep is, and how many blobs it looked at; for the admin port."""
        return describe(self._progress)

    async def sweep(self, replica: Replica) -> int:
        """One round over a replica. Raises AmbryError, OSError.

        Returns how many chunks were found dead. Walks through the index in pieces on a disk thread, and rests between them on
        the event loop, the longer the busier that is.
        """
        store = replica.store
        progress = self._progress = RoundProgress(partition=store.partition, unit="blobs")
        over_lsn = store.age.older_than(self._config.grace_s)
        swept = 0
        entries = store.scrub.entries(store.overlay())
        while True:
            began = self._clock.monotonic()
            try:
                page = await self._next_page(replica, entries)
            except ReplicaUnavailable:
                return swept  # it is being reopened, or its index rebuilt
            if not page:
                break
            progress.done += len(page)
            worked_s = self._clock.monotonic() - began
            chunks = [entry for entry in page if _may_be_orphan(entry, over_lsn)]
            if chunks:
                swept += await self._sweep_page(replica, chunks)
            await self._clock.pause(PAUSE_S + min(PIECE_MAX_S, worked_s) * REST_FACTOR * self._disk.load())
        if swept:
            log.info("chunks without a blob", partition=store.partition, chunks=swept)
        return swept

    async def _next_page(self, replica: Replica, entries: Iterator[IndexEntry]) -> list[IndexEntry]:
        """The next entries of a walk; a rebuild of the replica waits meanwhile. Raises ReplicaUnavailable where it was one."""
        async with replica.maintenance_lock:
            if self._replicas.get(replica.partition.id) is not replica or replica.store.state is not StoreState.OPEN:
                raise ReplicaUnavailable(f"partition {replica.partition.id} is not open any more")
            return await self._disk.submit(_take, entries)

    async def _sweep_page(self, replica: Replica, chunks: list[IndexEntry]) -> int:
        age = replica.store.age
        origins = await self._disk.submit(_origins_of, replica.store, chunks)
        dead = await self._oracle.dead(sorted({origin.parent for origin in origins.values()}))
        records = [
            Record(
                kind=RecordKind.UPDATE,
                id=entry.id,
                state=BlobState(entry.state.life_version, True, entry.state.expires_at_ms),
                # Its retention ran while its parent's did; without one it begins now.
                written_at_ms=dead[origin.parent] or self._clock.wall_ms(),
            )
            for entry in chunks
            if (origin := origins.get(entry.id)) is not None
            and origin.parent in dead
            # One whose blob never was may belong to an upload that goes on another day.
            and (dead[origin.parent] or not origin.keep_s or entry.lsn < age.older_than(origin.keep_s))
        ]
        await self._make_durable(replica, records)
        metrics.SWEPT.inc(len(records))
        return len(records)


def _take(entries: Iterator[IndexEntry]) -> list[IndexEntry]:
    return list(islice(entries, PAGE))


def _may_be_orphan(entry: IndexEntry, over_lsn: int) -> bool:
    """Whether it is a living chunk whose upload must be over by now: those of all that came before `over_lsn` are."""
    living = entry.lsn < over_lsn and entry.present and not entry.state.deleted
    return living and BlobId(entry.id).kind is IdKind.CHUNK


class ChunkOrigin(NamedTuple):
    """What a chunk's record says of where it belongs; `keep_s` as in ambry.blob.BlobProperties."""

    parent: bytes
    keep_s: int


def _origins_of(store: BlobStore, chunks: Sequence[IndexEntry]) -> dict[bytes, ChunkOrigin]:
    """That of each chunk whose head can be read. Blocking."""
    origins: dict[bytes, ChunkOrigin] = {}
    for entry in chunks:
        try:
            payload = store.read(entry, 0, 0, cached_only=False)
            if payload is not None:
                properties = decode_properties(payload.head.properties)
                origins[entry.id] = ChunkOrigin(BlobId(properties.parent).raw, properties.keep_s)
        except ReplicaUnavailable:
            raise
        except (OSError, AmbryError):
            continue  # damaged: the scrub finds it; not a chunk with a parent: it stays
    return origins
