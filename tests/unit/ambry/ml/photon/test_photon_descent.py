"""Effects by turns: to the same model as at once, from a start, with locks, and by whoever fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.errors import InvalidRequest
from ambry.ml.photon.descent import descend, fit_effect
from ambry.ml.photon.effects import FixedEffect, ModelEffect, RandomEffect
from ambry.ml.photon.examples import Examples
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import Task
from deploy.demos import mixed_models

EFFECTS = (
    FixedEffect(l2=0.1),
    RandomEffect(name="per-member", entity="member", shard="slope", l2=40.0),
)


def test_turns_come_to_what_is_found_at_once(rows: Examples, task: Task) -> None:
    found = descend(rows, task, EFFECTS, sweeps=200, tolerance=1e-7)
    assert found.converged
    at_once = train(rows, task, EFFECTS)
    assert found.model.scores(rows) == pytest.approx(at_once.scores(rows), abs=1e-6)
    losses = [sweep.loss for sweep in found.sweeps]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("reference_of", mixed_models.ALL)
def test_a_few_turns_come_to_the_references(reference_of: Callable[[], mixed_models.MixedModel]) -> None:
    """200 turns of the pigs were 9e-5 away, before each began where the last ones lead."""
    reference = reference_of()
    found = descend(reference.examples, reference.task, reference.effects)
    assert found.converged and len(found.sweeps) <= 30
    assert reference.difference(found.model) <= reference.tolerance


def test_what_does_not_converge_is_told_and_is_the_best_that_was_found(rows: Examples, task: Task) -> None:
    found = descend(rows, task, EFFECTS, sweeps=3, tolerance=0.0)
    assert (found.converged, len(found.sweeps)) == (False, 3)
    assert found.model.coordinates.keys() == {"global", "per-member"}


def test_who_begins_at_the_end_is_there(rows: Examples, task: Task) -> None:
    at_once = train(rows, task, EFFECTS)
    found = descend(rows, task, EFFECTS, start=at_once, tolerance=1e-5)
    assert (found.converged, len(found.sweeps)) == (True, 1)


def test_a_start_may_have_other_features(rows: Examples, task: Task) -> None:
    other = train(rows, task, [replace(EFFECTS[1], shard="features")])
    found = descend(rows, task, EFFECTS, start=other, sweeps=200, tolerance=1e-7)
    assert found.model.scores(rows) == pytest.approx(train(rows, task, EFFECTS).scores(rows), abs=1e-5)


def test_what_is_locked_stays(rows: Examples, task: Task) -> None:
    before = train(rows, task, EFFECTS[:1])
    found = descend(rows, task, EFFECTS, start=before, locked=["global"], sweeps=2)
    assert found.model.fixed["global"] is before.fixed["global"]
    assert found.model.random["per-member"].means.nnz
    with pytest.raises(InvalidRequest, match="'x' cannot be locked"):
        descend(rows, task, EFFECTS, start=before, locked=["x"])


def test_another_may_fit_effects_and_is_told_what_the_others_leave(rows: Examples, task: Task) -> None:
    asked: list[tuple[str, Any]] = []

    def fit(effect: ModelEffect, examples: Examples, task: Task, offset: Any, start: Any) -> Any:
        asked.append((effect.name, offset))
        return fit_effect(effect, examples, task, offset, start)

    found = descend(rows, task, EFFECTS, sweeps=1, fit=fit)
    assert [name for name, _ in asked] == ["global", "per-member"]
    assert np.array_equal(asked[0][1], rows.offset)
    assert asked[1][1] == pytest.approx(rows.offset + found.model.fixed["global"].scores(rows))
    assert not found.converged


def test_there_is_a_sweep_at_least(rows: Examples, task: Task) -> None:
    with pytest.raises(InvalidRequest, match="at least one sweep"):
        descend(rows, task, EFFECTS, sweeps=0)
