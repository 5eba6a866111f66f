"""A job that failed is set up again after pauses that grow, and given up after the bound."""

from __future__ import annotations

import math

import pytest

from ambry.streams.restarts import PAUSE_MAX_S, SOUND_AFTER_S, JobRestarts


def test_pauses_grow_to_a_bound_and_begin_again_after_a_sound_attempt() -> None:
    restarts, now = JobRestarts(None), 0.0
    pauses = []
    for _ in range(8):
        pause = restarts.pause_s(now, now + 5)
        assert pause is not None
        pauses.append(pause)
        now += 5 + pause
    assert pauses == [1, 2, 4, 8, 16, PAUSE_MAX_S, PAUSE_MAX_S, PAUSE_MAX_S]
    assert restarts.pause_s(now, now + SOUND_AFTER_S) == 1


@pytest.mark.parametrize("bound", [0.0, 60.0, 600.0])
def test_it_is_given_up_when_nothing_was_sound_for_so_long(bound: float) -> None:
    restarts, now = JobRestarts(bound), 0.0
    while (pause := restarts.pause_s(now, now + 10)) is not None:
        now += 10 + pause
    assert bound <= now + 10 <= bound + 10
    if bound:
        assert restarts.pause_s(now, now + SOUND_AFTER_S) == 1, "what was wrong before is over"


def test_an_attempt_has_what_is_left() -> None:
    restarts = JobRestarts(60)
    assert restarts.left_s(1000) == 60
    assert restarts.pause_s(1000, 1010) == 1
    assert restarts.left_s(1011) == 49
    assert restarts.pause_s(1011, 1059.5) == 0.5, "the pause ends when it is given up"
    assert restarts.left_s(1060) == 1
    assert restarts.pause_s(1060, 1061) is None
    assert JobRestarts(None).left_s(1000) == math.inf


def test_what_was_waited_for_in_vain_is_no_part_of_a_sound_attempt() -> None:
    """Else a file that comes for a while and stops, each time, would keep the job for ever."""
    restarts, now = JobRestarts(600), 0.0
    while (pause := restarts.pause_s(now, now + 200, 199)) is not None:
        now += 200 + pause
    assert now < 800
    assert restarts.pause_s(1000, 1000 + SOUND_AFTER_S + 30, 30) == 1
    assert restarts.left_s(1000 + SOUND_AFTER_S + 31) == 569


def test_what_begins_in_an_attempt_has_what_that_had_until_it_is_sound() -> None:
    restarts = JobRestarts(60)
    assert restarts.pause_s(1000, 1010) == 1
    assert restarts.left_s(1030, 1011) == 49
    assert restarts.left_s(1011 + SOUND_AFTER_S, 1011) == 60
    assert JobRestarts(None).left_s(1000, 990) == math.inf
