"""All replicas of a data node: opening, finding, checkpointing, closing them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.model import Partition
from ambry.errors import AmbryError, IndexCorrupt, PartitionUnknown, ReplicaUnavailable
from ambry.logs import get_logger
from datanode.config import StoreSection
from datanode.disk import Committer, Disk
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.files import Files
from datanode.store.opening import open_store

log = get_logger()

CHECKPOINT_ROOM_BYTES = 4 << 20
CHECKPOINT_ENTRY_BYTES = 1024
"""Room that a checkpoint wants to see: LMDB copies every page that an entry's change touches."""

Tokens = Mapping[str, tuple[bytes, int]]
"""Per peer: its incarnation, and the LSN up to which everything of it is here and durable at the next checkpoint."""


@dataclass(slots=True)
class Replica:
    """One partition of this node."""

    partition: Partition
    store: BlobStore
    committer: Committer
    last_checkpoint_at: float = 0.0
    checkpoint_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a checkpoint is written: there is never more than one."""
    maintenance_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by scrub and compaction, whose disk threads use the store's files: it is not closed for a rebuild meanwhile."""


class Stores:
    """The replicas by partition id. A replica that is being rebuilt is known but not available."""

    def __init__(
        self,
        *,
        cluster: str,
        data_dir: Path,
        config: StoreSection,
        files: Files,
        clock: Clock,
        random_source: random.Random,
    ) -> None:
        self.disk = Disk(threads=config.io_threads, pending_bytes_max=config.pending_bytes_max)
        self.on_open: Callable[[Replica], None] = lambda _replica: None
        self.tokens_of: Callable[[int], Tokens] = lambda _partition: {}
        self._cluster = cluster
        self._data_dir = data_dir
        self._config = config
        self._files = files
        self._clock = clock
        self._random = random_source
        self._replicas: dict[int, Replica] = {}
        self._known: dict[int, Partition] = {}
        self._rebuilding: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open_all(self, partitions: Iterable[Partition]) -> None:
        """Open every replica, in parallel on the disk's threads. Raises the first failure; the message names the place."""
        wanted = list(partitions)
        self._known = {partition.id: partition for partition in wanted}
        opened = await asyncio.gather(
            *(self._open(partition, rebuild=False) for partition in wanted), return_exceptions=True
        )
        failures = [result for result in opened if isinstance(result, BaseException)]
        if failures:
            raise failures[0]

    async def _open(self, partition: Partition, *, rebuild: bool) -> None:
        store = await self.disk.submit(
            open_store,
            self._files,
            self._data_dir / f"partition-{partition.id:08d}",
            cluster=self._cluster,
            partition=partition.id,
            segment_size_bytes=self._config.segment_size_bytes,
            clock=self._clock,
            random_source=self._random,
            rebuild=rebuild,
        )
        committer = Committer(
            store,
            self.disk,
            batch_bytes_max=self._config.batch_bytes_max,
            batch_records_max=self._config.batch_records_max,
            gather_ms=self._config.gather_ms,
            reserve_bytes=self._config.reserve_bytes,
        )
        replica = Replica(partition, store, committer, last_checkpoint_at=self._clock.monotonic())
        self._replicas[partition.id] = replica
        self.on_open(replica)

    def __getitem__(self, partition_id: int) -> Replica:
        """Raises PartitionUnknown, or ReplicaUnavailable while the replica is being rebuilt."""
        replica = self._replicas.get(partition_id)
        if replica is not None:
            return replica
        if partition_id in self._known:
            raise ReplicaUnavailable(f"partition {partition_id} is being rebuilt on this node; other replicas serve it")
        raise PartitionUnknown(f"this node holds no replica of partition {partition_id}; is its layout up to date?")

    def get(self, partition_id: int) -> Replica | None:
        return self._replicas.get(partition_id)

    def all(self) -> list[Replica]:
        return [replica for _, replica in sorted(self._replicas.items())]

    # --- checkpoints ---

    async def checkpoint_due(self) -> float:
        """Checkpoint the replicas that need it; the tick of a worker."""
        config = self._config
        now = self._clock.monotonic()
        for replica in self.all():
            if replica.store.reseal(config.capacity_bytes):
                log.warning("partition sealed or unsealed", partition=replica.partition.id, sealed=replica.store.sealed)
            count = replica.store.recent_count
            aged = now - replica.last_checkpoint_at >= config.checkpoint_interval_s
            if count >= config.checkpoint_records or (count and aged):
                await self.checkpoint(replica)
        return min(1.0, config.checkpoint_interval_s)

    async def checkpoint(self, replica: Replica, *, clean: bool = False) -> bool:
        """Make the index durable up to what is published now. A failure fences the replica.

        Returns whether that happened: on a full disk it is put off, since LMDB does not survive running out of room. The log
        has all of it, and the entries in memory stay few, as puts are refused by then.

        A checkpoint that began runs to its end even when the caller is cancelled: entries that were frozen for it and never
        written would be missing from the index.
        """
        task = asyncio.get_running_loop().create_task(self._checkpoint_locked(replica, clean=clean))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _checkpoint_locked(self, replica: Replica, *, clean: bool) -> bool:
        async with replica.checkpoint_lock:
            done = await self._checkpoint(replica.store, clean=clean)
            replica.last_checkpoint_at = self._clock.monotonic()
            return done

    async def _checkpoint(self, store: BlobStore, *, clean: bool) -> bool:
        if store.state is not StoreState.OPEN:
            return False
        try:
            free = await self.disk.submit(store.free_bytes)
            if free < CHECKPOINT_ROOM_BYTES + store.recent_count * CHECKPOINT_ENTRY_BYTES:
                log.warning("checkpoint put off: the disk is full", partition=store.partition, free_bytes=free)
                return False
            tokens = dict(self.tokens_of(store.partition))
            frozen, checkpoint, unsynced = store.begin_checkpoint(clean=clean, tokens=tokens)
            await self.disk.submit(store.write_checkpoint, frozen, checkpoint, unsynced)
            store.end_checkpoint(checkpoint, unsynced)
            return True
        except (OSError, AmbryError) as error:
            store.fence(f"checkpoint failed: {error}")
            log.error("replica fenced", partition=store.partition, error=str(error))
            if isinstance(error, IndexCorrupt) and not clean:
                # The log is well: only the index has to be made anew.
                self.rebuild(store.partition, error.message)
            return False

    # --- rebuilding and closing ---

    def rebuild(self, partition_id: int, reason: str) -> None:
        """Reopen a replica with its index rebuilt from the log, in the background. Repeated calls are one."""
        replica = self._replicas.get(partition_id)
        if replica is None or partition_id in self._rebuilding:
            return
        log.error("index unusable, rebuilding from the log", partition=partition_id, reason=reason)
        self._rebuilding.add(partition_id)
        task = asyncio.get_running_loop().create_task(self._rebuild(replica))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rebuild(self, replica: Replica) -> None:
        partition = replica.partition
        try:
            del self._replicas[partition.id]
            await replica.committer.wait_idle()
            async with replica.maintenance_lock, replica.checkpoint_lock:
                pass  # a checkpoint on its way ends first
            replica.store.close()
            await self._open(partition, rebuild=True)
        except Exception as error:
            # The partition stays known and unavailable: other replicas serve it, an operator must look.
            log.error("rebuild failed, replica stays unavailable", partition=partition.id, error=str(error))
        finally:
            self._rebuilding.discard(partition.id)

    async def close(self) -> None:
        """Checkpoint cleanly what has nothing in flight any more, and release everything."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        idle = [replica for replica in self.all() if replica.committer.idle]
        await asyncio.gather(*(self.checkpoint(replica, clean=True) for replica in idle))
        # The threads first: a descriptor must not be closed, and its number given to another file, under a write.
        self.disk.close()
        for replica in self.all():
            replica.store.close()
        self._replicas.clear()
