"""Large cycles that a test leaves are gone when they have grown to some tens of megabytes, however many objects there are."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support.left_memory import GROWTH_BYTES, LeftMemory, freeze, resident_bytes


@pytest.fixture(autouse=True)
def by_hand() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def leave(size: int) -> None:
    kept: list[object] = [b"x" * size]
    kept.append(kept)


def test_a_cycle_with_a_large_body_goes_and_small_ones_are_not_looked_for() -> None:
    gc.collect()
    left, before = LeftMemory(), resident_bytes()
    leave(1 << 20)
    left.look()
    assert gc.collect() > 0, "it was not worth a look"
    leave(2 * GROWTH_BYTES)
    assert resident_bytes() - before > GROWTH_BYTES
    left.look()
    assert resident_bytes() - before < GROWTH_BYTES


def test_what_is_there_is_looked_through_no_more() -> None:
    kept = [[number] for number in range(10_000)]
    freeze()
    assert len(gc.get_objects()) < len(kept)
