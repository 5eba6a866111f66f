"""One entity: the same by Newton's method as by glum, from its rows alone, in any process."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.bounds import samples_of, weighed
from ambry.ml.photon.effects import RandomEffect, design_of
from ambry.ml.photon.entity_fit import EntityRows, entity_rows, fit_entity
from ambry.ml.photon.examples import Examples
from ambry.ml.photon.models import Task
from ambry.ml.photon.solving import GlmProblem, solve

EFFECT = RandomEffect(name="r", entity="member", l2=0.5)


def problems(rows: Examples, effect: RandomEffect = EFFECT) -> list[EntityRows]:
    return list(entity_rows(effect, design_of(effect, rows), rows, rows.offset))


def test_newton_comes_to_what_glum_does(rows: Examples, task: Task) -> None:
    for each in problems(rows):
        expected = solve(
            GlmProblem(
                task=task,
                matrix=needed("scipy.sparse").csr_matrix(each.matrix),
                response=each.response,
                weight=each.weight,
                offset=each.offset,
                l1=each.l1,
                l2=each.l2,
                column_name=str,
            )
        )
        assert fit_entity(each, task).means == pytest.approx(expected, abs=1e-7)


def test_an_l1_penalty_is_for_glum(rows: Examples, task: Task) -> None:
    found = [fit_entity(each, task).means for each in problems(rows, replace(EFFECT, l1=1e6))]
    assert not np.concatenate(found).any()


def test_rows_go_to_another_process_as_they_are(rows: Examples, task: Task) -> None:
    each = problems(rows)[0]
    there = pickle.loads(pickle.dumps(each))
    assert np.array_equal(fit_entity(there, task).means, fit_entity(each, task).means)


def test_an_entity_does_not_depend_on_the_rows_of_others(rows: Examples, task: Task) -> None:
    effect = replace(EFFECT, upper=8)
    design = design_of(effect, rows)
    # Samples are by uids, so that the same rows are taken wherever they lie.
    told = replace(rows, uids=tuple(str(place) for place in range(len(rows))))
    bound = weighed(told, samples_of([effect], told))
    one = next(entity_rows(effect, design.design(bound.shard(effect.shard)), bound, bound.offset))
    assert len(one.response) <= 8
    mask = rows.ids["member"] == one.entity
    alone = weighed(told.take(mask), samples_of([effect], told.take(mask)))
    [own] = entity_rows(effect, design.design(alone.shard(effect.shard)), alone, alone.offset)
    assert np.array_equal(fit_entity(own, task).means, fit_entity(one, task).means)


def test_a_start_far_off_is_damped(rows: Examples, task: Task) -> None:
    for each in problems(rows)[:5]:
        expected = fit_entity(each, task).means
        far = replace(each, start=expected + np.array([3.0, -2.0, 4.0])[: len(expected)])
        assert fit_entity(far, task).means == pytest.approx(expected, abs=1e-6)


def test_what_rows_do_not_tell_is_a_sentence(rows: Examples) -> None:
    effect = replace(EFFECT, l2=0.0)
    each = next(each for each in problems(rows, effect) if len(each.response) > 1)
    short = replace(
        each, matrix=each.matrix[:1], response=each.response[:1], weight=each.weight[:1], offset=each.offset[:1]
    )
    with pytest.raises(InvalidRequest, match=f"{each.entity!r}: feature 0 is 0 in every row with a weight"):
        fit_entity(replace(short, matrix=np.zeros_like(short.matrix)), Task.LINEAR)
    with pytest.raises(InvalidRequest, match=f"{each.entity!r}: feature . is told by the other features"):
        fit_entity(short, Task.LINEAR)
