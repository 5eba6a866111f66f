"""Generalised linear models by glum: equal to statsmodels, by every solver, and refused where none is best."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.errors import InvalidRequest
from ambry.ml.photon import solving
from ambry.ml.photon.descent import descend
from ambry.ml.photon.effects import FixedEffect, Normalization, RandomEffect
from ambry.ml.photon.examples import INTERCEPT, Examples, examples_of
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import FixedModel, Task
from deploy.demos.data import rand_health

sm = pytest.importorskip("statsmodels.api")
optimize = pytest.importorskip("scipy.optimize")
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


def test_conjugate_steps_and_lbfgs_come_to_the_same(
    rows: Examples, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fitted(rows, task, l2=3.0).means
    monkeypatch.setattr(solving, "IRLS_COLUMNS_MAX", 1)
    assert fitted(rows, task, l2=3.0).means == pytest.approx(expected, abs=2e-6)
    monkeypatch.setattr(solving, "_by_conjugate_steps", lambda *_: None)
    assert fitted(rows, task, l2=3.0).means == pytest.approx(expected, abs=2e-6)


def test_entities_of_one_row_take_few_passes_and_each_is_told(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """By L-BFGS, 2,000 of them took more than a minute, and 300,000 so many that nobody waited for the end."""
    made = np.random.default_rng(5)
    values = made.normal(size=2_000)
    response = {
        Task.LINEAR: values + made.normal(size=2_000),
        Task.LOGISTIC: (made.random(2_000) < 0.5).astype(float),
        Task.POISSON: made.poisson(1.5, size=2_000).astype(float),
    }[task]
    keys = [f"m{each}" for each in range(2_000)]
    rows = examples_of([{A: value} for value in values.tolist()], response, ids={"m": keys})
    effects = [FixedEffect(l2=1.0), RandomEffect(name="own", entity="m")]
    losses: list[float] = []
    model = train(rows, task, effects, tell=losses.append)
    assert 2 <= len(losses) <= 100
    scores = model.scores(rows)
    assert losses[-1] == pytest.approx(task.losses(scores, response).mean(), rel=1e-6)
    # Of each entity by itself: the slope of its own objective is 0.
    away = task.mean(scores) - response
    own = model.random["own"]
    means = own.means.toarray()[[own.places[key] for key in keys]]
    assert np.abs(away * values + means[:, own.index.places[A]]).max() <= 1e-5
    assert np.abs(away + means[:, own.index.places[INTERCEPT]]).max() <= 1e-5


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


def levels(task: Task, *, reference: bool) -> Examples:
    """Rows of a feature and three levels, one of which has one response alone; with `reference`, it is the intercept that has
    it, and no column by itself.
    """
    made = np.random.default_rng(11)
    level, number = made.integers(3, size=300), made.normal(size=300)
    response = made.integers(0, 2, size=300).astype(float)
    response[level == 0] = 1.0 if task is Task.LOGISTIC else 0.0
    shown = (1, 2) if reference else (0, 1)
    told = [
        {A: value, **({("level", str(each)): 1.0} if each in shown else {})}
        for value, each in zip(number.tolist(), level.tolist(), strict=True)
    ]
    return examples_of(told, response, ids={"level": level.tolist()})


ENDLESS = "only endless coefficients|the response is [01] in every row"


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("kind", [Task.LOGISTIC, Task.POISSON])
def test_a_level_with_one_response_alone_is_refused_by_every_solver(
    kind: Task, reference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was where the solver stopped that was told: 25.4 by glum, 26.3 from a start, 35.6 by Newton's method."""
    rows = levels(kind, reference=reference)
    near = train(rows, kind, [FixedEffect(l2=1e-3)])
    for start in (None, near):
        with pytest.raises(InvalidRequest, match=ENDLESS):
            train(rows, kind, [FixedEffect()], start=start)
        with pytest.raises(InvalidRequest, match=ENDLESS):
            descend(rows, kind, [FixedEffect()], start=start)
    one = examples_of([{}] * 300, rows.response, ids=rows.ids)
    own = [RandomEffect(name="own", entity="level", l2=0.0)]
    with pytest.raises(InvalidRequest, match=ENDLESS):
        train(one, kind, own)
    with pytest.raises(InvalidRequest, match=ENDLESS):
        descend(one, kind, own)
    monkeypatch.setattr(solving, "IRLS_COLUMNS_MAX", 1)
    with pytest.raises(InvalidRequest, match=ENDLESS):
        train(rows, kind, [FixedEffect()])


@pytest.mark.parametrize("far", [1e4, 1e6, 1e8, 1e10])
@pytest.mark.parametrize("kind", ["once", "turns", "entity", "lbfgs"])
def test_endless_coefficients_are_refused_beside_a_column_with_an_outlier(
    far: float, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is small was measured by the largest coefficient, that of the outlier's column: 34.4 was told as the best."""
    made = np.random.default_rng(1)
    a, b = made.normal(size=400), (np.arange(400) % 5 == 0).astype(float)
    response = np.where(b == 1, 1.0, (made.random(400) < 0.5).astype(float))
    a[np.flatnonzero(response == 1)[1]] = far
    features = [{A: x, B: y} for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    rows = examples_of(features, response, ids={"m": ["one"] * 400})
    effect = RandomEffect(name="r", entity="m", l2=0.0) if kind == "entity" else FixedEffect()
    if kind == "lbfgs":
        monkeypatch.setattr(solving, "IRLS_COLUMNS_MAX", 0)
    with pytest.raises(InvalidRequest, match=r"only endless coefficients|the solver came to no end"):
        if kind in ("once", "lbfgs"):
            train(rows, Task.LOGISTIC, [effect])
        else:
            descend(rows, Task.LOGISTIC, [effect])


@pytest.mark.parametrize("size", [1e-7, 1e-12, 1e-160, 1e9, 1e90])
@pytest.mark.parametrize("by_lbfgs", [False, True])
def test_the_unit_of_responses_is_no_matter(size: float, by_lbfgs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By L-BFGS, responses of 1e-7 came out 42 % off, and those of 1e-8 as nothing."""
    made = np.random.default_rng(5)
    matrix = np.column_stack([made.normal(size=(120, 30)), np.ones(120)])
    response = matrix @ made.normal(size=31) + made.normal(size=120)
    expected = np.linalg.solve(matrix.T @ matrix + np.diag([1.0] * 30 + [0.0]), matrix.T @ response)
    told = [{(f"{place:02}", ""): value for place, value in enumerate(row)} for row in matrix[:, :30].tolist()]
    rows = examples_of(told, size * response)
    if by_lbfgs:
        monkeypatch.setattr(solving, "IRLS_COLUMNS_MAX", 1)
    found = fitted(rows, Task.LINEAR, l2=1.0)
    assert found.index.features[-1] == INTERCEPT
    assert found.means / size == pytest.approx(expected, abs=1e-8)
    lasso = fitted(examples_of(told, response), Task.LINEAR, l1=9.0).means
    assert 1 < np.count_nonzero(lasso) < 31
    assert fitted(rows, Task.LINEAR, l1=9.0 * size).means / size == pytest.approx(lasso, abs=1e-8)


@pytest.mark.parametrize("offset", [-20.0, -40.0, -700.0])
def test_counts_far_from_one_are_found(offset: float) -> None:
    rows = examples_of([{}] * 3, [1.0, 2.0, 3.0], offset=[offset] * 3, ids={"m": "aaa"})
    expected = pytest.approx(np.log(2) - offset, abs=1e-9)
    assert fitted(rows, Task.POISSON).means[0] == expected
    own = [RandomEffect(name="own", entity="m", l2=0.0)]
    assert descend(rows, Task.POISSON, own).model.coefficients("own", "a")[INTERCEPT] == expected
    many = examples_of([{}] * 3, [1e9, 2e9, 3e9])
    assert fitted(many, Task.POISSON).means[0] == pytest.approx(np.log(2e9), abs=1e-9)


@pytest.mark.parametrize("far", [30.0, 1e3, 1e6])
@pytest.mark.parametrize("effect", [FixedEffect(), FixedEffect(l2=1.0), FixedEffect(l1=1.0)])
def test_a_start_far_off_is_no_matter(far: float, effect: FixedEffect) -> None:
    made = np.random.default_rng(6)
    matrix = made.normal(size=(200, 2))
    response = (made.random(200) < 1 / (1 + np.exp(-matrix @ [1.0, 2.0]))).astype(float)
    rows = examples_of([{A: a, B: b} for a, b in matrix.tolist()], response)
    model = train(rows, Task.LOGISTIC, [effect])
    start = replace(model.fixed["global"], means=model.fixed["global"].means * far)
    begin = replace(model, fixed={"global": start})
    for found in (
        train(rows, Task.LOGISTIC, [effect], start=begin),
        descend(rows, Task.LOGISTIC, [effect], start=begin).model,
    ):
        assert found.fixed["global"].means == pytest.approx(model.fixed["global"].means, abs=1e-7)


def test_a_model_is_the_start_of_its_own_training() -> None:
    """Of times in seconds since 1970, whose column and the intercept's are nearly one."""
    made = np.random.default_rng(7)
    since = made.random(500) * 1e6
    response = (made.random(500) < 1 / (1 + np.exp(-4 * (since / 1e6 - 0.5)))).astype(float)
    rows = examples_of([{A: 1.7e9 + value} for value in since.tolist()], response)
    effects = [FixedEffect()]
    model = train(rows, Task.LOGISTIC, effects)
    centred = train(examples_of([{A: value} for value in since.tolist()], response), Task.LOGISTIC, effects)
    for found in (
        model,
        train(rows, Task.LOGISTIC, effects, start=model),
        descend(rows, Task.LOGISTIC, effects).model,
    ):
        assert found.coefficients("global")[A] == pytest.approx(centred.coefficients("global")[A], rel=1e-6)


@pytest.mark.parametrize("effect", [FixedEffect(), FixedEffect(l2=1e-6), FixedEffect(l1=1e-3)])
def test_times_in_seconds_that_vary_by_an_hour_are_as_exact_as_what_varies(task: Task, effect: FixedEffect) -> None:
    """Refused before without a penalty: the column is the intercept's but for some millionths of it."""
    made = np.random.default_rng(8)
    since = made.normal(size=200) * 900.0
    mean = task.mean(since / 900.0 * 0.5 + 0.3)
    response = {
        Task.LINEAR: lambda: mean + made.normal(size=200),
        Task.LOGISTIC: lambda: (made.random(200) < mean).astype(float),
        Task.POISSON: lambda: made.poisson(mean).astype(float),
    }[task]()
    member = {"m": [f"m{each}" for each in made.integers(0, 2, size=200).tolist()]}
    # What of them a float has.
    since = (1_764_000_000.0 + since) - 1_764_000_000.0
    rows = examples_of([{A: 1_764_000_000.0 + value} for value in since.tolist()], response, ids=member)
    centred = examples_of([{A: value} for value in since.tolist()], response, ids=member)
    own = RandomEffect(name="own", entity="m", l1=effect.l1, l2=effect.l2, penalize_intercept=False)
    for each in ([effect], [own]):
        expected = train(centred, task, each)
        found = train(rows, task, each)
        for model in (found, train(rows, task, each, start=found), descend(rows, task, each, start=found).model):
            assert model.scores(rows) == pytest.approx(expected.scores(centred), abs=1e-6)
    assert fitted(rows, task, l1=effect.l1, l2=effect.l2).means[0] == pytest.approx(
        fitted(centred, task, l1=effect.l1, l2=effect.l2).means[0], rel=1e-5
    )


def test_what_is_beyond_a_floats_range_is_a_sentence_and_no_word_of_numpys(task: Task) -> None:
    """A warning of numpy's reached who trained, and the penalty of a feature that was small beyond all bounds was no number."""
    made = np.random.default_rng(9)
    values = made.normal(size=40)
    response = (values + made.normal(size=40) > 0).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size, offset in ((1e-160, 0.0), (1e-300, 0.0), (1e99, 0.0), (1.0, 1e300), (1.0, 800.0)):
            rows = examples_of(
                [{A: value * size} for value in values.tolist()], response, offset=[offset] * 40, ids={"m": ["a"] * 40}
            )
            for effect in (FixedEffect(), FixedEffect(l2=1.0), RandomEffect(name="own", entity="m", l1=1.0)):
                for trained in (train, lambda *told: descend(*told).model):
                    try:
                        model = trained(rows, task, [effect])
                    except InvalidRequest:
                        continue
                    assert np.isfinite(model.scores(rows)).all()
        same = fitted(examples_of([{A: value * 1e-160} for value in values.tolist()], response), task)
        expected = fitted(examples_of([{A: value} for value in values.tolist()], response), task)
        assert same.means[0] * 1e-160 == pytest.approx(expected.means[0], abs=1e-8)
        tiny = examples_of([{A: value * 1e-300} for value in values.tolist()], response * 1e20)
        with pytest.raises(InvalidRequest, match="the coefficient of 'a' is beyond a float's range"):
            fitted(tiny, Task.LINEAR)


def told_apart(task: Task, matrix: Any, response: Any) -> bool:
    """Whether endless coefficients are best, by linear programming: a direction that no response is against."""
    columns = np.column_stack([matrix / np.abs(matrix).max(axis=0), np.ones(len(matrix))])
    some, none = columns[response > 0], columns[response == 0]
    against = np.vstack([none, -some]) if task is Task.LOGISTIC else none
    fixed = None if task is Task.LOGISTIC else some
    found = optimize.linprog(
        against.sum(axis=0), A_ub=against, b_ub=np.zeros(len(against)), A_eq=fixed,
        b_eq=None if fixed is None else np.zeros(len(fixed)), bounds=[(-1, 1)] * columns.shape[1],
    )  # fmt: skip
    return bool(-found.fun > 1e-7)


@pytest.mark.parametrize("kind", [Task.LOGISTIC, Task.POISSON])
def test_what_is_refused_is_what_a_linear_program_says(kind: Task) -> None:
    """By every solver alike: 300 more were drawn once, without a difference."""
    apart = []
    for seed in range(24):
        made = np.random.default_rng(seed)
        rows, columns = int(made.integers(12, 60)), int(made.integers(1, 5))
        matrix = made.normal(size=(rows, columns)) * 10.0 ** made.integers(-4, 5, size=columns)
        matrix[:, 0] = np.abs(matrix[:, 0]) * np.append(1.0, made.random(rows - 1) < 0.1)
        score = matrix / matrix.std(axis=0) @ made.normal(size=columns)
        chance = 1 / (1 + np.exp(-score))
        response = (made.random(rows) < chance) if kind is Task.LOGISTIC else made.poisson(np.exp(score / 2) / 4)
        told = [{(str(place), ""): value for place, value in enumerate(row)} for row in matrix.tolist()]
        examples = examples_of(told, response.astype(float), ids={"m": ["a"] * rows})
        apart.append(told_apart(kind, matrix, response))
        own = RandomEffect(name="own", entity="m", l2=0.0)
        for trained, effect in ((train, FixedEffect()), (descend, FixedEffect()), (descend, own)):
            with pytest.raises(InvalidRequest) if apart[-1] else nullcontext():
                trained(examples, kind, [effect])
    assert 2 < sum(apart) < 20, apart
