"""What may be sent and which token may be kept, without a broker."""

from __future__ import annotations

import random

import pytest

from ambry.errors import InvariantBroken
from ambry.streams.plan import IN_FLIGHT_MAX, KEEP_EVERY_S, KEEP_QUIET_S, REPEATS_MAX, Covered, PublishProgress


def test_a_token_is_covered_when_all_before_it_is_acknowledged() -> None:
    progress = PublishProgress(Covered("t0", 7), 0.0)
    assert list(progress.take("t1", 2, 0.0)) == [7, 8]
    assert list(progress.take("t2", 1, 0.0)) == [9]
    progress.acknowledge(9, 0.1)
    progress.acknowledge(8, 0.1)
    assert progress.covered == Covered("t0", 7)
    progress.acknowledge(7, 0.1)
    assert progress.covered == Covered("t2", 10) and progress.in_flight == 0


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_no_token_is_ahead_of_a_message(seed: int) -> None:
    chance = random.Random(seed)
    progress = PublishProgress(Covered("0", 0), 0.0)
    waiting: list[int] = []
    acknowledged: set[int] = set()
    for _ in range(300):
        if chance.random() < 0.4 or not waiting:
            numbers = progress.take(str(progress.sequence), chance.randrange(4), 0.0)
            waiting.extend(numbers)
        else:
            number = waiting.pop(chance.randrange(len(waiting)))
            acknowledged.add(number)
            progress.acknowledge(number, 0.0)
        assert acknowledged.issuperset(range(progress.covered.sequence))
        assert progress.in_flight == len(waiting)
    for number in waiting:
        progress.acknowledge(number, 0.0)
    assert progress.covered.sequence == progress.sequence


def test_an_acknowledgement_of_nothing_is_a_fault() -> None:
    progress = PublishProgress(Covered("t0", 0), 0.0)
    with pytest.raises(InvariantBroken):
        progress.acknowledge(0, 0.0)


def test_messages_in_flight_and_those_that_may_come_again_are_bounded() -> None:
    progress = PublishProgress(Covered("t0", 0), 0.0)
    assert progress.has_room(IN_FLIGHT_MAX + 1)  # A page that large has to go some time.
    for number in range(10):
        assert progress.has_room(1_000)
        progress.take(f"t{number}", 1_000, 0.0)
    assert not progress.has_room(1)
    for sequence in range(IN_FLIGHT_MAX):
        progress.acknowledge(sequence, 0.0)
    progress.take("more", REPEATS_MAX - IN_FLIGHT_MAX, 0.0)
    for sequence in range(IN_FLIGHT_MAX, REPEATS_MAX):
        progress.acknowledge(sequence, 0.0)
    assert not progress.has_room(1)
    progress.keep(progress.covered, 0.0)
    assert progress.has_room(1)


def test_a_token_is_kept_now_and_then_and_only_where_something_was_published() -> None:
    progress = PublishProgress(Covered("t0", 0), 0.0)
    progress.take("quiet", 0, 0.0)
    assert progress.to_keep(KEEP_EVERY_S, at_once=True) is None
    assert progress.to_keep(KEEP_QUIET_S) == Covered("quiet", 0)
    progress.acknowledge(progress.take("t1", 1, 0.0)[0], 0.1)
    assert progress.to_keep(KEEP_EVERY_S / 2) is None
    assert progress.to_keep(KEEP_EVERY_S / 2, at_once=True) == Covered("t1", 1)
    assert progress.to_keep(KEEP_EVERY_S) == Covered("t1", 1)
    progress.not_now(KEEP_EVERY_S)
    assert progress.to_keep(KEEP_EVERY_S) is None
    progress.keep(Covered("t1", 1), 2 * KEEP_EVERY_S)
    assert progress.to_keep(9 * KEEP_EVERY_S) is None


def test_now_is_kept_as_a_token_although_nothing_came() -> None:
    """PublisherState as it is, the next run would begin at a later now, and leave out what came between."""
    progress = PublishProgress(Covered("now", 0), 0.0)
    progress.take("t1", 0, 0.0)
    assert progress.to_keep(KEEP_EVERY_S) == Covered("t1", 0)


def test_silence_counts_while_something_is_waited_for() -> None:
    progress = PublishProgress(Covered("t0", 0), 0.0)
    assert progress.silent_s(50.0) == 0.0
    progress.take("t1", 2, 50.0)
    assert progress.silent_s(53.0) == 3.0
    progress.acknowledge(0, 53.0)
    assert progress.silent_s(54.0) == 1.0
