"""Who holds what: datacenters, nodes, partitions and their replicas. Pure, immutable, built once from a layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ambry.address import authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One process that others connect to at `address`: a data node, or a frontend at the port of its RPC."""

    name: str
    datacenter: str
    datacenter_id: int
    host: str
    port: int

    @property
    def address(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition; `replicas` holds every node that keeps a replica of it, in all datacenters, ordered by name."""

    id: int
    replicas: tuple[Node, ...]

    def in_datacenter(self, datacenter_id: int) -> tuple[Node, ...]:
        """The replicas in one datacenter, ordered by name."""
        return tuple(node for node in self.replicas if node.datacenter_id == datacenter_id)

    def others(self, name: str) -> tuple[Node, ...]:
        """The replicas beside that of node `name`, ordered by name."""
        return tuple(node for node in self.replicas if node.name != name)


class ClusterMap:
    """The whole map at one version."""

    def __init__(
        self,
        *,
        cluster: str,
        version: int,
        datacenters: Mapping[str, int],
        partitions: Iterable[Partition],
        frontends: Iterable[Node] = (),
    ) -> None:
        self.cluster = cluster
        self.version = version
        self.datacenters = dict(datacenters)
        self.partitions = {partition.id: partition for partition in partitions}
        self.nodes = {node.name: node for partition in self.partitions.values() for node in partition.replicas}
        self.frontends = {frontend.name: frontend for frontend in frontends}
        """Those that frontends of other datacenters may ask; all of them, or none where the layout says nothing of them."""
        self._names = {number: name for name, number in self.datacenters.items()}

    def datacenter_id(self, name: str) -> int:
        """Raises KeyError for a name that the layout does not have."""
        return self.datacenters[name]

    def datacenter_name(self, datacenter_id: int) -> str:
        """The name, or `dc-<id>` for one that the layout does not have (it may have been removed)."""
        return self._names.get(datacenter_id, f"dc-{datacenter_id}")

    def partitions_of(self, node_name: str) -> list[Partition]:
        """The partitions that a node holds, by id."""
        return [
            partition
            for _, partition in sorted(self.partitions.items())
            if any(replica.name == node_name for replica in partition.replicas)
        ]
