"""Which rows are trained on: the same whatever order they lie in, and fairly drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.errors import InvalidRequest
from ambry.ml.photon.bounds import active_rows, sampled_entities, samples_of, weighed
from ambry.ml.photon.descent import descend
from ambry.ml.photon.effects import FixedEffect, Normalization, RandomEffect
from ambry.ml.photon.examples import INTERCEPT, Examples, examples_of
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import Task


def rows_of(ids: str, uids: str) -> Examples:
    return examples_of([{} for _ in ids], [0.0] * len(ids), ids={"m": ids}, uids=uids)


def test_bounds_keep_entities_and_weigh_what_was_sampled() -> None:
    effect, rows = RandomEffect(name="r", entity="m", lower=2, upper=3), rows_of("aabbbbbbc", "123456789")
    found = active_rows(effect, rows)
    assert found.entities == ("a", "b")
    assert found.codes.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, -1]
    factor = sampled_entities(effect, rows).factor(rows)
    assert factor[:2].tolist() == [1, 1]
    assert sorted(factor[2:8]) == [0, 0, 0, 2, 2, 2]
    assert factor[8] == 1
    # Rows without a weight are none to be taken.
    light = replace(rows, weight=np.array([1, 1, 0, 0, 0, 1, 1, 1, 1.0]))
    assert weighed(light, samples_of([effect], light)).uids == tuple("126789")


def test_a_sample_is_the_same_in_any_order_of_rows() -> None:
    effect = RandomEffect(name="r", entity="m", upper=3)
    taken = []
    for uids in ("abcdefghij", "jihgfedcba"):
        rows = rows_of("x" * 10, uids)
        taken.append({uids[row] for row in np.flatnonzero(sampled_entities(effect, rows).factor(rows))})
    assert taken[0] == taken[1]
    assert len(taken[0]) == 3


def test_each_row_is_taken_as_often_as_any_other() -> None:
    rows, counts = rows_of("x" * 10, "abcdefghij"), Counter[int]()
    for seed in range(4_000):
        counts.update(
            sampled_entities(RandomEffect(name="r", entity="m", upper=3, seed=seed), rows)
            .factor(rows)
            .nonzero()[0]
            .tolist()
        )
    # 1,200 of each, with a deviation of 29.
    assert all(abs(count - 1_200) < 150 for count in counts.values())
    assert len(counts) == 10


def test_rows_with_one_uid_are_taken_together() -> None:
    rows = rows_of("x" * 6, "aaaaaa")
    assert sampled_entities(RandomEffect(name="r", entity="m", upper=2), rows).factor(rows).tolist() == [1.0] * 6


@pytest.mark.parametrize("task", [Task.LINEAR, Task.LOGISTIC, Task.POISSON])
def test_with_a_bound_turns_come_to_what_is_found_at_once(task: Task) -> None:
    """An intercept of 2.0 came out as -5.0, and the turns said that they had converged."""
    made = np.random.default_rng(1)
    ids = ["big"] * 600 + [f"m{place % 40}" for place in range(800)]
    number = made.normal(size=1_400)
    score = 1 + 0.5 * number
    response = {
        Task.LINEAR: score + made.normal(size=1_400),
        Task.LOGISTIC: (made.random(1_400) < 1 / (1 + np.exp(-score))).astype(float),
        Task.POISSON: made.poisson(np.exp(score)).astype(float),
    }[task]
    features: list[dict[tuple[str, str], float]] = [{("x", ""): value} for value in number.tolist()]
    told: dict[str, list[dict[tuple[str, str], float]]] = {"features": features, "none": [{}] * 1_400}
    rows = examples_of(told, response, ids={"m": ids, "half": [str(place % 2) for place in range(1_400)]})
    effects = [
        FixedEffect(),
        RandomEffect(name="per-m", entity="m", shard="none", upper=15),
        RandomEffect(name="per-half", entity="half", shard="none", upper=500, seed=2),
    ]
    at_once, turns = train(rows, task, effects), descend(rows, task, effects, sweeps=200)
    assert turns.converged
    assert turns.model.scores(rows) == pytest.approx(at_once.scores(rows), abs=1e-5)
    assert at_once.coefficients("global")[INTERCEPT] == pytest.approx(1.0, abs=0.4)


def test_bounds_that_leave_nothing_are_refused_by_turns_too() -> None:
    rows = examples_of([{}] * 4, [1.0, 2.0, 3.0, 4.0], ids={"m": "aabb"})
    for trained in (train, descend):
        with pytest.raises(InvalidRequest, match="no m has the 9 rows"):
            trained(rows, Task.LINEAR, [FixedEffect(), RandomEffect(name="r", entity="m", lower=9)])
    light = examples_of([{}] * 20, [3.0] * 20, weight=[0.0] * 19 + [1.0], ids={"m": "a" * 20})
    own = [RandomEffect(name="r", entity="m", upper=2, l2=0.5)]
    found = train(light, Task.LINEAR, own).coefficients("r", "a")
    assert found == descend(light, Task.LINEAR, own).model.coefficients("r", "a")
    assert found[INTERCEPT] == pytest.approx(2.0)


def test_ids_are_what_they_are_however_long_and_with_zero_bytes() -> None:
    """Of texts of one width, `a` and two with zero bytes behind it were one, and a long one cost its size times all rows."""
    ids = ["a", "a\0", "a\0", "b", "x" * 3_000_000] * 2
    rows = examples_of([{}] * 10, [1.0, 5.0, 5.0, 0.0, 2.0] * 2, ids={"m": ids})
    for model in (
        train(rows, Task.LINEAR, [RandomEffect(name="r", entity="m", l2=1e-9)]),
        descend(rows, Task.LINEAR, [RandomEffect(name="r", entity="m", l2=1e-9)]).model,
    ):
        assert model.random["r"].entities[:3] == ("a", "a\0", "b")
        assert model.scores(rows) == pytest.approx(rows.response, abs=1e-6)


@pytest.mark.parametrize("normalization", list(Normalization))
def test_rows_without_a_weight_are_no_rows(normalization: Normalization) -> None:
    """One of a large feature took 0.673 to 0.00065, by the scale that a penalty is on; an entity of such rows had a model."""
    made = np.random.default_rng(3)
    values = made.normal(size=60)
    features: list[dict[tuple[str, str], float]] = [{("a", ""): each} for each in values.tolist()]
    response = [*(values + made.normal(size=60)).tolist()]
    ids = [f"m{place % 4}" for place in range(60)]
    few = examples_of(features, response, ids={"m": ids})
    more = examples_of(
        [*features, *[{("a", ""): 1e200}] * 5],
        [*response, *[9e200] * 5],
        weight=[1.0] * 60 + [0.0] * 5,
        ids={"m": [*ids, *["none"] * 5]},
    )
    effects = [FixedEffect(l2=50.0, normalization=normalization), RandomEffect(name="r", entity="m", lower=3)]
    for found in (train(more, Task.LINEAR, effects), descend(more, Task.LINEAR, effects, sweeps=200).model):
        assert found.coefficients("global") == pytest.approx(train(few, Task.LINEAR, effects).coefficients("global"))
        assert found.random["r"].entities == ("m0", "m1", "m2", "m3")


@pytest.mark.parametrize("normalization", [Normalization.STANDARD_DEVIATION, Normalization.MAX_MAGNITUDE])
def test_what_a_bound_leaves_out_scales_no_feature(normalization: Normalization) -> None:
    made = np.random.default_rng(4)
    values = made.normal(size=200)
    response = values + made.normal(size=200)
    effects = [
        FixedEffect(l2=50.0, normalization=normalization),
        RandomEffect(name="r", entity="m", shard="none", upper=20),
    ]

    def rows(values: np.ndarray) -> Examples:
        told: dict[str, list[dict[tuple[str, str], float]]] = {
            "features": [{("a", ""): each} for each in values.tolist()]
        }
        return examples_of({**told, "none": [{}] * 200}, response, ids={"m": [f"m{place % 4}" for place in range(200)]})

    there = rows(values)
    left_out = np.flatnonzero(samples_of(effects, there)[0].factor(there) == 0)
    far = values.copy()
    far[left_out[0]] = 1e6
    for trained in (train, lambda *of: descend(*of, sweeps=200).model):
        found = [trained(each, Task.LINEAR, effects).coefficients("global") for each in (there, rows(far))]
        assert found[0] == pytest.approx(found[1])
