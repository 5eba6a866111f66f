"""The background loop that gives the space of dead blobs back: one compaction at a time on a node, throttled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, ParamSpec, TypeVar

from ambry.clock import Clock
from ambry.errors import IndexCorrupt, Overloaded
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.checkpointer import Checkpointer
from datanode.config import CompactionSection
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.store.blob_store import StoreState
from datanode.store.compaction.copy import Copied, DamagedInput
from datanode.store.compaction.plan import Usage, plan, replaced
from datanode.store.index import Held
from datanode.store.retention import Retention, retention_at
from datanode.store.segment import Segment
from datanode.store.trouble import is_full, is_shortage
from datanode.upkeep.progress import RoundProgress, describe
from datanode.upkeep.throttle import Throttle

log = get_logger()

P = ParamSpec("P")
T = TypeVar("T")

MOVES_PER_TURN = 100
"""Entries switched in one turn of the event loop: under a millisecond."""
MOVES_PER_CHECKPOINT = 50_000
"""Entries that may wait in memory meanwhile."""
WALK_SHARE = 0.02
"""Looking for something to do goes through whole indexes: it may take so much of the time of a node."""
CHECKPOINT_RETRY_S = 1.0
SHORTAGE_RETRY_S = 0.5
CLOSE_AFTER_S = 60.0
"""A replaced file is closed this much later: no read takes longer."""


class Walk(NamedTuple):
    """What a walk through an index found: how much of each segment is needed, and when it began (monotonic, seconds)."""

    began: float
    usages: list[Usage]


class Compactor:
    """Compacts the replicas of a node, one after the other.

    `certain_ms` tells the wall time that may free something, or 0 (datanode/upkeep/skew.py).
    `ask_for_scrub` gets replicas with a segment that must be repaired first, `on_missing` blobs whose bytes must be fetched.
    """

    def __init__(
        self,
        replicas: Replicas,
        *,
        disk: Disk,
        busy: Callable[[], bool],
        checkpointer: Checkpointer,
        config: CompactionSection,
        segment_size_bytes: int,
        reserve_bytes: int,
        clock: Clock,
        certain_ms: Callable[[], int],
        horizon: Callable[[Replica], int],
        ask_for_scrub: Callable[[Replica], None],
        on_missing: Callable[[Replica, bytes], None],
    ) -> None:
        self._replicas = replicas
        self._disk = disk
        self._busy = busy
        self._checkpointer = checkpointer
        self._config = config
        self._segment_size_bytes = segment_size_bytes
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._certain_ms = certain_ms
        self._horizon = horizon
        self._ask_for_scrub = ask_for_scrub
        self._on_missing = on_missing
        self._throttle: Throttle | None = None
        self._stopping = False
        self._progress: RoundProgress | None = None
        self._candidates: dict[int, Replica] = {}
        """By partition: those that have a segment behind which appends go on. No other has anything to compact."""
        self._round: deque[int] = deque()
        """Partitions that are still to be looked at in this round."""
        self._walk_after = 0.0
        """Monotonic, in seconds: no index is walked through before."""
        self._known: dict[int, Walk] = {}
        """By partition what is still true of the last walk, while there is more to do."""

    def note(self, replica: Replica) -> None:
        """A replica was opened, or had a checkpoint: there may be something to do by now."""
        if replica.store.segment_count() > 1:
            self._candidates[replica.partition.id] = replica

    async def tick(self) -> float:
        """Compact what is worth it, in rounds over all that may have something; the tick of a worker."""
        if not self._round:
            self._round.extend(sorted(self._candidates))
        while self._round:
            number = self._round[0]
            wait_s = self._walk_after - self._clock.monotonic()
            if wait_s > 0 and number not in self._known:
                return min(wait_s, self._config.interval_s)
            self._round.popleft()
            replica = self._candidates[number]
            if self._replicas.get(number) is not replica:
                del self._candidates[number]  # it comes back when it is opened
            elif await self.compact(replica):
                self._round.append(number)  # there may be more
        return self._config.interval_s

    async def compact(self, replica: Replica) -> bool:
        """One compaction of a replica, if one is worth it. Raises OSError, AmbryError; the log stays whole in any case."""
        async with replica.maintenance_lock:
            try:
                return await self._compact(replica)
            except IndexCorrupt:
                return False  # it is being rebuilt
            finally:
                self._progress = None

    def progress(self) -> dict[str, Any]:
        """Which segments of which replica are copied, and how much of them was read; for the admin port."""
        return describe(self._progress)

    def stop(self) -> None:
        """Let a copy that is on its way end at its next record."""
        self._stopping = True
        if self._throttle is not None:
            self._throttle.stop()

    async def _compact(self, replica: Replica) -> bool:
        store = replica.store
        if store.state is not StoreState.OPEN or self._stopping:
            return False
        disk = self._disk
        throttle = self._throttle = Throttle(self._clock, self._config.rate_bytes_per_s, self._busy, disk.load)
        # In doubt about the clock nothing is over yet: damage and what later records replaced go all the same.
        retention = retention_at(self._config, self._certain_ms(), horizon_lsn=self._horizon(replica))
        compaction = store.compaction
        walk = self._known.pop(store.partition, None)
        if walk is None or not walk.usages or self._clock.monotonic() - walk.began > self._config.interval_s:
            began = self._clock.monotonic()
            walk = Walk(began, await throttle.run(disk, compaction.usages(store.overlay(), retention)))
            compaction.waiting = sum(usage.waiting for usage in walk.usages)
            now = self._clock.monotonic()
            self._walk_after = now + (now - began) / WALK_SHARE
        free = await disk.submit(store.free_bytes)
        numbers = plan(
            walk.usages,
            free_bytes=free - self._reserve_bytes,
            output_bytes_max=self._segment_size_bytes,
            dead_share_min=self._config.dead_share_min,
            pinned=store.copies.pinned(),
        )
        if not numbers:
            return False
        copied = await self._copy(replica, numbers, retention, throttle)
        if copied is None or not await self._put_in_place(replica, copied, retention):
            return False
        await self._switch(replica, copied, retention)
        if not await self._delete_replaced(replica, copied):
            return False
        self._known[store.partition] = Walk(walk.began, replaced(walk.usages, numbers, copied.output))
        return True

    async def _copy(
        self, replica: Replica, numbers: Sequence[int], retention: Retention, throttle: Throttle
    ) -> Copied | None:
        store = replica.store
        disk = self._disk
        inputs, output = store.compaction.plan_output(numbers)
        progress = self._progress = RoundProgress(
            partition=store.partition, unit="bytes", total=sum(segment.end for segment in inputs), segments=numbers
        )
        copier = store.compaction.copier(retention)
        try:
            return await throttle.run(disk, progress.counting(copier.run(inputs, output)))
        except DamagedInput as damage:
            log.warning("compaction put off: repair first", partition=store.partition, error=damage.message)
            store.compaction.damaged.discard(damage.segment)  # until the scrub has been there
            self._ask_for_scrub(replica)
        except (OSError, MemoryError) as error:
            if is_full(error):
                log.warning("compaction put off: the disk is full", partition=store.partition)
            elif is_shortage(error):
                log.warning("compaction put off: no descriptors or memory left", partition=store.partition)
            else:
                store.fence(f"compaction could not write: {error}")
        return None

    async def _put_in_place(self, replica: Replica, copied: Copied, retention: Retention) -> bool:
        store = replica.store
        disk = self._disk
        may_switch = await disk.submit(store.compaction.may_switch, copied, retention)
        if store.state is not StoreState.OPEN or not may_switch:
            log.info("compaction given up", partition=store.partition, came_back_to_life=not may_switch)
            await disk.submit(store.compaction.give_up, copied)
            return False
        try:
            await self._patiently(store.compaction.put_in_place, copied)
        except OSError as error:
            if is_full(error) and await self._taken_back(replica, copied):
                log.warning("compaction put off: the disk is full", partition=store.partition)
                return False
            # Whether the old files count or the new one is known only after a restart.
            store.fence(f"compaction could not put its file in place: {error}")
            return False
        return True

    async def _taken_back(self, replica: Replica, copied: Copied) -> bool:
        """Delete a copy that has not got its name; False where it may have it already."""
        try:
            await self._disk.submit(replica.store.compaction.give_up, copied)
        except (OSError, MemoryError):
            return False
        return True

    async def _patiently(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do on a disk thread what must be done by now; without descriptors or memory for it, later. Raises OSError."""
        while True:
            try:
                return await self._disk.submit(work, *args, **kwargs)
            except (OSError, MemoryError) as error:
                if not is_shortage(error):
                    raise
                log.warning("compaction waits: no descriptors or memory left", error=repr(error))
            await self._clock.pause(SHORTAGE_RETRY_S)

    async def _switch(self, replica: Replica, copied: Copied, retention: Retention) -> None:
        """Point the index to the new segment, piece by piece: it is right at every moment."""
        compaction = replica.store.compaction
        self._checkpointer.changed(replica.partition.id)
        compaction.begin_switch(copied)
        for dropped in _pieces(copied.dropped):
            async with self._holding(replica, [item.id for item in dropped]) as here:
                revived = compaction.switch_dropped(dropped, retention, here)
            for blob_id in revived:
                self._on_missing(replica, blob_id)
            await self._breathe(replica)
        for forgotten in _pieces(copied.forgotten):
            async with self._holding(replica, [item.id for item in forgotten]) as here:
                compaction.switch_forgotten(forgotten, here)
            await self._breathe(replica)
        for moved in _pieces(copied.moved):
            async with self._holding(replica, [item.id for item in moved]) as here:
                compaction.switch_moved(copied, moved, here)
            await self._breathe(replica)

    @asynccontextmanager
    async def _holding(self, replica: Replica, ids: Sequence[bytes]) -> AsyncIterator[Held]:
        """As Lookups.hold; where that cannot be now it waits: a switch that has begun must come to its end."""
        async with AsyncExitStack() as stack:
            while True:
                try:
                    here = await stack.enter_async_context(replica.lookups.hold(ids))
                    break
                except Overloaded as error:
                    log.warning("compaction waits: the index cannot be asked", error=error.message)
                await self._clock.pause(SHORTAGE_RETRY_S)
            yield here

    async def _breathe(self, replica: Replica) -> None:
        """Let others have their turn; bound what waits in memory."""
        if replica.store.recent_count >= MOVES_PER_CHECKPOINT:
            await self._checkpointer.checkpoint(replica)
        await self._clock.pause(0)

    async def _delete_replaced(self, replica: Replica, copied: Copied) -> bool:
        store = replica.store
        compaction = store.compaction
        while not await self._checkpointer.checkpoint(replica):
            if store.state is not StoreState.OPEN:
                return False  # fenced: the next start finds both and takes the higher generation
            # The disk is full: the old files stay until the index says otherwise.
            await self._clock.pause(CHECKPOINT_RETRY_S)
        retired = compaction.retire([segment.number for segment in copied.inputs])
        asyncio.get_running_loop().call_later(CLOSE_AFTER_S, _close, retired)
        try:
            await self._patiently(compaction.delete_files, retired)
        except OSError as error:
            store.fence(f"compaction could not delete what it replaced: {error}")  # the next start does
            return False
        freed = sum(segment.end for segment in retired) - copied.bytes_written
        metrics.COMPACTED_BYTES.inc(max(0, freed))
        log.info(
            "compacted",
            partition=store.partition,
            segments=[segment.number for segment in copied.inputs],
            into=copied.output.number,
            bytes_freed=freed,
            moved=len(copied.moved),
            dropped=len(copied.dropped),
            tombstones_dropped=len(copied.forgotten),
        )
        return True


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + MOVES_PER_TURN] for start in range(0, len(items), MOVES_PER_TURN))


def _close(segments: list[Segment]) -> None:
    for segment in segments:
        segment.close()
