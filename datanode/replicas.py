"""The registry of a data node's replicas: opening, finding, reopening and closing them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.model import Partition
from ambry.errors import (
    AlreadyExists,
    DataCorrupt,
    FormatUnknown,
    InvalidRequest,
    PartitionUnknown,
    ReplicaUnavailable,
)
from ambry.service.logs import get_logger
from datanode.changes import Changes
from datanode.committer import Committer
from datanode.config import StoreSection
from datanode.disk import Disk
from datanode.lookups import Lookups
from datanode.openings import RETRY_MAX_S, RETRY_MIN_S, Openings
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.bounded_files import BoundedFiles
from datanode.store.files import Files
from datanode.store.known import EntryMemory
from datanode.store.opening.progress import Progress
from datanode.store.opening.start_over import NO_CHANGE, DirectoryChange, Renewal, StartOver
from datanode.store.opening.steps import open_store
from datanode.store.trouble import advice, passes
from datanode.write_queue import WriteQueue

log = get_logger()


@dataclass(slots=True)
class Replica:
    """One partition of this node."""

    partition: Partition
    store: BlobStore
    committer: Committer
    lookups: Lookups
    opening: int
    """Counts the openings of this process: a damage that is reported late must not hit the replica's next opening."""
    opened_at: float
    """Monotonic, in seconds."""
    checkpoint_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a checkpoint is written: there is never more than one."""
    maintenance_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by scrub and compaction, whose disk threads use the store's files: it is not closed for a rebuild meanwhile."""


class Replicas(dict[int, Replica]):
    """Those that are available, by partition id. One that is being reopened or could not be opened is known, but not available.

    `on_open` hears of every replica that was opened; `watchers_of` has, by partition, who is told when its store published.
    """

    def __init__(
        self,
        *,
        cluster: str,
        data_dir: Path,
        config: StoreSection,
        files: Files,
        clock: Clock,
        random_source: random.Random,
        disk: Disk,
        writes: WriteQueue,
        on_open: Callable[[Replica], None],
        watchers_of: Callable[[int], Collection[Callable[[], None]]],
    ) -> None:
        super().__init__()
        self._cluster = cluster
        self._data_dir = data_dir
        self._config = config
        self._files = BoundedFiles(files, open_max=config.open_files_max)
        self._clock = clock
        self._random = random_source
        self._disk = disk
        self._writes = writes
        self._memory = EntryMemory(config.remembered_entries_max)
        self._on_open = on_open
        self._watchers_of = watchers_of
        self._known: dict[int, Partition] = {}
        self._reopening: set[int] = set()
        self._failed: dict[int, str] = {}
        self.changes = Changes(disk, clock=clock)
        # One thread is left to those that are open already.
        self._first = Openings(self._opened, at_once=max(1, config.io_threads - 1), random_source=random_source)
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._closing = False
        self._openings = 0

    def expect(self, partitions: Iterable[Partition]) -> None:
        """Say of these that they are opening, before anybody can ask; `open_all` follows."""
        self._known = {partition.id: partition for partition in partitions}
        self._first.expect(self._known.values())

    async def open_all(self, partitions: Iterable[Partition]) -> None:
        """Open every replica on the disk's threads; each serves as soon as it is open, and until then is said to be opening.

        A replica whose files cannot be read, or only by a later release, stays unavailable, and the others serve; one that this
        process only lacks descriptors, memory or threads for is tried again. Raises the first failure of another kind
        (StoreMismatch); the message names the place.
        """
        wanted = list(partitions)
        self.expect(wanted)
        await self._first.run(wanted)

    async def _opened(self, partition: Partition, progress: Progress) -> bool:
        """Try it once; whether that is the end of it. Raises StoreMismatch."""
        try:
            await self._open(partition, progress=progress, rebuild=False)
        except Exception as error:
            if passes(error):
                if progress.lacks != repr(error):  # not with every try
                    log.warning("opening put off: out of resources", partition=partition.id, error=repr(error))
                progress.lacks = repr(error)
                progress.step = f"waiting: {error!r}"
                return False
            if not isinstance(error, DataCorrupt | FormatUnknown | ReplicaUnavailable | OSError):
                raise
            self._give_up(partition.id, error)
        return True

    def stop_opening(self) -> None:
        """Open no more, and let what is being opened end at its next step or record."""
        self._closing = True
        self._first.stop()

    def _give_up(self, partition_id: int, error: Exception) -> None:
        """The partition stays known and unavailable: other replicas serve it, an operator must look."""
        self._failed[partition_id] = said = f"{error}{advice(error)}"
        log.error("replica cannot be opened", partition=partition_id, error=said)

    def unready(self) -> list[str]:
        """What keeps this node from taking writes for all its partitions; empty when nothing does."""
        reasons = [
            f"partition {store.partition} is {store.state}: {store.fence_reason}"
            for store in (replica.store for replica in self.all())
            if store.state is not StoreState.OPEN
        ]
        reasons += [f"partition {number} cannot be opened: {error}" for number, error in sorted(self._failed.items())]
        reasons += [f"partition {number} is opening: {progress}" for number, progress in self._first.progress.items()]
        return reasons + [f"partition {number} is being reopened" for number in sorted(self._reopening)]

    def unavailable(self) -> dict[int, dict[str, Any]]:
        """The partitions that are not open, and how it stands with each; for the admin port."""
        found: dict[int, dict[str, Any]] = {
            number: {"state": "opening", "progress": progress.describe()}
            for number, progress in self._first.progress.items()
        }
        found |= {number: {"state": "reopening", "error": self.changes.undone(number)} for number in self._reopening}
        return found | {number: {"state": "failed", "error": error} for number, error in self._failed.items()}

    async def _open(self, partition: Partition, *, rebuild: bool, progress: Progress | None = None) -> None:
        self._openings += 1
        opening = self._openings
        loop = asyncio.get_running_loop()

        def index_corrupt(reason: str) -> None:
            # On a disk thread, or in the midst of whatever asked the index: mended once that is over.
            loop.call_soon_threadsafe(self._mend_index, partition.id, opening, reason)

        opens = self._opens(partition.id)
        directory = self._data_dir / f"partition-{partition.id:08d}"
        store = await self._disk.submit_patiently(
            opens, directory, on_index_corrupt=index_corrupt, progress=progress, rebuild=rebuild
        )
        store.watchers = self._watchers_of(partition.id)
        store.index.share(self._memory)
        lookups = Lookups(store, self._disk, read_bytes_max=self._config.inline_read_bytes_max)
        committer = Committer(store, self._disk, lookups, self._writes, self._config)
        replica = Replica(partition, store, committer, lookups, opening, opened_at=self._clock.monotonic())
        self[partition.id] = replica
        self._on_open(replica)

    def _opens(self, partition_id: int) -> Callable[..., BlobStore]:
        """What opens a replica of a partition in a directory, on a disk thread."""
        return partial(
            open_store,
            self._files,
            cluster=self._cluster,
            partition=partition_id,
            segment_size_bytes=self._config.segment_size_bytes,
            clock=self._clock,
            random_source=self._random,
        )

    def __missing__(self, partition_id: int) -> Replica:
        """Raises PartitionUnknown, or ReplicaUnavailable while the replica is not open."""
        if partition_id in self._known:
            why = "is being reopened"
            if partition_id in self._failed:
                why = "cannot be opened"
            elif partition_id in self._first.progress:
                why = "is opening, try again"
                self._first.ask_for(partition_id)
            raise ReplicaUnavailable(f"partition {partition_id} {why} on this node; other replicas serve it")
        raise PartitionUnknown(f"this node holds no replica of partition {partition_id}; is its layout up to date?")

    def all(self) -> list[Replica]:
        """Those that are available, by partition id."""
        return [replica for _, replica in sorted(self.items())]

    # --- reopening and closing ---

    def _mend_index(self, partition_id: int, opening: int, reason: str) -> None:
        """The one place where a damaged index ends: whoever met it was told IndexCorrupt, and need do nothing more."""
        replica = self.get(partition_id)
        if replica is not None and replica.opening == opening:
            self.rebuild(replica.store, reason)

    def rebuild(self, store: BlobStore, reason: str) -> None:
        """Reopen a replica with its index rebuilt from the log, in the background. Repeated calls are one.

        Once the registry is closing nothing is rebuilt any more: the next start does.
        """
        replica = self.get(store.partition)
        if replica is not None and replica.store is store and self._reopen_later(replica, rebuild=True):
            log.error("index unusable, rebuilding from the log", partition=store.partition, reason=reason)

    def renew(self, replica: Replica) -> bool:
        """Reopen a replica under a new incarnation, in the background. Returns whether that has begun now."""
        return self._change(replica, Renewal(replica.store.identity, self._random))

    def start_over(self, replica: Replica, *, keep_lsn: int) -> bool:
        """Put a fresh replica in the place of one, in the background (start_over.py). Returns whether that has begun now."""
        opens = self._opens(replica.partition.id)
        return self._change(replica, StartOver(self._files, replica.store, keep_lsn=keep_lsn, open_fresh=opens))

    def _change(self, replica: Replica, change: DirectoryChange) -> bool:
        """As far as it is not too soon after its disk refused one."""
        return self.changes.may_try(replica.partition.id) and self._reopen_later(replica, change)

    def _reopen_later(self, replica: Replica, change: DirectoryChange = NO_CHANGE, *, rebuild: bool = False) -> bool:
        partition = replica.partition
        if self._closing or self.get(partition.id) is not replica:
            return False

        async def reopen() -> None:
            try:
                await self._reopen(partition, replica, change, rebuild=rebuild)
            except Exception as error:
                self._give_up(partition.id, error)
            finally:
                self._reopening.discard(partition.id)

        task = asyncio.get_running_loop().create_task(reopen())
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        del self[partition.id]
        self._reopening.add(partition.id)
        return True

    async def reopen(self, partition_id: int) -> None:
        """Verify a fenced replica, or one that could not be opened, against what is on the disk, and open it again.

        Its log is synced, read back from the disk behind the last checkpoint, and cut where it ends (store/opening/replay.py).
        Raises what kept it from opening; PartitionUnknown; AlreadyExists when it is open; InvalidRequest when it is being
        reopened already.
        """
        partition = self._known.get(partition_id)
        if partition is None:
            raise PartitionUnknown(f"this node holds no replica of partition {partition_id}")
        if partition_id in self._reopening:
            raise InvalidRequest(f"partition {partition_id} is being reopened already")
        replica = self.get(partition_id)
        if replica is not None and replica.store.state is StoreState.OPEN:
            raise AlreadyExists(f"partition {partition_id} is open; there is nothing to mend")
        self.pop(partition_id, None)
        self._reopening.add(partition_id)
        try:
            await self._reopen(partition, replica, rebuild=False)
        except Exception as error:
            # Whatever it was, the partition is in no other table now, and must say why.
            self._give_up(partition_id, error)
            raise
        finally:
            self._reopening.discard(partition_id)

    async def _reopen(
        self, partition: Partition, replica: Replica | None, change: DirectoryChange = NO_CHANGE, *, rebuild: bool
    ) -> None:
        if replica is not None:
            # First of all: whoever still has it in hand could append while the rest is waited for, and be acknowledged
            # for what goes into a file that is closed.
            replica.store.leave()
            await replica.committer.wait_idle()
            async with replica.maintenance_lock, replica.checkpoint_lock:
                pass  # a checkpoint on its way ends first
            await self.changes.carry_out(replica.store, change)
        wait_s = RETRY_MIN_S
        while True:
            try:
                await self._open(partition, rebuild=rebuild)
                self._failed.pop(partition.id, None)
                return
            except Exception as error:
                if replica is None or self._closing or not passes(error):
                    raise  # an operator who waits for it is told at once
                log.warning("reopening put off: out of resources", partition=partition.id, error=repr(error))
            await asyncio.sleep(wait_s * (0.5 + self._random.random()))
            wait_s = min(RETRY_MAX_S, 2 * wait_s)

    async def settle(self) -> None:
        """Begin to close: wait for the rebuilds that are on their way, and begin no more."""
        self.stop_opening()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Release the files of all replicas, one in a turn of the loop. Nothing may run on the disk's threads any more."""
        for replica in self.all():
            replica.store.close()
            await asyncio.sleep(0)
        self.clear()
