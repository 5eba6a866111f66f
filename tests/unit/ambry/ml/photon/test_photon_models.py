"""Scores of models: sums over effects, with what is not known adding nothing."""

from __future__ import annotations

import numpy as np
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.photon.evaluators import evaluate
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
    rows = examples_of([{INTERCEPT: 1.0}], [0], ids={"member": [9]})
    assert model().scores(rows).tolist() == [10.0]


def test_the_intercept_of_a_row_does_not_depend_on_other_rows() -> None:
    """Beside a row with one of its own, all others had none: {a: 2} scored 12 alone, and 2 there."""
    told = [{A: 2.0}, {INTERCEPT: 1.0}, {INTERCEPT: 0.0, A: 2.0}, {INTERCEPT: 1.0, A: 2.0}]
    rows = examples_of(told, [0.0] * 4, ids={"member": [9] * 4})
    beside = model().scores(rows).tolist()
    assert beside == [12.0, 10.0, 12.0, 12.0]
    assert [model().scores(rows.take([row]))[0] for row in range(4)] == beside
    assert [float(model().scores(examples_of([each], [0.0], ids={"member": [9]}))[0]) for each in told] == beside


def test_training_gives_each_row_the_intercept_that_it_has() -> None:
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    from ambry.ml.photon.effects import FixedEffect
    from ambry.ml.photon.glmix import train

    told = [{A: float(place), **({INTERCEPT: 1.0} if place % 2 else {})} for place in range(8)]
    found = train(examples_of(told, [3.0 + 2 * place for place in range(8)]), Task.LINEAR, [FixedEffect()])
    assert found.coefficients("global") == pytest.approx({INTERCEPT: 3.0, A: 2.0})


@pytest.mark.parametrize(
    ("task", "mean"), [(Task.LINEAR, 1.5), (Task.LOGISTIC, 1 / (1 + np.exp(-1.5))), (Task.POISSON, np.exp(1.5))]
)
def test_the_mean_is_by_the_task(task: Task, mean: float) -> None:
    assert task.mean(np.array([1.5]))[0] == pytest.approx(mean, rel=1e-15)


@pytest.mark.parametrize(("task", "response"), [(Task.LOGISTIC, 2.0), (Task.POISSON, -1.0), (Task.LINEAR, np.nan)])
def test_a_response_that_the_task_has_not_is_told_with_its_row(task: Task, response: float) -> None:
    with pytest.raises(InvalidRequest, match=rf"the response of row 1 \(uid 'y'\) is {response}"):
        task.check(examples_of([{}, {}], [1, response], uids="xy"))


@pytest.mark.filterwarnings("error")
def test_what_is_beyond_a_floats_range_is_inf_without_a_word() -> None:
    far = np.array([1e308])
    assert Task.POISSON.mean(far) == np.inf == Task.POISSON.losses(far, np.zeros(1)) == Task.LINEAR.losses(far, -far)
    rows = examples_of([{A: 1e308}], [-1e308], offset=[1e308], ids={"member": [9]})
    assert model().scores(rows) == np.inf
    assert evaluate(model(), rows) == {"RMSE": np.inf}


def test_an_entity_without_a_model_is_told() -> None:
    with pytest.raises(InvalidRequest, match="no model for the member '9' among 2"):
        model().random["per"].of("9")
    assert model().random["per"].of("8") == {A: -1.0}


def test_a_model_has_effects_with_names_of_their_own() -> None:
    with pytest.raises(InvalidRequest, match="at least one"):
        PhotonModel(task=Task.LINEAR)
    with pytest.raises(InvalidRequest, match="the same name 'x'"):
        PhotonModel(task=Task.LINEAR, fixed={"x": model().fixed["global"]}, random={"x": model().random["per"]})
