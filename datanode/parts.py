"""The parts of a data node, as datanode/wiring.py puts them together: what runs by itself, and how it begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambry.clustermap.model import ClusterMap, Node
from ambry.network.later import Later
from ambry.network.pool import PeerPool
from ambry.network.responding import Handler
from ambry.service.worker import Tick
from datanode import data_directory
from datanode.checkpointer import Checkpointer
from datanode.config import DataNodeConfig
from datanode.disk import Disk
from datanode.handlers.counting import RequestCounts
from datanode.replicas import Replicas
from datanode.replication.authority import Authority
from datanode.replication.bootstrap import Bootstrapper
from datanode.replication.comparer import Comparer
from datanode.replication.cursor import Cursors
from datanode.replication.feed import ChangeFeed
from datanode.replication.healer import Healer
from datanode.replication.horizon import Horizon
from datanode.replication.intake import Intake
from datanode.replication.losses import Losses
from datanode.replication.replicator import Replicator
from datanode.store.files import Files
from datanode.upkeep.asides import Asides
from datanode.upkeep.clocks import NodeClocks
from datanode.upkeep.compactor import Compactor
from datanode.upkeep.fates import Fates
from datanode.upkeep.hangs import DiskWatch
from datanode.upkeep.room import Room
from datanode.upkeep.scrubber import Scrubber
from datanode.upkeep.sweeper import ChunkSweeper
from datanode.write_queue import WriteQueue

COMPACTION_STARTS_AFTER_S = 60.0
SCRUB_STARTS_AFTER_S = 120.0
SWEEP_STARTS_AFTER_S = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one data node, `own` in the map."""

    config: DataNodeConfig
    map: ClusterMap
    own: Node
    files: Files
    disk: Disk
    writes: WriteQueue
    pool: PeerPool
    replicas: Replicas
    checkpointer: Checkpointer
    feed: ChangeFeed
    horizon: Horizon
    cursors: Cursors
    intake: Intake
    healer: Healer
    losses: Losses
    authority: Authority
    bootstrapper: Bootstrapper
    replicator: Replicator
    comparer: Comparer
    scrubber: Scrubber
    compactor: Compactor
    fates: Fates
    sweeper: ChunkSweeper
    room: Room
    disk_watch: DiskWatch
    asides: Asides
    later: Later
    handlers: Mapping[int, Handler]
    """By the type of request that each answers."""
    counts: RequestCounts
    clocks: NodeClocks

    async def open_replicas(self) -> None:
        """Open every replica. Raises StoreMismatch, ConfigInvalid; a replica that cannot be read is only unavailable."""
        await data_directory.make(self.files, self.disk, Path(self.config.node.data_dir))
        await self.replicas.open_all(self.map.partitions_of(self.own.name))
        self.clocks.judge.telling = True

    def ticks(self) -> dict[str, Tick]:
        """What runs by itself, by the name of its worker."""
        found: dict[str, Tick] = {
            "asides": self.asides.tick,
            "checkpoint": self.checkpointer.tick,
            "clock": self.clocks.tick,
            "compare": self.comparer.tick,
            "digests": self.comparer.tidy,
            "disk": self.disk_watch.tick,
            "heal": self.healer.tick,
            "room": self.room.tick,
        }
        found |= self.replicator.ticks()
        if self.config.bootstrap.enabled:
            found["bootstrap"] = self.bootstrapper.tick
        if self.config.compaction.enabled:
            found["compaction"] = self.compactor.tick
        if self.config.scrub.enabled:
            found["scrub"] = self.scrubber.tick
        if self.config.sweep.enabled:
            found["sweep"] = self.sweeper.tick
        return found

    def paused(self) -> dict[str, Callable[[], str]]:
        """Which of them free something by the clock, and therefore pause while it is in doubt: what says why."""
        return dict.fromkeys(("compaction", "sweep"), self.clocks.judge.doubt)

    def starts_after_s(self) -> dict[str, float]:
        """Which of them begin later, about so many seconds after the start: a node that comes back has better to do first."""
        return {
            "compare": min(SWEEP_STARTS_AFTER_S, self.config.replication.compare_interval_s),
            "compaction": min(COMPACTION_STARTS_AFTER_S, self.config.compaction.interval_s),
            "scrub": min(SCRUB_STARTS_AFTER_S, self.config.scrub.interval_s),
            "sweep": min(SWEEP_STARTS_AFTER_S, self.config.sweep.interval_s),
        }

    def progress(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """How far the long rounds are, by the name of their worker."""
        return {
            "bootstrap": self.bootstrapper.progress,
            "compare": self.comparer.progress,
            "compaction": self.compactor.progress,
            "scrub": self.scrubber.progress,
            "sweep": self.sweeper.progress,
        }

    def hurry(self) -> None:
        """Let the work that is on a disk thread end at its next record: background work, and the opening of replicas."""
        self.replicas.stop_opening()
        self.scrubber.stop()
        self.compactor.stop()

    async def close(self) -> None:
        """Checkpoint cleanly what has nothing in flight any more, and release everything."""
        await self.replicas.settle()
        await self.checkpointer.finish()
        # The threads first: a descriptor must not be closed, and its number given to another file, under a write.
        self.disk.close()
        await self.replicas.close()
