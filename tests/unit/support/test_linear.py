"""The checker of histories finds what a register that is none does."""

from __future__ import annotations

import pytest

from tests.support.linear import NEVER_NS, Kind, Operation, Written, faults_of

HISTORY = [Written(10, True, 1), Written(20, True, 5), Written(30, False, 7)]


def op(kind: Kind, begun: int, returned: int, time: int, expected: int = 0) -> Operation:
    return Operation("k", kind, begun, returned, time, expected)


WRITES = [op(Kind.WRITE, 1, 3, 10), op(Kind.SWAP, 5, 6, 20, 10), op(Kind.WRITE, 7, 9, 30)]


@pytest.mark.parametrize(
    "reads",
    [
        [],
        [op(Kind.READ, 0, 2, 0), op(Kind.READ, 0, 2, 10)],
        [op(Kind.READ, 4, 5, 10), op(Kind.READ, 8, 9, 20), op(Kind.READ, 8, 12, 30)],
        [op(Kind.READ, 10, 11, 30, 20)],
    ],
)
def test_what_a_register_may_do_is_no_fault(reads: list[Operation]) -> None:
    assert faults_of("k", WRITES + reads, HISTORY) == []


def test_a_write_that_nobody_heard_of_may_be_there() -> None:
    assert faults_of("k", WRITES[:1] + WRITES[2:], HISTORY) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (op(Kind.READ, 10, 11, 20), "place 2 after place 3"),
        (op(Kind.READ, 4, 5, 0), "place 0 after place 1"),
        (op(Kind.WRITE, 11, 12, 25), "is not in the history"),
        (op(Kind.READ, 11, 12, 30, 30), "was refused, though"),
    ],
)
def test_what_no_register_does_is_found(wrong: Operation, says: str) -> None:
    told = faults_of("k", [*WRITES, wrong], HISTORY)
    assert told
    assert says in told[0]


def test_reads_that_go_back_are_found() -> None:
    reads = [op(Kind.READ, 5, 6, 20), op(Kind.READ, 7, 8, 10)]
    assert faults_of("k", [WRITES[0], *reads], HISTORY[:2])


def test_a_write_that_is_put_before_what_had_been_seen_is_found() -> None:
    late = [Written(10, True, 1), Written(15, True, 8), Written(20, True, 5)]
    seen = [op(Kind.WRITE, 1, 3, 10), op(Kind.WRITE, 5, 6, 20), op(Kind.WRITE, 8, 9, 15)]
    assert "place 2 after place 3" in faults_of("k", seen, late)[0]


def test_bonds_that_did_not_hold_are_found() -> None:
    history = [Written(10, True, 1), Written(20, True, 5)]
    assert "bound to another" in faults_of("k", [op(Kind.SWAP, 5, 6, 20, 9)], history)[0]
    assert "one that lives" in faults_of("k", [op(Kind.MAKE, 5, 6, 20)], history)[0]


def test_what_is_under_way_for_ever_bounds_nothing() -> None:
    assert faults_of("k", [op(Kind.READ, 0, NEVER_NS, 20), op(Kind.READ, 6, 7, 10)], HISTORY[:2]) == []


GONE_TWICE = [Written(10, True, 0), Written(-3, False, 0), Written(30, True, 0), Written(-5, False, 0)]


@pytest.mark.parametrize(
    ("operations", "wrong"),
    [
        ([op(Kind.GONE, 2, 3, 0), op(Kind.READ, 4, 5, 30), op(Kind.GONE, 6, 7, 0)], False),
        ([op(Kind.GONE, 2, 3, 0), op(Kind.GONE, 4, 5, 0), op(Kind.READ, 6, 7, 30)], False),
        ([op(Kind.READ, 2, 3, 30), op(Kind.GONE, 4, 5, 0), op(Kind.READ, 6, 7, 30)], True),
        ([op(Kind.GONE, 2, 3, 0), op(Kind.READ, 4, 5, 10)], True),
        ([op(Kind.GONE, 2, 6, 0), op(Kind.READ, 4, 5, 10)], False),
    ],
)
def test_whoever_found_it_deleted_saw_some_tombstone(operations: list[Operation], wrong: bool) -> None:
    assert bool(faults_of("k", operations, GONE_TWICE)) == wrong


def test_nobody_finds_deleted_what_never_was() -> None:
    assert "nothing is" in faults_of("k", [op(Kind.GONE, 2, 3, 0)], GONE_TWICE[:1])[0]
