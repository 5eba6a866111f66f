"""Data nodes for tests, built as the server builds them (datanode/wiring.py), on files and a clock of the test's choice."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap, Node, Partition
from datanode.config import DataNodeConfig, NodeSection, StoreSection
from datanode.disk import Disk
from datanode.parts import Parts
from datanode.store.files import Files
from datanode.wiring import build
from tests.support.samples import CLUSTER, PARTITION, SEGMENT_SIZE

LONE = Node(name="n", datacenter="dc1", datacenter_id=1, host="h", port=1)
SILENT = Node(name="silent", datacenter="dc1", datacenter_id=1, host="h", port=2)
"""A peer that is never heard of: beside it a node does not give itself the authority to say "not found"."""


def store_section(**changes: Any) -> StoreSection:
    """Small segments, two disk threads, no waiting for more, no reserve, unless `changes` say otherwise."""
    defaults = {"segment_size_bytes": SEGMENT_SIZE, "io_threads": 2, "gather_ms": 0, "reserve_bytes": 0}
    return StoreSection(**defaults | changes)


def node_config(name: str, data_dir: Path, **sections: Any) -> DataNodeConfig:
    """`sections` by their names in the configuration file; `store` is store_section() unless it is given."""
    sections.setdefault("store", store_section())
    return DataNodeConfig(node=NodeSection(name=name, data_dir=str(data_dir)), **sections)


def lone_map(
    partitions: Iterable[int] = (PARTITION,), *, cluster: str = CLUSTER, with_silent_peer: bool = False
) -> ClusterMap:
    """One node that holds these partitions, alone unless there is a silent peer."""
    replicas = (LONE, SILENT) if with_silent_peer else (LONE,)
    return ClusterMap(
        cluster=cluster,
        version=1,
        datacenters={LONE.datacenter: LONE.datacenter_id},
        partitions=[Partition(id=number, replicas=replicas) for number in partitions],
    )


def lone_node(
    files: Files,
    data_dir: Path,
    *,
    clock: Clock,
    cluster_map: ClusterMap | None = None,
    disk: Disk | None = None,
    seed: int = 1,
    **sections: Any,
) -> Parts:
    """The parts of a node without peers, not open yet."""
    return build(
        node_config(LONE.name, data_dir, **sections),
        cluster_map or lone_map(),
        clock=clock,
        random_source=random.Random(seed),
        files=files,
        disk=disk,
    )
