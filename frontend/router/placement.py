"""Which partition a new blob goes to.

Two partitions are drawn among those whose replicas answer, and the one with less waiting for its replicas is taken. The choice
for small blobs sticks for some tens of milliseconds, so that concurrent small puts meet in one log and share its sync; large
chunks spread.
"""

from __future__ import annotations

import random
from collections.abc import Collection

import msgspec

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap, Partition
from ambry.errors import InsufficientStorage
from ambry.network.pool import Peer, PeerPool
from frontend.router.quorum import write_target

STICKY_BYTES_MAX = 256 << 10


class LocalReplicas(msgspec.Struct, frozen=True):
    """The replicas of a partition in our own datacenter."""

    peers: tuple[Peer, ...]
    target: int
    """How many of them must confirm a write."""


NO_REPLICAS = LocalReplicas((), 0)


class Drawn(msgspec.Struct, frozen=True):
    """A choice, and whether all its replicas here answered then."""

    partition: Partition
    well: bool


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
        self.local: dict[int, LocalReplicas] = {}
        """By partition, where it has any."""
        for partition in self._partitions:
            peers = tuple(pool[node.name] for node in partition.in_datacenter(datacenter_id))
            self.local[partition.id] = LocalReplicas(peers, write_target(len(peers), success_target))
        self._clock = clock
        self._random = random_source
        self._sticky_s = sticky_ms / 1000
        self._stuck: Drawn | None = None
        self._stuck_until = 0.0

    def choose(self, size: int, *, exclude: Collection[int] = (), answering: bool = False) -> Partition:
        """A partition for a record of `size` bytes; with `answering` one of which enough replicas here answer.

        Raises InsufficientStorage when there is none that is not excluded.
        """
        if size > STICKY_BYTES_MAX or exclude:
            return self._draw(exclude, answering).partition
        now = self._clock.monotonic()
        stuck = self._stuck
        if stuck is None or now >= self._stuck_until or (stuck.well and not self._well(stuck.partition)):
            self._stuck = stuck = self._draw((), False)
            self._stuck_until = now + self._sticky_s
        return stuck.partition

    def _draw(self, exclude: Collection[int], answering: bool) -> Drawn:
        """The best there are: all their replicas here answer, else enough of them, else any."""
        local = self.local
        left = [partition for partition in self._partitions if partition.id not in exclude]
        # Inline, since this is what every larger chunk waits for: all replicas of all partitions are looked at.
        candidates = [partition for partition in left if all(peer.usable for peer in local[partition.id].peers)]
        well = bool(candidates)
        if not well:
            candidates = [partition for partition in left if self._enough(partition)]
        if not candidates and not answering:
            candidates = left
        if not candidates:
            raise InsufficientStorage("no partition is left to write to; every one failed or has no replica here")
        first, second = self._random.choice(candidates), self._random.choice(candidates)
        if first is not second:
            waiting = sum(peer.in_flight_bytes for peer in local[first.id].peers)
            if waiting > sum(peer.in_flight_bytes for peer in local[second.id].peers):
                first = second
        return Drawn(first, well)

    def short(self) -> list[int]:
        """The partitions that too few replicas answer for."""
        return [partition.id for partition in self._partitions if not self._enough(partition)]

    def _well(self, partition: Partition) -> bool:
        return all(peer.usable for peer in self.local[partition.id].peers)

    def _enough(self, partition: Partition) -> bool:
        local = self.local[partition.id]
        return sum(peer.usable for peer in local.peers) >= local.target
