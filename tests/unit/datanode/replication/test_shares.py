"""One partition far behind leaves room for the others."""

from __future__ import annotations

from datanode.replication.shares import Shares


def test_a_single_partition_has_all_the_room() -> None:
    shares = Shares(partitions=1, changes_max=100, bytes_max=1_000_000)
    assert shares.changes == 100
    assert shares.take([10] * 500) == 100


def test_everybody_has_an_equal_part_and_what_one_leaves_goes_to_the_others() -> None:
    shares = Shares(partitions=4, changes_max=100, bytes_max=1_000_000)
    assert [shares.take([10] * there_are) for there_are in (1, 3, 500, 500)] == [1, 3, 48, 48]


def test_bytes_are_divided_too() -> None:
    shares = Shares(partitions=2, changes_max=1000, bytes_max=1000)
    assert shares.take([100] * 50) == 5
    assert shares.take([100] * 50) == 5
    shares = Shares(partitions=2, changes_max=1000, bytes_max=1000)
    assert shares.take([100]) == 1
    assert shares.take([100] * 50) == 9


def test_a_record_larger_than_the_room_is_told_alone() -> None:
    shares = Shares(partitions=3, changes_max=1000, bytes_max=1000)
    assert [shares.take([4000, 1]) for _ in range(3)] == [1, 1, 1]


def test_more_partitions_than_changes_tell_one_each() -> None:
    shares = Shares(partitions=5, changes_max=2, bytes_max=1000)
    told = []
    for _ in range(5):
        assert shares.changes == 1
        told.append(shares.take([1, 1, 1]))
    assert told == [1] * 5


def test_who_has_nothing_takes_nothing() -> None:
    shares = Shares(partitions=2, changes_max=10, bytes_max=1000)
    assert shares.take([]) == 0
    assert shares.changes == 10
