from __future__ import annotations

import pytest

from ambry.errors import Unavailable
from tests.support.fake_cluster import make_cluster, some_id


def test_replicas_are_asked_nearest_first_and_the_well_ones_of_each_distance_before_the_others() -> None:
    cluster = make_cluster(((3, 2, 2),))
    cluster.peer(2).well = False
    cluster.peer(1, 3).connected = False
    partition = cluster.context.map.partitions[0]
    seen: set[tuple[str, ...]] = set()
    for _ in range(200):
        order = cluster.context.read_order(partition, origin=3)
        names = [replica.name for replica in order]
        assert [replica.datacenter_id for replica in order] == [1, 1, 1, 3, 3, 2, 2]
        assert names[2] == "dc1-n2"
        assert names[3:5] == ["dc3-n2", "dc3-n1"]
        assert sorted(names) == sorted(node.name for node in partition.replicas)
        seen.add(tuple(names))
    assert len(seen) == 4, "the well ones of a datacenter take turns"


def test_absence_takes_so_many_of_each_datacenter_that_one_of_them_would_have_the_blob() -> None:
    cluster = make_cluster(((3, 2, 1),))
    assert cluster.context.absent_targets(cluster.context.map.partitions[0]) == {1: 2, 2: 1, 3: 1}
    every = make_cluster(((3, 3),), success_target=3)
    assert every.context.absent_targets(every.context.map.partitions[0]) == {1: 1, 2: 1}
    single = make_cluster(((3, 3),), success_target=1)
    assert single.context.absent_targets(single.context.map.partitions[0]) == {1: 3, 2: 3}


def test_a_partition_of_a_newer_layout_is_unavailable_not_absent() -> None:
    cluster = make_cluster(((3,), (3,)))
    assert cluster.context.partition_of(some_id(partition=1)).id == 1
    with pytest.raises(Unavailable, match="partition 2 "):
        cluster.context.partition_of(some_id(partition=2))
