from __future__ import annotations

import pytest

from ambry.errors import Unavailable
from tests.support.fake_cluster import make_cluster


def test_absence_takes_so_many_of_each_datacenter_that_one_of_them_would_have_the_blob() -> None:
    assert make_cluster(((3, 2, 1),)).context.replicas[0].absent_targets == {1: 2, 2: 1, 3: 1}
    assert make_cluster(((3, 3),), success_target=3).context.replicas[0].absent_targets == {1: 1, 2: 1}
    assert make_cluster(((3, 3),), success_target=1).context.replicas[0].absent_targets == {1: 3, 2: 3}


def test_a_write_takes_the_local_replicas_and_as_many_of_them_as_there_are() -> None:
    replicas = make_cluster(((3, 1), (1, 3), (0, 2))).context.replicas
    assert [[peer.node.name for peer in replicas[number].local] for number in range(3)] == [
        ["dc1-n1", "dc1-n2", "dc1-n3"],
        ["dc1-n1"],
        [],
    ]
    assert [replicas[number].write_target for number in range(3)] == [2, 1, 0]
    assert [len(replicas[number].remote) for number in range(3)] == [1, 3, 2]


def test_a_partition_of_a_newer_layout_is_unavailable_not_absent() -> None:
    replicas = make_cluster(((3,), (3,))).context.replicas
    assert replicas[1].id == 1
    with pytest.raises(Unavailable, match="partition 2 "):
        replicas[2]
