"""Which partition a new blob goes to.

Two partitions are drawn among those whose replicas answer, and the one with less waiting for its replicas is taken. The choice
for small blobs sticks for some tens of milliseconds, so that concurrent small puts meet in one log and share its sync; large
chunks spread.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap, Partition
from ambry.errors import InsufficientStorage
from ambry.network.pool import PeerPool
from frontend.router.quorum import write_target

SMALL_BYTES = 256 << 10


class PartitionChooser:
    """Picks among the partitions that have replicas in our own datacenter."""

    def __init__(
        self,
        cluster_map: ClusterMap,
        *,
        datacenter_id: int,
        pool: PeerPool,
        clock: Clock,
        random_source: random.Random,
        sticky_ms: int,
        success_target: int,
    ) -> None:
        self._partitions = [
            partition for partition in cluster_map.partitions.values() if partition.in_datacenter(datacenter_id)
        ]
        self._local = {
            partition.id: tuple(pool[node.name] for node in partition.in_datacenter(datacenter_id))
            for partition in self._partitions
        }
        self._clock = clock
        self._random = random_source
        self._sticky_s = sticky_ms / 1000
        self._success_target = success_target
        self._stuck: Partition | None = None
        self._stuck_until = 0.0
        self._stuck_is_well = False

    def choose(self, size: int, *, exclude: Collection[int] = (), answering: bool = False) -> Partition:
        """A partition for a record of `size` bytes; with `answering` one of which enough replicas here answer.

        Raises InsufficientStorage when there is none that is not excluded.
        """
        if size > SMALL_BYTES or exclude:
            return self._draw(exclude, answering)
        now = self._clock.monotonic()
        stuck = self._stuck
        if stuck is None or now >= self._stuck_until or (self._stuck_is_well and not self._well(stuck)):
            self._stuck = stuck = self._draw((), False)
            self._stuck_until = now + self._sticky_s
            self._stuck_is_well = self._well(stuck)
        return stuck

    def _draw(self, exclude: Collection[int], answering: bool) -> Partition:
        """The best there are: all their replicas here answer, else enough of them, else any."""
        left = [partition for partition in self._partitions if partition.id not in exclude]
        candidates = [partition for partition in left if self._well(partition)]
        if not candidates:
            candidates = [partition for partition in left if self._enough(partition)]
        if not candidates and not answering:
            candidates = left
        if not candidates:
            raise InsufficientStorage("no partition is left to write to; every one failed or has no replica here")
        first, second = self._random.choice(candidates), self._random.choice(candidates)
        return first if self._load(first) <= self._load(second) else second

    def _well(self, partition: Partition) -> bool:
        return all(peer.usable for peer in self._local[partition.id])

    def _enough(self, partition: Partition) -> bool:
        local = self._local[partition.id]
        return sum(peer.usable for peer in local) >= write_target(len(local), self._success_target)

    def _load(self, partition: Partition) -> int:
        return sum(peer.in_flight_bytes for peer in self._local[partition.id])
