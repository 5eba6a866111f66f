"""How far the peers of this node have taken its logs in, durably: a tombstone stays until all of them have seen it.

So one peer that is silent keeps tombstones here, of every partition that it shares, for as long as it is in the layout.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.model import Partition
from datanode import metrics
from datanode.replicas import Replica, Replicas
from datanode.store.index import FindToken


class Horizon:
    """Remembers the last cursors of the peers that share `partitions` with node `own_name`; a start forgets them."""

    def __init__(self, replicas: Replicas, partitions: Iterable[Partition], *, own_name: str, clock: Clock) -> None:
        self._replicas = replicas
        self._own_name = own_name
        self._clock = clock
        self._seen: dict[int, dict[str, FindToken]] = {}
        """By partition and peer."""
        peers = {node.name for partition in partitions for node in partition.others(own_name)}
        self._asked_at = dict.fromkeys(sorted(peers), clock.monotonic())
        """By peer: when it last asked what changed here, or when this process began."""
        for name in self._asked_at:
            metrics.TOMBSTONES_WAITING.labels(name).set_function(partial(self.waiting_for, name))

    def asked(self, peer: str) -> None:
        """A peer asks what changed here."""
        if peer in self._asked_at:
            self._asked_at[peer] = self._clock.monotonic()

    def note(self, peer: str, partition: int, durable: FindToken) -> None:
        """With which token a peer comes back, should it be killed now."""
        self._seen.setdefault(partition, {})[peer] = durable

    def lsn(self, replica: Replica) -> int:
        """The LSN before which every peer of a replica has taken in everything, durably; 0 while one was not heard of."""
        return min(self._lsns(replica).values(), default=replica.store.end_lsn)

    def last(self, replica: Replica) -> list[str]:
        """The peers that keep `lsn` from being larger: all of them, where they are equally far."""
        lsns = self._lsns(replica)
        least = min(lsns.values(), default=0)
        return sorted(name for name, lsn in lsns.items() if lsn == least)

    def waiting_for(self, peer: str) -> float:
        """How many tombstones would be dropped, were it not for a peer that no other is further behind than; on any thread."""
        replicas = list(self._replicas.values())
        return sum(replica.store.compaction.waiting for replica in replicas if peer in self.last(replica))

    def describe(self, replica: Replica) -> dict[str, dict[str, Any]]:
        """Of each peer up to where it has seen the log of a replica for good, and how long ago it last asked, in seconds."""
        now = self._clock.monotonic()
        return {
            name: {"seen_lsn": lsn, "asked_s": round(now - self._asked_at.get(name, now), 1)}
            for name, lsn in self._lsns(replica).items()
        }

    def _lsns(self, replica: Replica) -> dict[str, int]:
        """By peer; 0 for one that follows another log than this, or was not heard of."""
        store = replica.store
        seen = self._seen.get(store.partition, {})
        tokens = {node.name: seen.get(node.name) for node in replica.partition.others(self._own_name)}
        return {
            name: token.lsn if token is not None and token.incarnation == store.incarnation else 0
            for name, token in tokens.items()
        }
