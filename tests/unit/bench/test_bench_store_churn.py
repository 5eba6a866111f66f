"""The workload of the churn: how long blobs live."""

from __future__ import annotations

import random

import pytest

from tests.bench.store_churn import HALF_A_YEAR_DAYS, SIZE_MAX, SIZE_MIN, TTL_DAYS, Life, lives


def test_one_in_ten_expires_and_three_more_are_deleted() -> None:
    found = [life for day in range(100) for life in lives(day, 100, random.Random(day))]
    assert len(found) == 10_000
    assert sum(life.expires for life in found) / len(found) == pytest.approx(0.10, abs=0.01)
    deleted = [life for life in found if life.dies_on is not None and not life.expires]
    assert len(deleted) / len(found) == pytest.approx(0.30, abs=0.015)


def test_those_that_expire_live_for_a_week_and_the_deleted_for_half_a_year_at_most() -> None:
    found = [life for seed in range(50) for life in lives(10, 100, random.Random(seed))]
    assert {life.dies_on for life in found if life.expires} == {10 + TTL_DAYS}
    deaths = {life.dies_on for life in found if life.dies_on is not None and not life.expires}
    assert min(deaths) == 11
    assert max(deaths) == 10 + HALF_A_YEAR_DAYS
    assert {life.size for life in found} <= set(range(SIZE_MIN, SIZE_MAX + 1))


def test_the_same_seed_gives_the_same_lives() -> None:
    def drawn() -> list[Life]:
        return list(lives(3, 20, random.Random(5)))

    assert drawn() == drawn()
