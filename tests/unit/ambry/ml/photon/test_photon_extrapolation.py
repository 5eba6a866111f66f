"""Where sweeps lead: of a square, to its least as soon as directions are known; of one with kinks, to the least along each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.extras import needed
from ambry.ml.photon.effects import Scaling
from ambry.ml.photon.examples import FeatureIndex
from ambry.ml.photon.extrapolation import Extrapolation, least_along, least_over
from ambry.ml.photon.models import FixedModel, RandomModel
from ambry.ml.photon.objective import GlmSums

SLOW = np.diag([0.99, 0.95, 0.2])
END = np.array([3.0, -1.0, 2.0])
BENT = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]])
FIXED, RANDOM = FeatureIndex((("a", ""), ("b", ""))), FeatureIndex((("a", ""),))


def state(values: np.ndarray) -> dict[str, Any]:
    """Two coefficients that are fixed, and one of an entity."""
    fixed = FixedModel(shard="s", index=FIXED, means=values[:2])
    means = needed("scipy.sparse").csr_matrix(values[2:].reshape(1, 1))
    return {
        "fixed": fixed,
        "random": RandomModel(entity="e", shard="s", index=RANDOM, entities=("x",), means=means),
    }


def values_of(models: dict[str, Any]) -> np.ndarray:
    return np.concatenate([models["fixed"].means, models["random"].means.toarray()[0]])


def extrapolation(l1: float = 0.0) -> Extrapolation:
    return Extrapolation(
        {
            name: Scaling(
                index=index,
                scale=np.full(len(index), 2.0),
                center=np.zeros(len(index)),
                l1=np.full(len(index), l1),
                l2=np.zeros(len(index)),
            )
            for name, index in (("fixed", FIXED), ("random", RANDOM))
        }
    )


def along(here: dict[str, Any]) -> Callable[[Sequence[Any]], GlmSums]:
    """Of half a square that is 0 at the end."""

    def sums(directions: Sequence[Any]) -> GlmSums:
        columns = np.column_stack([values_of(each) for each in directions])
        bent = BENT @ columns
        return GlmSums(0.0, bent.T @ (values_of(here) - END), columns.T @ bent, None)

    return sums


def test_a_slow_linear_map_is_at_its_end_after_its_dimensions() -> None:
    ahead, here = extrapolation(), state(np.zeros(3))
    for _ in range(5):
        after = state(END + SLOW @ (values_of(here) - END))
        here = ahead.next(here, after, along(after))
    assert values_of(here) == pytest.approx(END, abs=1e-8)


def test_nothing_is_learned_from_one_sweep_or_from_what_was_forgotten() -> None:
    ahead = extrapolation()
    first, second = state(np.zeros(3)), state(np.ones(3))
    assert values_of(ahead.next(first, second, along(second))).tolist() == [1.0, 1.0, 1.0]
    ahead.forget()
    replaced = state(np.full(3, 1.5))
    assert values_of(ahead.next(second, replaced, along(replaced))).tolist() == values_of(replaced).tolist()


def test_what_does_not_move_leads_nowhere_else() -> None:
    ahead, here = extrapolation(), state(END)
    for _ in range(3):
        here = ahead.next(here, {name: replace(model) for name, model in here.items()}, along(here))
    assert np.array_equal(values_of(here), END)


def test_what_is_no_number_leads_nowhere() -> None:
    ahead, first, second = extrapolation(), state(np.zeros(3)), state(np.ones(3))
    ahead.next(first, first, along(first))

    def endless(directions: Sequence[Any]) -> GlmSums:
        return GlmSums(0.0, np.full(len(directions), np.inf), np.full((len(directions),) * 2, np.nan), None)

    assert values_of(ahead.next(first, second, endless)).tolist() == [1.0, 1.0, 1.0]


def test_small_steps_under_a_penalty_end_where_a_coefficient_does() -> None:
    """What two coefficients share costs the penalty of both: sweeps moved it by one small step each, for ever."""
    ahead = extrapolation(l1=1.0)
    flat = GlmSums(0.0, np.zeros(2), np.zeros((2, 2)), None)
    here = [state(np.array([5.0 - step, 0.0, -7.0 + step])) for step in (0.0, 0.01, 0.02)]
    ahead.next(here[0], here[1], lambda _: flat)
    found = ahead.next(here[1], here[2], lambda _: flat)
    assert values_of(found) == pytest.approx([0.0, 0.0, -2.0], abs=1e-12)
    assert ahead.penalty(found) == pytest.approx(4.0)


def drawn(seed: int, entries: int, directions: int) -> tuple[Any, ...]:
    made = np.random.default_rng(seed)
    columns = made.normal(size=(directions + 1, directions))
    at, moved = made.normal(size=entries), made.normal(size=(entries, directions))
    at[made.random(entries) < 0.3] = 0.0
    moved[made.random(entries) < 0.3] = 0.0
    return 3 * made.normal(size=directions), columns.T @ columns, at, moved, made.random(entries)


def worth(drawn: tuple[Any, ...], shares: Any) -> float:
    gradient, hessian, at, moved, l1 = drawn
    return float(gradient @ shares + shares @ hessian @ shares / 2 + l1 @ np.abs(at + moved @ shares))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.0, 1.0]))
def test_the_least_along_a_direction_is_least_of_all_places_where_it_may_be(
    seed: int, entries: int, curvature: float
) -> None:
    gradient, _, at, moved, l1 = problem = drawn(seed, entries, 1)
    slope = float(np.clip(gradient[0], -0.9, 0.9) * (l1 @ np.abs(moved[:, 0]))) if not curvature else gradient[0]
    problem = (np.array([slope]), np.array([[curvature]]), at, moved, l1)
    found = least_along(slope, curvature, at, moved[:, 0], l1)
    some = moved[:, 0] != 0
    kinks = np.sort(np.append(-at[some] / moved[some, 0], 0.0))
    between = []
    for place in np.concatenate([[kinks[0] - 1], (kinks[1:] + kinks[:-1]) / 2, [kinks[-1] + 1]]).tolist():
        steep = slope + float((l1 * moved[:, 0]) @ np.sign(at + place * moved[:, 0]))
        between += [-steep / curvature] if curvature else []
    best = min(worth(problem, np.array([place])) for place in (*kinks.tolist(), *between) if place >= 0)
    assert worth(problem, np.array([found])) == pytest.approx(best, abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 5))
def test_no_direction_by_itself_leads_much_further(seed: int, entries: int, directions: int) -> None:
    gradient, hessian, at, moved, l1 = problem = drawn(seed, entries, directions)
    found = least_over(gradient, hessian, at, moved, l1)
    best, nothing = worth(problem, found), worth(problem, np.zeros(directions))
    assert best <= nothing
    if not entries:
        assert found == pytest.approx(-np.linalg.solve(hessian, gradient), abs=1e-6)
    for direction in (*np.eye(directions), *-np.eye(directions)):
        here = at + moved @ found
        share = least_along(
            float((gradient + hessian @ found) @ direction), float(direction @ hessian @ direction), here,
            moved @ direction, l1,
        )  # fmt: skip
        assert worth(problem, found + share * direction) >= best - 0.05 * (nothing - best) - 1e-9
