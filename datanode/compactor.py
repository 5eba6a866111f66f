"""The background loop that gives the space of dead blobs back: one compaction at a time on a node, throttled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ambry.clock import Clock
from ambry.logs import get_logger
from datanode import metrics
from datanode.config import CompactionSection
from datanode.store.blob_store import StoreState
from datanode.store.compaction import Copied, DamagedInput, Retention, plan
from datanode.store.segment import Segment
from datanode.stores import Replica, Stores
from datanode.throttle import Throttle

log = get_logger()

MOVES_PER_TURN = 500
"""Entries switched in one turn of the event loop: well under a millisecond each hundred."""
CHECKPOINT_RETRY_S = 1.0
CLOSE_AFTER_S = 60.0
"""A replaced file is closed this much later: no read takes longer."""


class Compactor:
    """Compacts the replicas of a node, one after the other."""

    def __init__(
        self,
        stores: Stores,
        *,
        config: CompactionSection,
        segment_size_bytes: int,
        reserve_bytes: int,
        clock: Clock,
        horizon: Callable[[Replica], int],
        on_damage: Callable[[Replica], None],
    ) -> None:
        self._stores = stores
        self._config = config
        self._segment_size_bytes = segment_size_bytes
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._horizon = horizon
        self._on_damage = on_damage
        self._throttle: Throttle | None = None
        self._stopping = False

    async def tick(self) -> float:
        """Compact what is worth it; the tick of a worker."""
        compacted = [await self.compact(replica) for replica in self._stores.all()]
        return 0.0 if any(compacted) else self._config.interval_s

    async def compact(self, replica: Replica) -> bool:
        """One compaction of a replica, if one is worth it. Raises OSError, AmbryError; the log stays whole in any case."""
        async with replica.maintenance_lock:
            return await self._compact(replica)

    def stop(self) -> None:
        """Let a copy that is on its way end at its next record."""
        self._stopping = True
        if self._throttle is not None:
            self._throttle.stop()

    async def _compact(self, replica: Replica) -> bool:
        store = replica.store
        if store.state is not StoreState.OPEN or self._stopping:
            return False
        retention = self._retention(replica)
        compacting = store.compacting
        usages = await self._stores.disk.submit(compacting.usages, store.overlay(), retention)
        free = await self._stores.disk.submit(store.free_bytes)
        numbers = plan(
            usages,
            free_bytes=free - self._reserve_bytes,
            output_bytes_max=self._segment_size_bytes,
            dead_share_min=self._config.dead_share_min,
        )
        if not numbers:
            return False
        inputs, output = compacting.plan_output(numbers)
        throttle = self._throttle = Throttle(self._clock, self._config.rate_bytes_per_s)
        try:
            copied = await self._stores.disk.submit(compacting.copier(retention, throttle).run, inputs, output)
        except DamagedInput as damage:
            log.warning("compaction put off: repair first", partition=store.partition, error=damage.message)
            self._on_damage(replica)
            return False
        return await self._switch(replica, copied, retention)

    def _retention(self, replica: Replica) -> Retention:
        return Retention(
            now_ms=self._clock.wall_ms(),
            deleted_ms=self._config.deleted_retention_s * 1000,
            tombstone_ms=self._config.tombstone_retention_s * 1000,
            horizon_lsn=self._horizon(replica),
        )

    async def _switch(self, replica: Replica, copied: Copied, retention: Retention) -> bool:
        store = replica.store
        compacting = store.compacting
        if store.state is not StoreState.OPEN or not compacting.may_switch(copied, retention):
            log.info("compaction given up: a blob came back to life", partition=store.partition)
            await self._stores.disk.submit(compacting.delete_files, [copied.output])
            copied.output.close()
            return False
        compacting.switch_dropped(copied)
        for start in range(0, len(copied.moved), MOVES_PER_TURN):
            compacting.switch_moved(copied, copied.moved[start : start + MOVES_PER_TURN])
            await asyncio.sleep(0)
        while not await self._stores.checkpoint(replica):
            if store.state is not StoreState.OPEN:
                return False  # fenced: the next start finds both and takes the higher generation
            await asyncio.sleep(
                CHECKPOINT_RETRY_S
            )  # the disk is full: the old files stay until the index says otherwise
        retired = compacting.retire([segment.number for segment in copied.inputs])
        asyncio.get_running_loop().call_later(CLOSE_AFTER_S, _close, retired)
        await self._stores.disk.submit(compacting.delete_files, retired)
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


def _close(segments: list[Segment]) -> None:
    for segment in segments:
        segment.close()
