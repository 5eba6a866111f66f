"""The replicas of every partition as this frontend sees them, and how many of them must agree; counted once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import msgspec

from ambry.clustermap.model import ClusterMap
from ambry.errors import Unavailable
from ambry.network.pool import Peer, PeerPool
from frontend.router.quorum import Candidate, absent_target, write_target


class PartitionReplicas(msgspec.Struct, frozen=True, kw_only=True):
    """One partition's."""

    id: int
    """Of the partition."""
    every: tuple[Candidate[Peer], ...]
    local: tuple[Peer, ...]
    """Those in our own datacenter."""
    remote: tuple[Peer, ...]
    write_target: int
    """How many of the local ones must confirm a write."""
    absent_targets: Mapping[int, int]
    """By datacenter, how many must say "not found"."""


class ReplicaTable(dict[int, PartitionReplicas]):
    """By number of the partition; raises Unavailable for one that the layout does not have."""

    def __init__(self, cluster_map: ClusterMap, pool: PeerPool, *, datacenter_id: int, success_target: int) -> None:
        super().__init__()
        for partition in cluster_map.partitions.values():
            every = tuple(Candidate(pool[node.name], node.datacenter_id) for node in partition.replicas)
            counts = Counter(node.datacenter_id for node in partition.replicas)
            self[partition.id] = PartitionReplicas(
                id=partition.id,
                every=every,
                local=tuple(each.replica for each in every if each.datacenter_id == datacenter_id),
                remote=tuple(each.replica for each in every if each.datacenter_id != datacenter_id),
                write_target=write_target(counts[datacenter_id], success_target),
                absent_targets={number: absent_target(count, success_target) for number, count in counts.items()},
            )

    def __missing__(self, partition: int) -> PartitionReplicas:
        raise Unavailable(f"partition {partition} is not in this frontend's layout; is it up to date?")


def in_order(
    replicas: PartitionReplicas, *, own: int, origin: int, source: random.Random, first: Peer | None = None
) -> list[Candidate[Peer]]:
    """The replicas in the order in which a read asks them; `first` is the one that was asked already.

    Our own datacenter, then the blob's origin, then the others; in each the well ones first, shuffled.
    """
    order = list(replicas.every)
    source.shuffle(order)
    order.sort(
        key=lambda each: (
            each.replica is not first,
            each.datacenter_id != own,
            each.datacenter_id != origin,
            not each.replica.usable,
        )
    )
    return order
