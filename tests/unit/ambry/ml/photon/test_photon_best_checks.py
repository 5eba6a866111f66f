"""What has no best coefficients is refused, of more columns than have a square too."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.errors import InvalidRequest
from ambry.ml.photon import best_checks
from ambry.ml.photon.best_checks import check_found, check_gram, check_products
from ambry.ml.photon.descent import descend
from ambry.ml.photon.effects import FixedEffect, RandomEffect
from ambry.ml.photon.examples import Examples, examples_of
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import Task
from ambry.ml.photon.objective import GlmSums
from ambry.ml.photon.solving import GlmProblem


def of_levels(count: int) -> Examples:
    """Two rows of each."""
    level = np.repeat(np.arange(count), 2)
    response = np.random.default_rng(1).normal(size=len(level)) + 5
    names = [f"l{each}" for each in level.tolist()]
    return examples_of([{("level", name): 1.0} for name in names], response, ids={"level": names})


@pytest.mark.parametrize("kind", [Task.LINEAR, Task.POISSON])
def test_levels_that_tell_the_intercept_are_refused_however_many_they_are(kind: Task) -> None:
    """Of more than 2,000 columns without a penalty nobody looked: some coefficients of endlessly many came out."""
    rows = of_levels(2_100)
    if kind is not Task.LINEAR:
        rows = examples_of([{}] * 4_200, np.ones(4_200) + np.arange(4_200) % 2, ids=rows.ids)
    effects = (
        [FixedEffect()] if kind is Task.LINEAR else [FixedEffect(), RandomEffect(name="own", entity="level", l2=0)]
    )
    with pytest.raises(InvalidRequest, match="is told by the other features without a penalty"):
        train(rows, kind, effects)
    if kind is Task.LINEAR:
        with pytest.raises(InvalidRequest, match="is told by the other features without a penalty"):
            descend(rows, kind, effects)


def test_as_many_levels_without_an_intercept_are_trained() -> None:
    rows = of_levels(2_100)
    found = train(rows, Task.LINEAR, [FixedEffect(intercept=False)]).fixed["global"]
    means = rows.response.reshape(-1, 2).mean(axis=1)
    told = [means[int(level[1:])] for _, level in found.index.features]
    assert found.means == pytest.approx(told, rel=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_products_say_what_the_square_says(seed: int) -> None:
    made = np.random.default_rng(seed)
    rows, columns = int(made.integers(30, 120)), int(made.integers(2, 25))
    matrix = (
        made.normal(size=(rows, columns)) * (made.random((rows, columns)) < 0.5) * 10.0 ** made.integers(-6, 7, columns)
    )
    told = seed % 2 == 0
    if told:
        matrix = np.column_stack([matrix, matrix @ made.normal(size=columns)])
    gram = matrix.T @ matrix
    free = np.arange(len(gram))
    for by_products in (False, True):
        with pytest.raises(InvalidRequest, match="is told by the other features") if told else nullcontext():
            if by_products:
                check_products(lambda vector: gram @ vector, np.diagonal(gram), free, str)
            else:
                check_gram(gram, free, str)


def test_a_column_of_zeros_is_named_by_products_too() -> None:
    gram = np.diag([1.0, 0.0])
    with pytest.raises(InvalidRequest, match="1 is 0 in every row"):
        check_products(lambda vector: gram @ vector, np.diagonal(gram), np.arange(2), str)


def test_columns_that_nearly_tell_others_and_have_an_end_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A correlation of 0.999 between neighbours."""
    made = np.random.default_rng(3)
    steps = np.cumsum(made.normal(size=(2_000, 40)) * 0.05, axis=1) + made.normal(size=(2_000, 1))
    response = steps[:, 0] + made.normal(size=2_000)
    rows = examples_of([{(f"f{at}", ""): value for at, value in enumerate(row)} for row in steps.tolist()], response)
    expected = train(rows, Task.LINEAR, [FixedEffect()]).fixed["global"].means
    monkeypatch.setattr(best_checks, "CHECKED_COLUMNS_MAX", 1)
    assert train(rows, Task.LINEAR, [FixedEffect()]).fixed["global"].means == pytest.approx(
        expected, rel=1e-6, abs=1e-8
    )


def test_a_step_that_leads_on_is_endless_beside_a_coefficient_that_is_large() -> None:
    """It was measured by the largest of all coefficients."""
    nothing = np.zeros(2)
    problem = GlmProblem(
        task=Task.LOGISTIC,
        matrix=None,
        response=None,
        weight=None,
        offset=None,
        l1=nothing,
        l2=nothing,
        column_name=lambda column: f"column {column}",
    )
    curvature = np.array([1.0, 1e-10])
    sums = GlmSums(loss=0.0, gradient=np.array([0.0, -1e-10]), hessian=np.diag(curvature), curvature=curvature)
    with pytest.raises(InvalidRequest, match=r"only endless coefficients do \(first of all column 1"):
        check_found(problem, sums, np.array([1e6, 34.4]))
