"""The layout file: the cluster map as JSON, for clusters that need no coordination service.

    {"cluster": "<name>", "version": 1,
     "datacenters": [{"name": "dc1", "id": 1, "nodes": [{"name": "dc1-n1", "host": "127.0.0.1", "port": 17001}, ...],
                      "frontends": [{"name": "dc1-f1", "host": "127.0.0.1", "port": 17010}, ...]}, ...],
     "partitions": [{"id": 0, "replicas": ["dc1-n1", "dc1-n2", "dc1-n3", "dc2-n1", ...]}, ...]}

`frontends`, which may be left out, are where the frontends of other datacenters find those of this one, for what is kept beside
blobs (names, accounts, datasets): the port of their RPC, not of HTTP.

Names of the cluster and of nodes: up to 48 letters, digits, `.`, `-` and `_` of ASCII, with a letter or digit at either end.
Ids of datacenters (1..65535) and partitions (0..2**32-1) are in blob ids for ever: never renumber, never reuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec

from ambry.address import authority
from ambry.clustermap.model import ClusterMap, Node, Partition
from ambry.errors import ConfigInvalid


class NodeEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class DatacenterEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    id: int
    nodes: list[NodeEntry]
    frontends: list[NodeEntry] = msgspec.field(default_factory=list[NodeEntry])


class PartitionEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int
    replicas: list[str]


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: str
    version: int
    datacenters: list[DatacenterEntry]
    partitions: list[PartitionEntry]


NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,46}[A-Za-z0-9])?")
"""Of a cluster and of a node: it stands in certificates, in names of files and in metrics."""


def check_node_name(name: str) -> None:
    """Raises ValueError for what cannot be the name of a node."""
    _check_name(name, "a node")


def check_cluster_name(name: str) -> None:
    """Raises ValueError for what cannot be the name of a cluster."""
    _check_name(name, "a cluster")


def _check_name(name: str, what: str) -> None:
    if NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name[:60]!r} cannot be the name of {what}: at most 48 letters, digits, dots, hyphens and underscores of "
            "ASCII, with a letter or digit at either end"
        )


decode: Callable[[bytes], Layout] = msgspec.json.Decoder(Layout).decode
"""Raises msgspec.DecodeError. Whether it makes sense, `build` says."""


def load_layout(path: Path) -> ClusterMap:
    """Read and check a layout file. Raises ConfigInvalid naming what is wrong."""
    try:
        layout = decode(path.read_bytes())
    except OSError as cause:
        raise ConfigInvalid(f"cannot read the layout {path}: {cause.strerror}") from cause
    except msgspec.DecodeError as cause:
        raise ConfigInvalid(f"{path} is not a layout: {cause}") from cause
    return build(layout, source=str(path))


def build(layout: Layout, *, source: str) -> ClusterMap:
    """Check a decoded layout and build the map. Raises ConfigInvalid."""
    try:
        check_cluster_name(layout.cluster)
        for name in [entry.name for each in layout.datacenters for entry in (*each.nodes, *each.frontends)]:
            check_node_name(name)
    except ValueError as cause:
        raise ConfigInvalid(f"{source}: {cause}") from cause
    nodes: dict[str, Node] = {}
    frontends: dict[str, Node] = {}
    addresses: set[tuple[str, int]] = set()
    datacenters: dict[str, int] = {}
    for datacenter in layout.datacenters:
        if not 1 <= datacenter.id <= 0xFFFF or datacenter.id in datacenters.values() or datacenter.name in datacenters:
            raise ConfigInvalid(f"{source}: datacenter {datacenter.name} needs an unused name and id from 1 to 65535")
        datacenters[datacenter.name] = datacenter.id
        for kind, entries in ((nodes, datacenter.nodes), (frontends, datacenter.frontends)):
            for entry in entries:
                if entry.name in nodes or entry.name in frontends or (entry.host, entry.port) in addresses:
                    raise ConfigInvalid(
                        f"{source}: node {entry.name} ({authority(entry.host, entry.port)}) stands there twice"
                    )
                addresses.add((entry.host, entry.port))
                kind[entry.name] = Node(
                    name=entry.name,
                    datacenter=datacenter.name,
                    datacenter_id=datacenter.id,
                    host=entry.host,
                    port=entry.port,
                )
    partitions = [_partition(entry, nodes, source) for entry in layout.partitions]
    if not partitions or len({partition.id for partition in partitions}) != len(partitions):
        raise ConfigInvalid(f"{source}: there must be at least one partition, each with an id of its own")
    return ClusterMap(
        cluster=layout.cluster,
        version=layout.version,
        datacenters=datacenters,
        partitions=partitions,
        frontends=frontends.values(),
    )


def _partition(entry: PartitionEntry, nodes: dict[str, Node], source: str) -> Partition:
    unknown = [name for name in entry.replicas if name not in nodes]
    if unknown or not entry.replicas or len(set(entry.replicas)) != len(entry.replicas):
        raise ConfigInvalid(f"{source}: partition {entry.id} must name known nodes, each once; wrong: {unknown}")
    if not 0 <= entry.id <= 0xFFFFFFFF:
        raise ConfigInvalid(f"{source}: partition id {entry.id} does not fit 32 bits")
    return Partition(id=entry.id, replicas=tuple(nodes[name] for name in sorted(entry.replicas)))
