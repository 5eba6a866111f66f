from __future__ import annotations

import random
from collections import Counter

import pytest

from ambry.errors import InsufficientStorage
from frontend.router import placement as placing
from frontend.router.placement import ROOM_MIN_BYTES, STICKY_BYTES_MAX, PartitionChooser
from frontend.router.replicas import PartitionReplicas, ReplicaTable
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import cluster_map, make_cluster
from tests.support.fake_peers import FakePool

LARGE = STICKY_BYTES_MAX + 1


class Made:
    """A placement over `count` partitions, each on three nodes of its own."""

    def __init__(self, count: int, *, sticky_ms: int = 20, elsewhere: int = 0) -> None:
        from ambry.clustermap.model import ClusterMap, Partition
        from tests.support.fake_cluster import node

        partitions = [
            Partition(id=number, replicas=tuple(node(f"p{number}-{index}", 1) for index in range(3)))
            for number in range(count)
        ]
        partitions += [Partition(id=count + number, replicas=(node(f"e{number}", 2),)) for number in range(elsewhere)]
        layout = ClusterMap(cluster="test", version=1, datacenters={"dc1": 1, "dc2": 2}, partitions=partitions)
        self.clock = SettableClock()
        self.pool = FakePool(layout.nodes.values(), clock=self.clock)
        self.placement = PartitionChooser(
            ReplicaTable(layout, self.pool.as_pool(), datacenter_id=1, success_target=2),
            clock=self.clock,
            random_source=random.Random(5),
            sticky_ms=sticky_ms,
        )

    def draw(self, size: int, times: int = 300, exclude: frozenset[int] = frozenset()) -> set[int]:
        return {self.placement.choose(size, exclude=exclude).id for _ in range(times)}


def test_small_blobs_stick_to_a_partition_and_move_on_when_its_time_is_over() -> None:
    made = Made(8)
    seen: set[int] = set()
    for _ in range(200):
        chosen = made.draw(STICKY_BYTES_MAX, 20)
        assert len(chosen) == 1
        made.clock.advance(0.019)
        assert made.draw(1, 5) == chosen
        made.clock.advance(0.001)
        seen |= chosen
    assert seen == set(range(8))


def test_large_chunks_spread_and_do_not_move_the_small_ones() -> None:
    made = Made(8)
    stuck = made.draw(1)
    assert made.draw(LARGE) == set(range(8))
    assert made.draw(1) == stuck


def test_an_excluded_partition_is_never_chosen_and_none_left_is_no_room() -> None:
    made = Made(4)
    stuck = made.draw(1)
    for size in (1, LARGE):
        assert made.draw(size, exclude=frozenset(stuck | {0})) == set(range(4)) - stuck - {0}
        with pytest.raises(InsufficientStorage):
            made.placement.choose(size, exclude=range(4))
    assert made.draw(1) == stuck, "an exclusion of one put moved all the others"


@pytest.mark.parametrize("harm", ["connected", "well"])
def test_a_partition_with_an_unwell_replica_is_avoided_and_left_at_once_by_small_blobs(harm: str) -> None:
    made = Made(4)
    (stuck,) = made.draw(1)
    setattr(made.pool[f"p{stuck}-2"], harm, False)
    assert stuck not in made.draw(1)
    assert made.draw(LARGE) == set(range(4)) - {stuck}
    setattr(made.pool[f"p{stuck}-2"], harm, True)
    assert stuck in made.draw(LARGE)


def test_where_nobody_is_well_the_blob_still_goes_somewhere() -> None:
    made = Made(3)
    for peer in made.pool:
        peer.connected = False
    assert made.draw(LARGE) == {0, 1, 2}


def test_of_two_drawn_partitions_the_one_with_less_waiting_is_taken() -> None:
    made = Made(4)
    for number in range(4):
        made.pool[f"p{number}-1"].in_flight_bytes = number * 1000
    counts = [0] * 4
    for _ in range(4000):
        counts[made.placement.choose(LARGE).id] += 1
    # With two draws of four, the least loaded wins 7/16 of the time, the most loaded 1/16.
    assert [round(count / 250) for count in counts] == pytest.approx([7, 5, 3, 1], abs=1)


def test_load_is_that_of_all_replicas_together() -> None:
    made = Made(2)
    for index in range(3):
        made.pool[f"p0-{index}"].in_flight_bytes = 400
    made.pool["p1-0"].in_flight_bytes = 1000
    chosen = [made.placement.choose(LARGE).id for _ in range(400)]
    assert 50 < chosen.count(0) < 150


def test_partitions_without_a_replica_here_take_no_puts() -> None:
    made = Made(2, elsewhere=3)
    assert made.draw(LARGE) == {0, 1}
    none = Made(0, elsewhere=1)
    with pytest.raises(InsufficientStorage):
        none.placement.choose(1)


def test_a_map_of_one_partition_has_one_choice() -> None:
    layout = cluster_map([(3,)])
    pool = FakePool(layout.nodes.values(), clock=SettableClock())
    placement = PartitionChooser(
        ReplicaTable(layout, pool.as_pool(), datacenter_id=1, success_target=2),
        clock=SettableClock(),
        random_source=random.Random(1),
        sticky_ms=0,
    )
    assert placement.choose(1).id == placement.choose(LARGE).id == 0


def test_where_no_partition_has_all_its_replicas_those_that_can_confirm_are_taken() -> None:
    made = Made(4)
    for number in range(4):
        made.pool[f"p{number}-0"].well = False
    made.pool["p1-2"].connected = False
    made.pool["p3-1"].well = False
    assert made.draw(LARGE) == {0, 2}
    assert made.draw(LARGE, exclude=frozenset({0, 2})) == {1, 3}, "a last resort"
    with pytest.raises(InsufficientStorage):
        made.placement.choose(LARGE, exclude={0, 2}, answering=True)
    assert made.placement.choose(LARGE, exclude={0}, answering=True).id == 2


def test_small_blobs_still_meet_in_one_log_while_a_node_is_away() -> None:
    """Once every one of them drew anew: no partition of three nodes was well, so none was stuck to."""
    made = Made(8)
    for number in range(8):
        made.pool[f"p{number}-0"].connected = False
    assert len(made.draw(1, 100)) == 1


async def test_those_are_short_that_could_not_take_a_put_now() -> None:
    cluster = make_cluster(((3, 3), (2, 3), (0, 3)))
    placement = cluster.context.placement
    assert placement.short() == []
    cluster.peer(3).connected = False
    assert placement.short() == []
    cluster.peer(2).connected = False
    assert placement.short() == [0, 1]
    cluster.peer(3).connected = True
    assert placement.short() == [1]
    for peer in cluster.peers(2):
        peer.connected = False
    assert placement.short() == [1]


def test_a_full_disk_is_avoided_before_it_refuses() -> None:
    """Puts went to it all the same, and were refused and repeated elsewhere."""
    made = Made(4)
    for number in range(4):
        for index in range(3):
            made.pool[f"p{number}-{index}"].room_bytes = 100 << 30
    made.pool["p2-1"].room_bytes = ROOM_MIN_BYTES - 1
    assert made.draw(LARGE) == {0, 1, 3}
    for number in range(4):
        made.pool[f"p{number}-0"].room_bytes = 0
    assert made.draw(LARGE) == {0, 1, 2, 3}, "where all are full somebody must be asked: deletes may have made room"


def test_emptier_disks_are_preferred_and_none_is_starved_or_flooded() -> None:
    made = Made(4)
    for number in range(4):
        made.pool[f"p{number}-0"].room_bytes = (1 + number) << 36
    drawn = Counter(made.placement.choose(LARGE).id for _ in range(4_000))
    assert sorted(drawn, key=drawn.__getitem__) == [0, 1, 2, 3]
    assert drawn[0] >= 100
    assert drawn[3] <= 2_200
    # Whoever is emptier but slower is asked less.
    made.pool["p3-1"].in_flight_bytes = 8 << 20
    slower = Counter(made.placement.choose(LARGE).id for _ in range(4_000))
    assert slower[3] < drawn[3] / 2


def test_a_node_that_does_not_say_how_much_room_it_has_is_taken_as_any_other() -> None:
    made = Made(3)
    made.pool["p1-0"].room_bytes = 1 << 40
    assert made.draw(LARGE) == {0, 1, 2}


def test_a_choice_among_many_looks_at_the_room_of_those_that_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody's was looked at for every chunk: of 1,000 partitions that took 0.7 ms of the event loop."""
    made, looked = Made(50), list[int]()

    def room(replicas: PartitionReplicas) -> int:
        looked.append(replicas.id)
        return 1 << 40

    monkeypatch.setattr(placing, "_room", room)
    assert len(made.draw(LARGE, 300)) > 40
    assert len(looked) <= 4 * 300
