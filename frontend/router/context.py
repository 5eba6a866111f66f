"""What every operation of the router needs: the map, the peers, and the settings."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ambry.checksum import BLOCK_SIZE
from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap, Node, Partition
from ambry.errors import Unavailable
from ambry.ids import BlobId
from ambry.network.pool import PeerPool
from frontend.config import RouterSection
from frontend.router.budget import SMALL_BYTES, MemoryBudget, Need
from frontend.router.placement import PartitionChooser
from frontend.router.quorum import Candidate, ReadTracker, absent_target

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
    placement: PartitionChooser
    _absent_targets: dict[int, dict[int, int]] = field(default_factory=dict, init=False)

    def read_unit(self) -> int:
        """How much one read of a download fetches: less when memory is short, so that everybody goes on."""
        return BLOCK_SIZE if self.read_budget.scarce else self.config.read_unit_bytes

    def read_ahead(self) -> int:
        """How many units a download holds at once."""
        return 1 if self.read_budget.scarce else self.config.read_ahead

    async def take_to_read(self, size: int, *, of: int, started: bool = False) -> None:
        """Take memory for `size` bytes of a read of `of` bytes in all; one that has `started` to answer waits longer.

        Raises Overloaded when it does not come.
        """
        need = Need.SMALL if of <= SMALL_BYTES else Need.LARGE
        timeout_s = self.config.memory_wait_ms / 1000 * (4 if started else 1)
        await self.read_budget.take(size, need, timeout_s=timeout_s)

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
