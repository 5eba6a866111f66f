"""GLMix at once: equal to statsmodels' mixed models on real data, with bounds, several random effects, and warm starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
pytest.importorskip("statsmodels")

from ambry.errors import InvalidRequest
from ambry.ml.photon.effects import FixedEffect, RandomEffect
from ambry.ml.photon.examples import INTERCEPT, Examples
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import PhotonModel, Task
from deploy.demos import mixed_models

EFFECTS = (
    FixedEffect(l2=0.1),
    RandomEffect(name="per-member", entity="member", shard="slope", l2=2.0),
    RandomEffect(name="per-parity", entity="parity", shard="nothing", l2=1.0),
)


@pytest.mark.parametrize("made", mixed_models.ALL)
def test_real_data_come_out_as_statsmodels_has_them(made: Callable[[], mixed_models.MixedModel]) -> None:
    reference = made()
    model = train(reference.examples, reference.task, reference.effects)
    assert reference.difference(model) <= reference.tolerance


def gradient(model: PhotonModel, rows: Examples) -> float:
    """Of the objective by each coefficient of EFFECTS, the largest, worked out by hand."""
    error = rows.weight * (model.predict(rows) - rows.response)
    fixed = model.fixed["global"]
    a, b = rows.shard("features").matrix.toarray().T
    own = dict(zip(fixed.index.features, fixed.means.tolist(), strict=True))
    found = [error.sum(), error @ a + 0.1 * own["a", ""], (error @ b + 0.1 * own["b", ""]) / 100]
    for effect, kind in (("per-member", "member"), ("per-parity", "parity")):
        random = model.random[effect]
        for entity in random.entities:
            here = rows.ids[kind] == entity
            told = random.of(entity)
            l2 = 2.0 if kind == "member" else 1.0
            found.append(error[here].sum() + l2 * told[INTERCEPT])
            if kind == "member":
                found.append(error[here] @ a[here] + l2 * told["a", ""])
    return float(max(abs(each) for each in found))


def test_several_random_effects_are_all_at_their_best(rows: Examples, task: Task) -> None:
    model = train(rows, task, EFFECTS)
    assert gradient(model, rows) < 1e-6 * rows.weight.sum()
    assert len(model.random["per-member"].entities) == 20


def test_entities_with_few_rows_have_no_model(rows: Examples, task: Task) -> None:
    counts = {id: int((rows.ids["member"] == id).sum()) for id in set(rows.ids["member"])}
    bound = sorted(counts.values())[10]
    effects = [EFFECTS[0], replace(EFFECTS[1], lower=bound)]
    model = train(rows, task, effects)
    assert model.random["per-member"].entities == tuple(sorted(id for id, count in counts.items() if count >= bound))
    with pytest.raises(InvalidRequest, match="no member has the 1000 rows that 'per-member' asks for"):
        train(rows, task, [replace(EFFECTS[1], lower=1_000)])


def test_of_many_rows_a_sample_stands_for_all(rows: Examples, task: Task) -> None:
    effects = [EFFECTS[0], replace(EFFECTS[1], upper=5, seed=3)]
    model = train(rows, task, effects)
    again = train(rows, task, effects)
    assert np.array_equal(model.scores(rows), again.scores(rows))
    other = train(rows, task, [effects[0], replace(EFFECTS[1], upper=5, seed=4)])
    assert not np.allclose(model.scores(rows), other.scores(rows))
    # By hand: the same five rows of each, weighted.
    from ambry.ml.photon.bounds import sampled_entities

    factor = sampled_entities(replace(EFFECTS[1], upper=5, seed=3), rows).factor(rows)
    taken = replace(rows, weight=rows.weight * factor).take(factor > 0)
    assert len(taken) <= 5 * 20
    assert train(taken, task, EFFECTS[:2]).scores(rows) == pytest.approx(model.scores(rows), abs=1e-7)


def test_a_model_is_a_start_also_where_features_and_entities_are_others(rows: Examples, task: Task) -> None:
    before = train(rows.take(np.arange(150)), task, EFFECTS)
    found = train(rows, task, EFFECTS, start=before)
    assert found.scores(rows) == pytest.approx(train(rows, task, EFFECTS).scores(rows), abs=1e-6)


def test_a_thousand_columns_are_fitted_by_lbfgs_and_at_their_best() -> None:
    from tests.support.photon_models import drawn_rows

    rows = drawn_rows(Task.LOGISTIC, 4_000, 600)
    model = train(rows, Task.LOGISTIC, EFFECTS)
    assert len(model.random["per-member"].entities) > 500
    assert gradient(model, rows) < 1e-5


def test_what_cannot_be_fitted_is_a_sentence(rows: Examples) -> None:
    for effects, said in (
        ([], "there is no effect to fit"),
        ([EFFECTS[0], EFFECTS[0]], "two effects have the name 'global'"),
        ([FixedEffect(shard="x")], "there is no shard 'x'"),
        ([RandomEffect(name="r", entity="x")], "the rows have no ids 'x'"),
        ([FixedEffect(shard="nothing", intercept=False)], "nothing to fit"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            train(rows, Task.LINEAR, effects)
    with pytest.raises(InvalidRequest, match="no rows with a weight"):
        train(rows.take([]), Task.LINEAR, EFFECTS)
