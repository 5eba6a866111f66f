"""What a crowd left in the heap is given back when most of it has gone."""

from __future__ import annotations

import os

from ambry.service.heap import MANY, Crowd, give_back
from tests.support.crowd import anonymous_mib

PIECES = 40_000


def test_a_crowd_has_left_when_three_in_four_are_gone_and_is_told_of_once() -> None:
    crowd = Crowd()
    assert not crowd.left(MANY - 1) and not crowd.left(0), "too few to speak of"
    assert [crowd.left(here) for here in (MANY, MANY // 2, MANY // 4 + 1, MANY // 4, 0)] == [False] * 3 + [True, False]
    assert [crowd.left(here) for here in (4 * MANY, MANY + 1, MANY)] == [False, False, True]


def test_free_pages_between_what_stays_are_given_back() -> None:
    large = [bytes(8 << 10) for _ in range(PIECES)]
    stays = large[:: PIECES // 100]
    held = anonymous_mib(os.getpid())
    del large
    give_back()
    assert anonymous_mib(os.getpid()) < held - 200
    assert len(stays) >= 100
