"""What every operation of the router needs: the map, the peers, and the settings."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap, Node, Partition
from ambry.errors import Unavailable
from ambry.ids import BlobId
from ambry.network.pool import PeerPool
from frontend.config import RouterSection
from frontend.router.budget import MemoryBudget
from frontend.router.placement import PartitionChooser
from frontend.router.quorum import Candidate, ReadTracker, absent_target
from frontend.router.reading import ReadMemory

SILENCE_S = 1.0
"""How long a suspect replica is waited for when nobody else can decide. Long enough for one that was only busy."""
LOOK_AGAIN_S = 0.25
"""From then on, how often it is looked at who is suspect; a paused node is within 3 s (ambry/network/pool.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterContext:
    map: ClusterMap
    datacenter_id: int
    pool: PeerPool
    clock: Clock
    random_source: random.Random
    config: RouterSection
    budget: MemoryBudget
    """Of uploads."""
    read_budget: MemoryBudget
    """Of downloads: clients that do not read must not keep others from writing."""
    reading: ReadMemory = field(init=False)
    """Who may take how much of it."""
    placement: PartitionChooser
    _absent_targets: dict[int, dict[int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        config = self.config
        reading = ReadMemory(
            self.read_budget,
            unit_bytes=config.read_unit_bytes,
            ahead=config.read_ahead,
            wait_s=config.memory_wait_ms / 1000,
        )
        object.__setattr__(self, "reading", reading)

    def partition_of(self, blob_id: BlobId) -> Partition:
        """Raises Unavailable for a partition that the layout does not have."""
        partition = self.map.partitions.get(blob_id.partition)
        if partition is None:
            raise Unavailable(f"partition {blob_id.partition} is not in this frontend's layout; is it up to date?")
        return partition

    def read_tracker(self, blob_id: BlobId) -> ReadTracker:
        """What decides about one read of a blob. Raises Unavailable for a partition that the layout does not have."""
        partition = self.partition_of(blob_id)
        origin = blob_id.datacenter
        return ReadTracker(
            self.read_order(partition, origin),
            own=self.datacenter_id,
            origin=origin,
            absent_targets=self.absent_targets(partition),
        )

    def read_order(self, partition: Partition, origin: int) -> list[Candidate]:
        """Replicas in the order in which a read asks them.

        Our own datacenter, then the blob's origin, then the others; in each the well ones first, shuffled.
        """
        nodes = list(partition.replicas)
        self.random_source.shuffle(nodes)
        pool = self.pool
        usable = {node.name: pool[node.name].usable for node in nodes}

        def rank(node: Node) -> tuple[int, bool]:
            distance = 0 if node.datacenter_id == self.datacenter_id else 1 if node.datacenter_id == origin else 2
            return distance, not usable[node.name]

        return [Candidate(node.name, node.datacenter_id) for node in sorted(nodes, key=rank)]

    def absent_targets(self, partition: Partition) -> dict[int, int]:
        """By datacenter, how many replicas must say "not found"."""
        targets = self._absent_targets.get(partition.id)
        if targets is None:
            counts: dict[int, int] = {}
            for node in partition.replicas:
                counts[node.datacenter_id] = counts.get(node.datacenter_id, 0) + 1
            targets = {number: absent_target(count, self.config.success_target) for number, count in counts.items()}
            self._absent_targets[partition.id] = targets
        return targets
