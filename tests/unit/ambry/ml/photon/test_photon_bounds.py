"""Which rows are trained on: the same whatever order they lie in, and fairly drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ambry.ml.photon.bounds import active_rows, sampled
from ambry.ml.photon.effects import RandomEffect
from ambry.ml.photon.examples import Examples, examples_of


def rows_of(ids: str, uids: str) -> Examples:
    return examples_of([{} for _ in ids], [0.0] * len(ids), ids={"m": ids}, uids=uids)


def test_bounds_keep_entities_and_weigh_what_was_sampled() -> None:
    found = active_rows(RandomEffect(name="r", entity="m", lower=2, upper=3), rows_of("aabbbbbbc", "123456789"))
    assert found.entities == ("a", "b")
    assert found.codes.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, -1]
    assert found.factor[:2].tolist() == [1, 1]
    assert sorted(found.factor[2:8]) == [0, 0, 0, 2, 2, 2]
    assert found.factor[8] == 1


def test_a_sample_is_the_same_in_any_order_of_rows() -> None:
    effect = RandomEffect(name="r", entity="m", upper=3)
    uids = "abcdefghij"
    taken = {uids[row] for row in np.flatnonzero(active_rows(effect, rows_of("x" * 10, uids)).factor)}
    other = {uids[::-1][row] for row in np.flatnonzero(active_rows(effect, rows_of("x" * 10, uids[::-1])).factor)}
    assert taken == other
    assert len(taken) == 3


def test_each_row_is_taken_as_often_as_any_other() -> None:
    counts = Counter(place for seed in range(4_000) for place in sampled(list("abcdefghij"), 3, seed))
    # 1,200 of each, with a deviation of 29.
    assert all(abs(count - 1_200) < 150 for count in counts.values())
    assert len(counts) == 10
