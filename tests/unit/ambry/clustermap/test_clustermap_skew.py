"""Which time most have."""

from __future__ import annotations

import pytest

from ambry.clustermap.skew import SAMPLE_LIFE_S, SKEW_MAX_MS, AgreedClock, base_ms
from tests.support.fake_clock import SettableClock

DAY_MS = 86_400_000


def heard(clock: SettableClock, *offsets_ms: int, own_votes: bool = True) -> AgreedClock:
    """Of peers whose clocks are ahead of ours by so much."""
    made = AgreedClock(clock, own_votes=own_votes)
    for number, offset_ms in enumerate(offsets_ms):
        made.note(f"n{number}", offset_ms, 1)
    return made


@pytest.mark.parametrize(
    ("offsets_ms", "own_votes", "correction_ms"),
    [
        ((), True, 0),
        ((), False, 0),
        ((0, 5), True, 0),
        ((SKEW_MAX_MS, SKEW_MAX_MS), True, 0),
        ((SKEW_MAX_MS + 1, SKEW_MAX_MS + 2), True, SKEW_MAX_MS + 1),
        ((-DAY_MS, 0), True, 0),
        ((DAY_MS, 0), True, 0),
        ((DAY_MS, DAY_MS), True, DAY_MS),
        ((-DAY_MS, -DAY_MS), True, -DAY_MS),
        # Of two the earlier one: nothing is over too soon.
        ((DAY_MS,), True, 0),
        ((-DAY_MS,), True, -DAY_MS),
        # A frontend has no vote: who holds the blobs decides when they are over.
        ((DAY_MS,), False, DAY_MS),
        ((DAY_MS, DAY_MS, 0), False, DAY_MS),
        ((-DAY_MS, 3, 5), False, 0),
    ],
)
def test_the_time_is_ours_while_it_agrees_and_that_of_most_else(
    offsets_ms: tuple[int, ...], own_votes: bool, correction_ms: int
) -> None:
    clock = SettableClock()
    agreed = heard(clock, *offsets_ms, own_votes=own_votes)
    assert agreed.wall_ms() == clock.wall_ms() + correction_ms
    assert agreed.correction_ms == correction_ms
    clock.advance(100)
    assert agreed.wall_ms() == clock.wall_ms() + correction_ms
    assert agreed.monotonic() == clock.monotonic()


def test_a_jump_of_our_own_clock_is_corrected_before_anybody_is_heard_again() -> None:
    clock = SettableClock()
    agreed = heard(clock, 0, 0, 0, own_votes=False)
    right_ms = clock.wall_ms()
    clock.wall -= DAY_MS
    assert agreed.wall_ms() == right_ms
    clock.advance(7)
    assert agreed.wall_ms() == right_ms + 7_000


def test_a_clock_that_stands_still_is_corrected() -> None:
    clock = SettableClock()
    agreed = heard(clock, 0, 0)
    right_ms = clock.wall_ms()
    clock.seconds += 3_600
    assert agreed.wall_ms() == right_ms + 3_600_000


def test_a_peer_that_was_not_heard_for_long_has_no_vote() -> None:
    clock = SettableClock()
    agreed = heard(clock, DAY_MS, DAY_MS)
    clock.advance(SAMPLE_LIFE_S + 1)
    assert agreed.peers.offsets_ms() == {}
    agreed.look()
    assert agreed.wall_ms() == clock.wall_ms(), "with nobody to ask it is our own"
    heard_again = heard(clock, DAY_MS, DAY_MS)
    clock.advance(SAMPLE_LIFE_S + 1)
    heard_again.note("n2", 0, 1)
    assert heard_again.wall_ms() == clock.wall_ms()


def test_offsets_are_against_our_clock_as_it_is_now() -> None:
    clock = SettableClock()
    agreed = heard(clock, 5, -7)
    clock.wall += 1_000
    assert agreed.peers.offsets_ms() == {"n0": -995, "n1": -1_007}
    assert base_ms(clock) == clock.wall - int(clock.seconds * 1000)


async def test_pausing_is_the_clocks_own() -> None:
    clock = SettableClock()
    await heard(clock).pause(3)
    assert clock.seconds == 1_003.0
