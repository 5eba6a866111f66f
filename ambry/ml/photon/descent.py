"""GLMix by turns, as Photon does it (coordinate descent): each effect is trained on what the others leave, which they say as
offsets.

The planner here keeps scores and nothing else, and asks `fit` for one effect at a time; what fits may be this process, or a
cluster that has its rows (entity_fit.py is what each worker does). It comes to the same model as glmix.py does at once, in many
turns where effects share what they explain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.effects import Design, ModelEffect, RandomEffect, check_effects, configurations, design_of
from ambry.ml.photon.entity_fit import EntityFit, entity_rows, fits_of
from ambry.ml.photon.examples import Examples, shown
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task
from ambry.ml.photon.solving import GlmProblem, solve

SWEEPS = 20
TOLERANCE = 1e-6

Model = FixedModel | RandomModel
FitEffect = Callable[[ModelEffect, Examples, Task, Any, Model | None], Model]
"""An effect, rows, the task, the offset of each row (with the scores of all other effects), and the model to begin at."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One turn of all effects: the mean loss after it, and by how much the score of a row changed at most."""

    loss: float
    change: float


@dataclass(frozen=True, slots=True)
class Descent:
    """What came out, and how."""

    model: PhotonModel
    sweeps: tuple[Sweep, ...]
    converged: bool
    """Whether the last sweep changed no score by more than the tolerance."""


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
    effect, here unless it is given. Raises InvalidRequest as glmix.train does, and for a lock on what `start` has not.
    """
    check_effects(effects, examples)
    task.check(examples)
    if sweeps < 1:
        raise InvalidRequest(f"there is at least one sweep, and not {sweeps}")
    kept = set(locked)
    before = {} if start is None else start.coordinates
    if missing := kept - (set(before) & {effect.name for effect in effects}):
        raise InvalidRequest(
            f"{min(missing)!r} cannot be locked: it is not among the effects and in the model to start with"
        )
    train = fit or fit_effect
    models: dict[str, Model] = {effect.name: before[effect.name] for effect in effects if effect.name in before}
    scores = {
        effect.name: models[effect.name].scores(examples) if effect.name in models else np.zeros(len(examples))
        for effect in effects
    }
    told: list[Sweep] = []
    for _ in range(sweeps):
        change = 0.0
        for effect in effects:
            if effect.name in kept:
                continue
            offset = examples.offset + sum(other for each, other in scores.items() if each != effect.name)
            model = models[effect.name] = train(effect, examples, task, offset, models.get(effect.name))
            after = model.scores(examples)
            change = max(change, float(np.abs(after - scores[effect.name]).max(initial=0.0)))
            scores[effect.name] = after
        total = examples.offset + sum(scores.values())
        told.append(Sweep(float(np.average(task.losses(total, examples.response), weights=examples.weight)), change))
        if change <= tolerance:
            break
    whole = PhotonModel(
        task=task,
        fixed={name: each for name, each in models.items() if isinstance(each, FixedModel)},
        random={name: each for name, each in models.items() if isinstance(each, RandomModel)},
        name=name,
        configurations=configurations(effects),
    )
    return Descent(whole, tuple(told), told[-1].change <= tolerance)


def fit_effect(effect: ModelEffect, examples: Examples, task: Task, offset: Any, start: Model | None = None) -> Model:
    """Train one effect in this process. Raises InvalidRequest."""
    design = design_of(effect, examples)
    if isinstance(effect, RandomEffect):
        begin = None if not isinstance(start, RandomModel) else started(start, design)
        return random_model(effect, design, fits_of(entity_rows(effect, design, examples, offset, begin), task))
    used = np.flatnonzero(examples.weight > 0)
    found = solve(
        GlmProblem(
            task=task,
            matrix=design.matrix[used],
            response=examples.response[used],
            weight=examples.weight[used],
            offset=offset[used],
            l1=design.l1,
            l2=design.l2,
            column_name=lambda column: f"the feature {shown(design.index.features[column])} of {effect.name!r}",
            start=_fixed_start(start, design),
        )
    )
    return FixedModel(shard=effect.shard, index=design.index, means=found / design.scale)


def random_model(effect: RandomEffect, design: Design, fits: Iterable[EntityFit]) -> RandomModel:
    """The model of all entities that were fitted, in the order of their ids, whoever fitted them."""
    found = sorted(fits, key=lambda fit: fit.entity)
    rows = np.repeat(np.arange(len(found)), [len(fit.columns) for fit in found])
    columns = np.concatenate([np.zeros(0, np.int64), *(fit.columns for fit in found)]).astype(np.int64)
    values = np.concatenate([np.zeros(0), *(fit.means for fit in found)])
    shape = (len(found), len(design.index))
    matrix = needed("scipy.sparse").csr_matrix((values / design.scale[columns], (rows, columns)), shape)
    matrix.eliminate_zeros()
    return RandomModel(
        entity=effect.entity,
        shard=effect.shard,
        index=design.index,
        entities=tuple(fit.entity for fit in found),
        means=matrix,
    )


def started(model: RandomModel, design: Design) -> dict[str, Any]:
    """Of each entity of a model, its coefficients over the features of a design, scaled."""
    means = model.means
    if model.index.features != design.index.features:
        places = [model.index.places.get(feature, -1) for feature in design.index.features]
        wide = needed("scipy.sparse").hstack([means, needed("scipy.sparse").csr_matrix((means.shape[0], 1))]).tocsc()
        means = wide[:, places].tocsr()
    return {entity: means[row].toarray()[0] * design.scale for row, entity in enumerate(model.entities)}


def _fixed_start(start: Model | None, design: Design) -> Any | None:
    if not isinstance(start, FixedModel):
        return None
    told = dict(zip(start.index.features, start.means.tolist(), strict=True))
    return np.array([told.get(feature, 0.0) for feature in design.index.features]) * design.scale
