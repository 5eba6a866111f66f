"""Scores of models: sums over effects, with what is not known adding nothing."""

from __future__ import annotations

import numpy as np
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.photon.examples import INTERCEPT, FeatureIndex, examples_of, shard_of
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task

A, B = ("a", ""), ("b", "")


def model(task: Task = Task.LINEAR) -> PhotonModel:
    fixed = FixedModel(shard="features", index=FeatureIndex((INTERCEPT, A)), means=np.array([10.0, 1.0]))
    shard = shard_of([{INTERCEPT: 100.0, B: 5.0}, {A: -1.0}])
    random = RandomModel(entity="member", shard="features", index=shard.index, entities=("7", "8"), means=shard.matrix)
    return PhotonModel(task=task, fixed={"global": fixed}, random={"per": random})


def test_a_score_is_the_sum_of_effects_and_offset() -> None:
    rows = examples_of(
        [{A: 2.0, B: 3.0}, {A: 2.0, B: 3.0}, {A: 2.0}, {("c", ""): 9.0}],
        [0] * 4,
        offset=[0.5, 0, 0, 0],
        ids={"member": [7, 8, 9, 7]},
    )
    assert model().scores(rows).tolist() == [127.5, 10.0, 12.0, 110.0]


def test_rows_with_an_intercept_of_their_own_keep_it() -> None:
    rows = examples_of([{INTERCEPT: 2.0}], [0], ids={"member": [9]})
    assert model().scores(rows).tolist() == [20.0]


@pytest.mark.parametrize(
    ("task", "mean"), [(Task.LINEAR, 1.5), (Task.LOGISTIC, 1 / (1 + np.exp(-1.5))), (Task.POISSON, np.exp(1.5))]
)
def test_the_mean_is_by_the_task(task: Task, mean: float) -> None:
    assert task.mean(np.array([1.5]))[0] == pytest.approx(mean, rel=1e-15)


@pytest.mark.parametrize(("task", "response"), [(Task.LOGISTIC, 2.0), (Task.POISSON, -1.0), (Task.LINEAR, np.nan)])
def test_a_response_that_the_task_has_not_is_told_with_its_row(task: Task, response: float) -> None:
    with pytest.raises(InvalidRequest, match=rf"the response of row 1 \(uid 'y'\) is {response}"):
        task.check(examples_of([{}, {}], [1, response], uids="xy"))


def test_an_entity_without_a_model_is_told() -> None:
    with pytest.raises(InvalidRequest, match="no model for the member '9' among 2"):
        model().random["per"].of("9")
    assert model().random["per"].of("8") == {A: -1.0}


def test_a_model_has_effects_with_names_of_their_own() -> None:
    with pytest.raises(InvalidRequest, match="at least one"):
        PhotonModel(task=Task.LINEAR)
    with pytest.raises(InvalidRequest, match="the same name 'x'"):
        PhotonModel(task=Task.LINEAR, fixed={"x": model().fixed["global"]}, random={"x": model().random["per"]})
