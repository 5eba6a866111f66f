"""Generalised linear models by glum: equal to statsmodels, by every solver, and refused where none is best."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.errors import InvalidRequest
from ambry.ml.photon import solving
from ambry.ml.photon.effects import FixedEffect, Normalization
from ambry.ml.photon.examples import INTERCEPT, Examples, examples_of
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import FixedModel, Task
from deploy.demos.data import rand_health

sm = pytest.importorskip("statsmodels.api")
A, B = ("a", ""), ("b", "")
FAMILIES = {Task.LINEAR: "Gaussian", Task.LOGISTIC: "Binomial", Task.POISSON: "Poisson"}


def fitted(rows: Examples, task: Task, **options: Any) -> FixedModel:
    return train(rows, task, [FixedEffect(**options)]).fixed["global"]


def told(model: FixedModel) -> dict[Any, float]:
    return dict(zip(model.index.features, model.means.tolist(), strict=True))


def test_rand_health_is_as_statsmodels_has_it() -> None:
    data = rand_health()
    exog = data.drop(columns=["mdvis"])
    features = [{(name, ""): value for name, value in row.items()} for row in exog.to_dict("records")]
    response = data.mdvis.to_numpy(float)
    found = told(fitted(examples_of(features, response), Task.POISSON))
    reference = sm.GLM(response, sm.add_constant(exog), family=sm.families.Poisson()).fit(tol=1e-14, maxiter=100).params
    expected = {INTERCEPT if name == "const" else (name, ""): value for name, value in reference.items()}
    assert found.keys() == expected.keys()
    assert max(abs(found[each] - expected[each]) for each in found) <= 1e-9


def test_offsets_and_weights_are_as_statsmodels_has_them(rows: Examples, task: Task) -> None:
    matrix = np.column_stack([rows.shard("features").matrix.toarray(), np.ones(len(rows))])
    family = getattr(sm.families, FAMILIES[task])()
    model = sm.GLM(rows.response, matrix, family=family, offset=rows.offset, freq_weights=rows.weight)
    reference = model.fit(tol=1e-14, maxiter=200).params
    assert fitted(rows, task).means == pytest.approx(reference, abs=1e-9)


def worth(rows: Examples, task: Task, model: FixedModel, l1: float, l2: float, scale: Any) -> float:
    """The objective as it is said, by hand; `scale` of a, b, and the intercept outside of both penalties."""
    scores = rows.offset + rows.shard("features").matrix @ model.means[:2] + model.means[2]
    scaled = model.means[:2] * scale
    penalty = l1 * np.abs(scaled).sum() + l2 / 2 * (scaled**2).sum()
    return float(rows.weight @ task.losses(scores, rows.response) + penalty)


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 5.0), (20.0, 0.0), (10.0, 5.0)])
@pytest.mark.parametrize("kind", list(Normalization))
def test_nothing_near_is_better_by_the_objective_that_is_said(
    rows: Examples, task: Task, l1: float, l2: float, kind: Normalization
) -> None:
    matrix = rows.shard("features").matrix.toarray()
    scale = {
        Normalization.NONE: np.ones(2),
        Normalization.STANDARD_DEVIATION: matrix.std(axis=0, ddof=1),
        Normalization.MAX_MAGNITUDE: np.abs(matrix).max(axis=0),
        Normalization.STANDARDIZATION: matrix.std(axis=0, ddof=1),
    }[kind]
    found = fitted(rows, task, l1=l1, l2=l2, normalization=kind)
    best = worth(rows, task, found, l1, l2, scale)
    for place, size in enumerate([1e-3, 1e-5, 1e-3]):
        for sign in (1, -1):
            means = found.means.copy()
            means[place] += sign * size
            assert worth(rows, task, replace(found, means=means), l1, l2, scale) > best


def test_standardised_features_are_as_if_they_had_been(rows: Examples, task: Task) -> None:
    """By hand: less their means and by their deviations, then the same penalty; scores are the same."""
    matrix = rows.shard("features").matrix.toarray()
    by_hand = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0, ddof=1)
    told = [{A: a, B: b} for a, b in by_hand.tolist()]
    there = examples_of(told, rows.response, weight=rows.weight, offset=rows.offset)
    expected = train(there, task, [FixedEffect(l2=30.0)]).scores(there)
    effect = FixedEffect(l2=30.0, normalization=Normalization.STANDARDIZATION)
    assert train(rows, task, [effect]).scores(rows) == pytest.approx(expected, abs=1e-8)


def test_a_large_l1_leaves_nothing_but_the_intercept(rows: Examples, task: Task) -> None:
    found = told(fitted(rows, task, l1=1e7))
    assert (found[A], found[B]) == (0.0, 0.0)
    assert found[INTERCEPT] != 0


def test_lbfgs_comes_to_the_same(rows: Examples, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fitted(rows, task, l2=3.0).means
    monkeypatch.setattr(solving, "IRLS_COLUMNS_MAX", 1)
    assert fitted(rows, task, l2=3.0).means == pytest.approx(expected, abs=2e-6)


def test_the_same_comes_out_wherever_it_begins(rows: Examples, task: Task) -> None:
    model = train(rows, task, [FixedEffect(l2=3.0)])
    elsewhere = replace(model.fixed["global"], means=model.fixed["global"].means + 0.01)
    again = train(rows, task, [FixedEffect(l2=3.0)], start=replace(model, fixed={"global": elsewhere}))
    assert again.fixed["global"].means == pytest.approx(model.fixed["global"].means, abs=1e-8)


def test_collinear_features_are_named(two: Examples) -> None:
    with pytest.raises(InvalidRequest, match=r"the feature '[ab]' of 'global' is told by the other features"):
        fitted(two, Task.LINEAR)
    assert np.isfinite(fitted(two, Task.LINEAR, l2=1.0).means).all()


def test_a_feature_that_is_never_there_is_named() -> None:
    rows = examples_of([{A: 1.0}, {}, {A: 2.0}], [1.0, 2.0, 3.0], weight=[0.0, 1.0, 0.0])
    with pytest.raises(InvalidRequest, match="the feature 'a' of 'global' is 0 in every row with a weight"):
        fitted(rows, Task.LINEAR)


@pytest.mark.parametrize(("task", "value"), [(Task.LOGISTIC, 1.0), (Task.LOGISTIC, 0.0), (Task.POISSON, 0.0)])
def test_a_response_that_is_always_the_same_is_refused(task: Task, value: float) -> None:
    rows = examples_of([{A: float(place)} for place in range(9)], [value] * 9)
    with pytest.raises(InvalidRequest, match=f"the response is {value:g} in every row"):
        fitted(rows, task, l2=1.0)


def test_rows_that_are_told_apart_without_an_error_are_refused() -> None:
    rows = examples_of([{A: float(place)} for place in range(-5, 5)], [0.0] * 5 + [1.0] * 5)
    with pytest.raises(InvalidRequest, match="say an l2 penalty"):
        fitted(rows, Task.LOGISTIC)
    assert np.isfinite(fitted(rows, Task.LOGISTIC, l2=0.1).means).all()


def test_numbers_beyond_all_bounds_are_a_sentence() -> None:
    rows = examples_of([{A: 1e200}, {A: -1e200}, {A: 3e199}], [1.0, 2.0, 5.0])
    with pytest.raises(InvalidRequest, match=r"the feature 'a' has values of the size 1e\+200"):
        fitted(rows, Task.POISSON)


def test_features_of_very_different_sizes_are_no_matter(rows: Examples, task: Task) -> None:
    expected = fitted(rows, task)
    told = rows.shard("features").matrix.toarray() * np.array([1e-90, 1e12])
    there = examples_of([{A: a, B: b} for a, b in told.tolist()], rows.response, weight=rows.weight, offset=rows.offset)
    found = fitted(there, task)
    assert found.means * np.array([1e-90, 1e12, 1.0]) == pytest.approx(expected.means, abs=1e-8)
