"""Which partition a new blob goes to.

Two partitions are drawn among those whose replicas answer and have room, and the one is taken whose replicas have less waiting
for the room that is left: so disks fill up alike, and a full one is avoided before it refuses. The choice for small blobs
sticks for some tens of milliseconds, so that concurrent small puts meet in one log and share its sync; large chunks spread.
"""

from __future__ import annotations

import random
from collections.abc import Collection

import msgspec

from ambry.clock import Clock
from ambry.errors import InsufficientStorage
from frontend.router.replicas import PartitionReplicas, ReplicaTable

STICKY_BYTES_MAX = 256 << 10
ROOM_MIN_BYTES = 256 << 20
"""Less on one of its disks, and a partition gets puts only where all have so little: a few segments more and it is full."""
ROOM_UNKNOWN_BYTES = 1 << 40
WAITING_LEAST_BYTES = 1 << 20
"""Where nobody waits the emptier one is taken; so much waiting for it doubles its cost."""


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
        if min(_room(first), _room(second)) < ROOM_MIN_BYTES:
            # Only now is everybody's room looked at: that takes longer than all the rest.
            candidates = [each for each in candidates if _room(each) >= ROOM_MIN_BYTES] or candidates
            first, second = self._random.choice(candidates), self._random.choice(candidates)
        return Drawn(second if first is not second and _cost(second) < _cost(first) else first, well)

    def short(self) -> list[int]:
        """The partitions that too few replicas here answer for."""
        return [each.id for each in self._here if not _enough(each)]


def _room(replicas: PartitionReplicas) -> int:
    """What the fullest of the disks here has left for puts, as far as they say."""
    return min((peer.room_bytes for peer in replicas.local if peer.room_bytes >= 0), default=ROOM_UNKNOWN_BYTES)


def _cost(replicas: PartitionReplicas) -> float:
    """What waits for its replicas, to what room there is."""
    waiting = sum(peer.in_flight_bytes for peer in replicas.local)
    room = _room(replicas)
    # In steps of a tenth: disks that are as good as equal must not be told apart by who answered last.
    shift = max(0, room.bit_length() - 4)
    return (WAITING_LEAST_BYTES + waiting) / max(1, room >> shift << shift)


def _well(replicas: PartitionReplicas) -> bool:
    return all(peer.usable for peer in replicas.local)


def _enough(replicas: PartitionReplicas) -> bool:
    return sum(peer.usable for peer in replicas.local) >= replicas.write_target
