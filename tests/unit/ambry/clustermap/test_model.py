from __future__ import annotations

import pytest

from ambry.clustermap.model import ClusterMap, Node, Partition


def node(name: str, datacenter: int) -> Node:
    return Node(name=name, datacenter=f"dc{datacenter}", datacenter_id=datacenter, host="h", port=len(name))


A, B, C = node("a", 1), node("bb", 1), node("ccc", 2)
MAP = ClusterMap(
    cluster="c",
    version=1,
    datacenters={"dc1": 1, "dc2": 2},
    partitions=[Partition(id=9, replicas=(A, B, C)), Partition(id=3, replicas=(A, C))],
)


def test_the_replicas_of_one_datacenter() -> None:
    assert MAP.partitions[9].in_datacenter(1) == (A, B)
    assert MAP.partitions[9].in_datacenter(3) == ()


def test_the_partitions_of_a_node_come_by_id() -> None:
    assert [partition.id for partition in MAP.partitions_of("a")] == [3, 9]
    assert [partition.id for partition in MAP.partitions_of("bb")] == [9]
    assert MAP.partitions_of("nobody") == []


def test_names_and_numbers_of_datacenters() -> None:
    assert MAP.datacenter_id("dc2") == 2
    assert MAP.datacenter_name(2) == "dc2"
    assert MAP.datacenter_name(77) == "dc-77"
    with pytest.raises(KeyError):
        MAP.datacenter_id("dc3")
