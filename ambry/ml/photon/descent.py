"""GLMix by turns, as Photon does it (coordinate descent): each effect is trained on what the others leave, which they say as
offsets.

The planner here knows models and no rows, and asks for one effect at a time; what fits may be this process, or a cluster that
has its rows (ambry/spark; entity_fit.py is what each worker does). It comes to the same model as glmix.py does at once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.bounds import check_left, no_entities, samples_of, weighed
from ambry.ml.photon.effects import (
    ModelEffect,
    RandomEffect,
    Scaling,
    check_effects,
    configurations,
    design_of,
)
from ambry.ml.photon.entity_fit import EntityFit, entity_rows, fits_of
from ambry.ml.photon.examples import Examples, shown
from ambry.ml.photon.extrapolation import Extrapolation, Model, Models
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task
from ambry.ml.photon.objective import GlmSums, beyond_floats, sums_at
from ambry.ml.photon.solving import GlmProblem, solve

SWEEPS = 50
TOLERANCE = 1e-8
SAME = 1e-13
"""Of the objective, and of all weights: by how much it is no worse."""

FitEffect = Callable[[ModelEffect, Examples, Task, Any, Model | None], Model]
"""An effect, rows, the task, the offset of each row (with the scores of all other effects), and the model to begin at."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One turn of all effects: the mean loss after it, and by how much the score of an effect for a row changed at most."""

    loss: float
    change: float


@dataclass(frozen=True, slots=True)
class Descent:
    """What came out, and how."""

    model: PhotonModel
    sweeps: tuple[Sweep, ...]
    converged: bool
    """Whether the last sweep changed no score by more than the tolerance."""


class DescentRows(Protocol):
    """Rows to train on, wherever they lie."""

    @property
    def weight(self) -> float:
        """Of all of them."""
        ...

    def scaling(self, effect: ModelEffect) -> Scaling:
        """With its penalties."""
        ...

    def fit(self, effect: ModelEffect, models: Models) -> Model:
        """Train one effect on what the other models leave, from its own on, if there is one. Raises InvalidRequest."""
        ...

    def swept(self, before: Models, after: Models) -> Sweep:
        """What a sweep did. An effect without a model before had none of its scores."""
        ...

    def along(self, models: Models, directions: Sequence[Models]) -> GlmSums:
        """The loss at these models, by shares of directions that are added to them: its gradient and hessian."""
        ...


class HeldRows:
    """Rows in this process."""

    def __init__(self, examples: Examples, task: Task, fit: FitEffect) -> None:
        self._examples, self._task, self._fit = examples, task, fit
        self._known: dict[int, tuple[Model, Any]] = {}

    @property
    def weight(self) -> float:
        return float(self._examples.weight.sum())

    def scaling(self, effect: ModelEffect) -> Scaling:
        return design_of(effect, self._examples).without_rows

    def fit(self, effect: ModelEffect, models: Models) -> Model:
        others = [self._scores(model) for name, model in models.items() if name != effect.name]
        return self._fit(
            effect, self._examples, self._task, self._examples.offset + sum(others), models.get(effect.name)
        )

    def swept(self, before: Models, after: Models) -> Sweep:
        examples = self._examples
        told = sweep_sums(self._task, examples, [self._pair(before.get(name), model) for name, model in after.items()])
        self._known = {id(model): (model, self._scores(model)) for model in after.values()}
        return told.sweep()

    def along(self, models: Models, directions: Sequence[Models]) -> GlmSums:
        total = self._examples.offset + sum(self._scores(model) for model in models.values())
        return sums_along(self._task, self._examples, total, directions)

    def _pair(self, before: Model | None, after: Model) -> tuple[Any, Any]:
        return 0.0 if before is None else self._scores(before), self._scores(after)

    def _scores(self, model: Model) -> Any:
        """Computed once for a model, which is kept with them."""
        if id(model) not in self._known:
            self._known[id(model)] = model, model.scores(self._examples)
        return self._known[id(model)][1]


@dataclass(frozen=True, slots=True)
class SweepSums:
    """A sweep as some rows tell it."""

    loss: float
    weight: float
    change: float

    def __add__(self, other: SweepSums) -> SweepSums:
        """Of both."""
        return SweepSums(self.loss + other.loss, self.weight + other.weight, max(self.change, other.change))

    def sweep(self) -> Sweep:
        """Of all rows."""
        return Sweep(self.loss / self.weight, self.change)


def sweep_sums(task: Task, examples: Examples, scores: Sequence[tuple[Any, Any]]) -> SweepSums:
    """`scores` are those of each effect, before and after it."""
    total = examples.offset + sum(after for _, after in scores)
    change = max(float(np.abs(after - before).max(initial=0.0)) for before, after in scores)
    losses = examples.weight @ task.losses(total, examples.response)
    return SweepSums(float(losses), float(examples.weight.sum()), change)


def sums_along(task: Task, examples: Examples, scores: Any, directions: Sequence[Models]) -> GlmSums:
    """What some rows with these scores say of directions, as of a model that has a column for each."""
    columns = np.column_stack([sum(model.scores(examples) for model in each.values()) for each in directions])
    nothing = np.zeros(len(directions))
    return sums_at(task, columns, examples.response, examples.weight, scores, nothing)


def descend(
    examples: Examples,
    task: Task,
    effects: Sequence[ModelEffect],
    *,
    sweeps: int = SWEEPS,
    tolerance: float = TOLERANCE,
    start: PhotonModel | None = None,
    locked: Iterable[str] = (),
    fit: FitEffect | None = None,
    name: str = "",
) -> Descent:
    """Train effects in turn, in their order, until no score changes by more than `tolerance`, or `sweeps` times.

    `start` is a model to begin at. Effects that are `locked` stay as they are in it: partial retraining. `fit` trains one
    effect, here unless it is given; rows that a bound leaves out are no rows to any. Raises InvalidRequest as glmix.train
    does, and for a lock on what `start` has not.
    """
    check_effects(effects, examples)
    task.check(examples)
    examples = weighed(examples, samples_of(effects, examples))
    check_left(float(examples.weight.sum()))
    rows = HeldRows(examples, task, fit or fit_effect)
    return take_turns(rows, task, effects, sweeps=sweeps, tolerance=tolerance, start=start, locked=locked, name=name)


@beyond_floats()
def take_turns(
    rows: DescentRows,
    task: Task,
    effects: Sequence[ModelEffect],
    *,
    sweeps: int,
    tolerance: float,
    start: PhotonModel | None,
    locked: Iterable[str],
    name: str,
) -> Descent:
    """`descend` on rows that lie anywhere and were looked at: what is the same on one machine and on many.

    Sweeps begin where the last ones lead (extrapolation.py), and one that is worse than those before is taken back.
    """
    if sweeps < 1:
        raise InvalidRequest(f"there is at least one sweep, and not {sweeps}")
    kept = set(locked)
    begin = {} if start is None else start.coordinates
    if missing := kept - (set(begin) & {effect.name for effect in effects}):
        raise InvalidRequest(
            f"{min(missing)!r} cannot be locked: it is not among the effects and in the model to start with"
        )
    free = [effect for effect in effects if effect.name not in kept]
    models: dict[str, Model] = {effect.name: begin[effect.name] for effect in effects if effect.name in begin}
    ahead = Extrapolation({effect.name: rows.scaling(effect) for effect in free})
    told: list[Sweep] = []
    best: tuple[float, dict[str, Model]] | None = None
    """The least objective after a sweep since the last that was taken back, and what came out of it."""
    while True:
        before = dict(models)
        for effect in free:
            models[effect.name] = rows.fit(effect, models)
        told.append(rows.swept(before, models))
        if told[-1].change <= tolerance:
            break
        after = {effect.name: models[effect.name] for effect in free}
        worth = rows.weight * told[-1].loss + ahead.penalty(after)
        worse = best is not None and not worth <= best[0] + SAME * (rows.weight + abs(worth))
        if best is not None and worse:
            models = best[1]
        if len(told) == sweeps:
            break
        if worse:
            ahead.forget()
            best = None
            continue
        best = worth, dict(models)
        models |= ahead.next(before, after, partial(rows.along, best[1]))
    whole = PhotonModel(
        task=task,
        fixed={name: each for name, each in models.items() if isinstance(each, FixedModel)},
        random={name: each for name, each in models.items() if isinstance(each, RandomModel)},
        name=name,
        configurations=configurations(
            effects,
            {effect.name: models[effect.name].index for effect in free},
            None if start is None else start.configurations,
        ),
    )
    return Descent(whole, tuple(told), told[-1].change <= tolerance)


def fit_effect(effect: ModelEffect, examples: Examples, task: Task, offset: Any, start: Model | None = None) -> Model:
    """Train one effect in this process. Raises InvalidRequest."""
    design = design_of(effect, examples)
    if isinstance(effect, RandomEffect):
        begin = (
            None
            if not isinstance(start, RandomModel)
            else started(start, design, set(examples.entities(effect.entity)))
        )
        return random_model(effect, design, fits_of(entity_rows(effect, design, examples, offset, begin), task))
    found = solve(
        GlmProblem(
            task=task,
            matrix=design.matrix,
            response=examples.response,
            weight=examples.weight,
            offset=offset,
            l1=design.l1,
            l2=design.l2,
            column_name=lambda column: f"the feature {shown(design.index.features[column])} of {effect.name!r}",
            start=fixed_start(start, design),
        )
    )
    return FixedModel(shard=effect.shard, index=design.index, means=design.coefficients(found))


def random_model(effect: RandomEffect, scaling: Scaling, fits: Iterable[EntityFit]) -> RandomModel:
    """The model of all entities that were fitted, in the order of their ids, whoever fitted them. Raises InvalidRequest where
    there is none.
    """
    found = sorted(fits, key=lambda fit: fit.entity)
    if not found:
        raise no_entities(effect)
    rows = np.repeat(np.arange(len(found)), [len(fit.columns) for fit in found])
    columns = np.concatenate([np.zeros(0, np.int64), *(fit.columns for fit in found)]).astype(np.int64)
    values = np.concatenate([np.zeros(0), *(fit.means for fit in found)])
    shape = (len(found), len(scaling.index))
    matrix = scaling.coefficients(needed("scipy.sparse").csr_matrix((values, (rows, columns)), shape))
    matrix.eliminate_zeros()
    return RandomModel(
        entity=effect.entity,
        shard=effect.shard,
        index=scaling.index,
        entities=tuple(fit.entity for fit in found),
        means=matrix,
    )


def started(model: RandomModel, scaling: Scaling, entities: Container[str]) -> dict[str, Any]:
    """Of each of these entities that a model has, its coefficients over the features of an effect, scaled."""
    means = model.means
    if model.index.features != scaling.index.features:
        places = [model.index.places.get(feature, -1) for feature in scaling.index.features]
        wide = needed("scipy.sparse").hstack([means, needed("scipy.sparse").csr_matrix((means.shape[0], 1))]).tocsc()
        means = wide[:, places].tocsr()
    means = scaling.scaled_coefficients(means)
    return {entity: means[row].toarray()[0] for row, entity in enumerate(model.entities) if entity in entities}


def fixed_start(start: Model | None, scaling: Scaling) -> Any | None:
    """The coefficients of a fixed effect over the features of an effect, scaled."""
    if not isinstance(start, FixedModel):
        return None
    told = dict(zip(start.index.features, start.means.tolist(), strict=True))
    return scaling.scaled_coefficients(np.array([told.get(feature, 0.0) for feature in scaling.index.features]))
