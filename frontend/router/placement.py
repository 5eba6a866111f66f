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
from ambry.errors import InsufficientStorage
from frontend.router.replicas import PartitionReplicas, ReplicaTable

STICKY_BYTES_MAX = 256 << 10


class Drawn(msgspec.Struct, frozen=True):
    """A choice, and whether all its replicas here answered then."""

    replicas: PartitionReplicas
    well: bool


class PartitionChooser:
    """Picks among the partitions that have replicas in our own datacenter."""

    def __init__(self, replicas: ReplicaTable, *, clock: Clock, random_source: random.Random, sticky_ms: int) -> None:
        self._here = [each for each in replicas.values() if each.local]
        self._clock = clock
        self._random = random_source
        self._sticky_s = sticky_ms / 1000
        self._stuck: Drawn | None = None
        self._stuck_until = 0.0

    def choose(self, size: int, *, exclude: Collection[int] = (), answering: bool = False) -> PartitionReplicas:
        """A partition for a record of `size` bytes; with `answering` one of which enough replicas here answer.

        Raises InsufficientStorage when there is none that is not excluded.
        """
        if size > STICKY_BYTES_MAX or exclude:
            return self._draw(exclude, answering).replicas
        now = self._clock.monotonic()
        stuck = self._stuck
        if stuck is None or now >= self._stuck_until or (stuck.well and not _well(stuck.replicas)):
            self._stuck = stuck = self._draw((), False)
            self._stuck_until = now + self._sticky_s
        return stuck.replicas

    def _draw(self, exclude: Collection[int], answering: bool) -> Drawn:
        """The best there are: all their replicas here answer, else enough of them, else any."""
        left = [each for each in self._here if each.id not in exclude]
        # Inline, since this is what every larger chunk waits for: all replicas of all partitions are looked at.
        candidates = [each for each in left if all(peer.usable for peer in each.local)]
        well = bool(candidates)
        if not well:
            candidates = [each for each in left if _enough(each)]
        if not candidates and not answering:
            candidates = left
        if not candidates:
            raise InsufficientStorage("no partition is left to write to; every one failed or has no replica here")
        first, second = self._random.choice(candidates), self._random.choice(candidates)
        if first is not second:
            waiting = sum(peer.in_flight_bytes for peer in first.local)
            if waiting > sum(peer.in_flight_bytes for peer in second.local):
                first = second
        return Drawn(first, well)

    def short(self) -> list[int]:
        """The partitions that too few replicas here answer for."""
        return [each.id for each in self._here if not _enough(each)]


def _well(replicas: PartitionReplicas) -> bool:
    return all(peer.usable for peer in replicas.local)


def _enough(replicas: PartitionReplicas) -> bool:
    return sum(peer.usable for peer in replicas.local) >= replicas.write_target
