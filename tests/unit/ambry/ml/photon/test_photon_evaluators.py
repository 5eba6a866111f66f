"""Evaluators: equal to scikit-learn, also by group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ambry.errors import InvalidRequest
from ambry.ml.photon.evaluators import auc, evaluate_scores, evaluator
from ambry.ml.photon.examples import Examples, examples_of
from ambry.ml.photon.models import Task

SCORES = np.array([0.9, 0.8, 0.7, 0.6, -0.2, 0.1])
RESPONSE = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])


def rows(**options: object) -> Examples:
    ids = {"q": list("aabbcc")}
    return examples_of([{} for _ in SCORES], RESPONSE, ids=ids, **options)  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.booleans(), st.floats(0.1, 5)), min_size=2, max_size=30
    )
)
def test_auc_is_that_of_scikit_learn(told: list[tuple[float, bool, float]]) -> None:
    scores, response, weight = (np.array(column, dtype=float) for column in zip(*told, strict=True))
    if len(set(response)) == 1:
        assert np.isnan(auc(scores, response, weight))
    else:
        assert auc(scores, response, weight) == pytest.approx(
            metrics.roc_auc_score(response, scores, sample_weight=weight)
        )


def test_losses_are_means_by_weight() -> None:
    weight = np.array([1.0, 2, 3, 4, 5, 6])
    made = rows(weight=weight)
    mean = 1 / (1 + np.exp(-SCORES))
    assert evaluator("logistic_loss")(SCORES, made) == pytest.approx(
        metrics.log_loss(RESPONSE, mean, sample_weight=weight)
    )
    squared = metrics.mean_squared_error(RESPONSE, SCORES, sample_weight=weight)
    assert evaluator("RMSE")(SCORES, made) == pytest.approx(np.sqrt(squared))
    assert evaluator("SQUARED_LOSS")(SCORES, made) == pytest.approx(squared / 2)
    poisson = np.average(np.exp(SCORES) - RESPONSE * SCORES, weights=weight)
    assert evaluator("POISSON_LOSS")(SCORES, made) == pytest.approx(poisson)


def test_groups_are_averaged_and_those_without_both_responses_left_out() -> None:
    assert evaluator("AUC:q")(SCORES, rows()) == 1.0
    assert evaluator("AUC:q")(-SCORES, rows()) == 0.0
    assert evaluator("PRECISION@1:q")(SCORES, rows()) == pytest.approx(2 / 3)
    assert evaluator("PRECISION@2:q")(SCORES, rows()) == pytest.approx((1 + 2 + 0) / 6)


def test_where_nothing_can_be_said_it_is_not_a_number() -> None:
    made = rows().take([0, 2])
    assert np.isnan(evaluator("AUC")(SCORES[[0, 2]], made))
    assert np.isnan(evaluator("AUC:q")(SCORES[[0, 2]], made))
    assert np.isnan(evaluator("RMSE")(SCORES[:0], rows().take([])))


def test_larger_is_better_of_some() -> None:
    assert evaluator("AUC").better(0.9, 0.8)
    assert evaluator("RMSE").better(0.8, 0.9)


@pytest.mark.parametrize("name", ["", "X", "PRECISION@5", "PRECISION@0:q", "PRECISION@x:q"])
def test_what_is_no_evaluator_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(InvalidRequest, match="there are AUC, RMSE"):
        evaluator(name)


def test_ids_and_responses_have_to_be_there() -> None:
    with pytest.raises(InvalidRequest, match="the rows have no ids 'x'"):
        evaluator("AUC:x")(SCORES, rows())
    with pytest.raises(InvalidRequest, match="AUC asks for responses"):
        evaluator("AUC")(SCORES[:1], examples_of([{}], [np.nan]))


@pytest.mark.parametrize(("task", "wrong"), [(Task.LOGISTIC, 5.0), (Task.LOGISTIC, -1.0), (Task.POISSON, -1.0)])
def test_responses_that_a_task_has_not_give_no_number(task: Task, wrong: float) -> None:
    response = [*RESPONSE[:-1].tolist(), wrong]
    with pytest.raises(InvalidRequest, match=rf"the response of row 5 is {wrong}; in a"):
        evaluate_scores(task, SCORES, examples_of([{} for _ in SCORES], response))
