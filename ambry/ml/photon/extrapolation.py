"""Where the next sweep of coordinate descent begins: where the objective is least over all that the last sweeps span.

Where effects share what they explain, a sweep takes the same small part of what is left, in the same few directions; under an
L1 penalty, the same small step, again and again. Rows say once a sweep how steep the loss is along these directions, and how it
bends, as of a model with so few columns (objective.py); with the penalties that is a function of few numbers, whose least is
found here. What the loss is beyond that, it does not know: who asks gives up a start that made a sweep worse (descent.py), and
it is forgotten here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ambry.ml.photon.effects import Scaling
from ambry.ml.photon.models import FixedModel, RandomModel
from ambry.ml.photon.objective import GlmSums

WINDOW = 5
"""Sweeps that are looked back on."""
IGNORED = 1e-13
"""Of the largest direction: what is smaller is noise."""
ROUNDS = 10
"""Of steps in all directions, at most."""
GAINED = 1e-6
"""Of what all rounds gained: the last one gains less."""

Model = FixedModel | RandomModel
Models = Mapping[str, Model]
"""By the names of effects."""
Along = Callable[[Sequence[Models]], GlmSums]
"""The loss by shares of directions, which are models that are added: its gradient and hessian where there is none of them."""


class Extrapolation:
    """Takes the models before and after each sweep. They have the same entities and features."""

    def __init__(self, scalings: Mapping[str, Scaling], window: int = WINDOW) -> None:
        self._scalings = scalings
        self._ends: deque[Models] = deque(maxlen=window)
        """What came out of the last sweeps."""

    def forget(self) -> None:
        """All sweeps."""
        self._ends.clear()

    def next(self, before: Models, after: Models, along: Along) -> dict[str, Model]:
        """Where to begin the next sweep: at `after`, while there are no earlier ones to learn from."""
        earlier = list(self._ends)
        self._ends.append(dict(after))
        if not earlier:
            return dict(after)
        directions = [_away(after, before), *(_away(each, after) for each in earlier)]
        sums = along(directions)
        with np.errstate(all="ignore"):
            shares = self._shares(after, directions, sums)
        if not np.isfinite(shares).all():
            return dict(after)
        made = dict(after)
        for share, direction in zip(shares.tolist(), directions, strict=True):
            for name, model in made.items():
                made[name] = replace(model, means=model.means + share * direction[name].means)
        return made

    def penalty(self, models: Models) -> float:
        """On all their coefficients."""
        total = 0.0
        for name, model in models.items():
            means, l1, l2 = self._penalised(name, [model])
            with np.errstate(all="ignore"):
                total += float(l1 @ np.abs(means[:, 0]) + 0.5 * (l2 @ means[:, 0] ** 2))
        return total

    def _shares(self, after: Models, directions: Sequence[Models], sums: GlmSums) -> Any:
        told = [self._penalised(name, [model, *(each[name] for each in directions)]) for name, model in after.items()]
        means, l1, l2 = (np.concatenate(pieces) for pieces in zip(*told, strict=True))
        at, moved = means[:, 0], means[:, 1:]
        kinks = l1 > 0
        return least_over(
            sums.gradient + moved.T @ (l2 * at),
            sums.hessian + moved.T @ (l2[:, None] * moved),
            at[kinks],
            moved[kinks],
            l1[kinks],
        )

    def _penalised(self, name: str, models: Sequence[Model]) -> tuple[Any, Any, Any]:
        """Of each coefficient that one of these models has: what it is in each, as penalties see it, and its penalties."""
        scaling = self._scalings[name]
        columns, values = _side_by_side([model.means for model in models])
        return values * scaling.scale[columns][:, None], scaling.l1[columns], scaling.l2[columns]


def least_over(gradient: Any, hessian: Any, at: Any, moved: Any, l1: Any) -> Any:
    """How much of each direction makes the square with this gradient and hessian, and l1 times the sizes of `at` and what moves
    it, least together; nearly so: a step ends where no step of Newton's and none along one direction gains much more.

    `moved` has a column for each direction. They may tell the same; one that moves nothing has no share.
    """
    size = np.sqrt(np.diagonal(hessian) + (moved**2).sum(axis=0))
    used = size > 0
    if not used.any():
        return np.zeros(len(size))
    gradient, hessian = gradient[used] / size[used], hessian[np.ix_(used, used)] / np.outer(size[used], size[used])
    moved = moved[:, used] / size[used]
    found, won = np.zeros(int(used.sum())), 0.0

    def worth() -> float:
        sizes = float(l1 @ (np.abs(at + moved @ found) - np.abs(at)))
        return float(gradient @ found + 0.5 * (found @ hessian @ found)) + sizes

    for _ in range(ROUNDS):
        here = at + moved @ found
        slope = gradient + hessian @ found + moved.T @ (l1 * np.sign(here))
        for direction in (-np.linalg.lstsq(hessian, slope, rcond=IGNORED)[0], *np.eye(len(found))):
            for way in (direction, -direction):
                there = at + moved @ found
                share = least_along(
                    float((gradient + hessian @ found) @ way), float(way @ hessian @ way), there, moved @ way, l1
                )
                if share > 0:
                    found = found + share * way
                    break
        before, won = won, worth()
        if not won < before or before - won <= GAINED * -won:
            break
    shares = np.zeros(len(size))
    shares[used] = found / size[used]
    return shares


def least_along(slope: float, curvature: float, at: Any, moved: Any, l1: Any) -> float:
    """By how much of `moved` a square with this slope and curvature, and l1 times the sizes of `at` and it, are least together;
    0 where they are so here, or on the other side.
    """
    some = moved != 0
    at, moved, l1 = at[some], moved[some], l1[some]
    begin = slope + float((l1 * moved) @ np.where(at != 0, np.sign(at), np.sign(moved)))
    if not begin < 0:
        return 0.0
    # Where a coefficient goes through 0 the slope rises at once.
    share = -at / moved
    order = np.argsort(share)
    order = order[share[order] > 0]
    share, rises = share[order], np.cumsum(2 * l1[order] * np.abs(moved[order]))
    behind = begin + curvature * share + rises
    first = int(np.searchsorted(behind, 0.0))
    flat = begin + (rises[first - 1] if first else 0.0)
    if first < len(share) and flat + curvature * share[first] < 0:
        return float(share[first])
    if curvature > 0:
        return float(-flat / curvature)
    return float(share[-1]) if len(share) else 0.0


def _away(one: Models, other: Models) -> dict[str, Model]:
    """What is to be added to the other."""
    return {name: replace(model, means=model.means - other[name].means, variances=None) for name, model in one.items()}


def _side_by_side(means: Sequence[Any]) -> tuple[Any, Any]:
    """Of each coefficient that is in one of these: its column, and what it is in each."""
    if isinstance(means[0], np.ndarray):
        return np.arange(len(means[0])), np.column_stack(means)
    width = max(means[0].shape[1], 1)
    places = [np.repeat(np.arange(each.shape[0]), np.diff(each.indptr)) * width + each.indices for each in means]
    there = np.unique(np.concatenate(places))
    values = np.zeros((len(there), len(means)))
    for column, (place, each) in enumerate(zip(places, means, strict=True)):
        values[np.searchsorted(there, place), column] = each.data
    return there % width, values
