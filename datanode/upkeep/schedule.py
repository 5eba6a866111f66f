"""When a loop that goes round all replicas is to look at which: a look costs what is due, however many there are."""

from __future__ import annotations

import heapq
from itertools import count
from typing import NamedTuple

from ambry.clock import Clock
from datanode.replicas import Replica, Replicas


class Turn(NamedTuple):
    """When a replica is due, monotonic, in seconds; `number` keeps those of one moment in order."""

    at: float
    number: int
    replica: Replica


class Schedule:
    """The turns of one loop. A replica that is not open any more has none: put it again when it is."""

    def __init__(self, replicas: Replicas, *, clock: Clock) -> None:
        self._replicas = replicas
        self._clock = clock
        self._turns: list[Turn] = []
        """A heap. Only the turn that `_next` has of a partition counts."""
        self._next: dict[int, Turn] = {}
        self._numbers = count()

    def put(self, replica: Replica, *, in_s: float) -> None:
        """The next turn of a replica, in the place of the one that it has.

        Who has one in hand that was reopened meanwhile says nothing of what took its place.
        """
        if self._replicas.get(replica.partition.id) is not replica:
            return
        turn = Turn(self._clock.monotonic() + max(0.0, in_s), next(self._numbers), replica)
        self._next[replica.partition.id] = turn
        heapq.heappush(self._turns, turn)

    def due(self) -> Replica | None:
        """Take the turn that is due the longest; None where none is."""
        now = self._clock.monotonic()
        while self._turns and self._turns[0].at <= now:
            turn = heapq.heappop(self._turns)
            partition = turn.replica.partition.id
            if self._next.get(partition) is turn:
                del self._next[partition]
                if self._replicas.get(partition) is turn.replica:
                    return turn.replica
        return None
