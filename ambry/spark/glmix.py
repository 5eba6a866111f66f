"""GLMix by coordinate descent on Spark: as Photon trained it, for more rows than one machine holds.

    from ambry.spark import glmix
    from ambry.spark.training_rows import rows_of_avro

    rows = rows_of_avro(spark, "clicks/", ids=["memberId"])
    found = glmix.train(rows, photon.Task.LOGISTIC, effects)
    models.publish(client, "clicks", found.model)

The turns are those of one machine (ambry.ml.photon.descent), and so are the objective, the fit of an entity, the checks and the
penalties. A fixed effect is found on the driver from sums that tasks make (by_sums.py); of a random one, each task fits the
entities whose rows it has. What other effects say of a row is computed from their models where the row lies: no scores move.
The driver, and each task, hold the models; the rows are held by nobody as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ambry.ml.photon.bounds import SampledEntities, bounded, check_left, sampled_entities, weighed
from ambry.ml.photon.by_sums import SummedProblem, solve_by_sums
from ambry.ml.photon.descent import (
    SWEEPS,
    TOLERANCE,
    Descent,
    Sweep,
    SweepSums,
    fixed_start,
    random_model,
    started,
    sums_along,
    sweep_sums,
    take_turns,
)
from ambry.ml.photon.effects import ModelEffect, RandomEffect, Scaling, check_effects, effect_index, scaling_of
from ambry.ml.photon.entity_fit import EntityFit, entity_rows, fits_of
from ambry.ml.photon.evaluators import evaluate_scores, evaluator
from ambry.ml.photon.examples import Examples, shown
from ambry.ml.photon.extrapolation import Model, Models
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task, design
from ambry.ml.photon.objective import GlmSums, beyond_floats, sums_at
from ambry.ml.photon.scaling import ColumnMoments
from ambry.ml.photon.solving import IRLS_COLUMNS_MAX
from ambry.spark.row_blocks import RowBlock
from ambry.spark.training_rows import Responses, RowsOnSpark, RowsTold, guarded

DENSE_FROM = 0.3
"""Of the cells of a block: with more that are not 0 it is summed as a dense one."""


@beyond_floats()
def train(
    rows: RowsOnSpark,
    task: Task,
    effects: Sequence[ModelEffect],
    *,
    sweeps: int = SWEEPS,
    tolerance: float = TOLERANCE,
    start: PhotonModel | None = None,
    locked: Iterable[str] = (),
    name: str = "",
    tell: Callable[[Sweep], None] | None = None,
) -> Descent:
    """As descent.descend, on a cluster; `tell` hears of each sweep. Raises InvalidRequest as it does."""
    told = rows.told(task)
    check_effects(effects, told.one)
    turns = _SparkTurns(rows, task, effects, told, tell)
    return take_turns(turns, task, effects, sweeps=sweeps, tolerance=tolerance, start=start, locked=locked, name=name)


def evaluate(model: PhotonModel, rows: RowsOnSpark, evaluators: Iterable[str] = ()) -> dict[str, float]:
    """As evaluators.evaluate. Scores, responses, weights and the ids of groups come to the driver. Raises InvalidRequest."""
    names = list(evaluators)
    groups = {each.group for each in map(evaluator, names) if each.group}
    sent, known = rows.context.broadcast(model), rows.sent

    def scored(block: RowBlock) -> Examples:
        found = block.examples(known.value)
        # Where the offset was is the score.
        ids = {kind: found.entities(kind) for kind in groups}
        return replace(found, offset=sent.value.scores(found), shards={}, ids=ids, uids=())

    pieces = rows.collected(rows.layout(None).map(guarded(scored)))
    sent.unpersist()
    whole = Examples(
        shards={},
        response=np.concatenate([each.response for each in pieces]),
        weight=np.concatenate([each.weight for each in pieces]),
        offset=np.concatenate([each.offset for each in pieces]),
        ids={kind: np.concatenate([each.ids[kind] for each in pieces]) for kind in groups},
    )
    return evaluate_scores(model.task, whole.offset, whole, names)


@dataclass(frozen=True, slots=True)
class _MomentsOfAll:
    """Of the columns of each effect."""

    told: Mapping[str, ColumnMoments]

    def __add__(self, other: _MomentsOfAll) -> _MomentsOfAll:
        return _MomentsOfAll({name: each + other.told[name] for name, each in self.told.items()})


@dataclass(frozen=True, slots=True)
class _FixedRows:
    """Rows with a weight, scaled, with the scores of all other effects as offsets."""

    matrix: Any
    response: Any
    weight: Any
    offset: Any


class _SparkTurns:
    """What coordinate descent asks of rows."""

    def __init__(
        self,
        rows: RowsOnSpark,
        task: Task,
        effects: Sequence[ModelEffect],
        told: RowsTold,
        tell: Callable[[Sweep], None] | None,
    ) -> None:
        self._rows, self._task, self._tell = rows, task, tell
        for effect in effects:
            if isinstance(effect, RandomEffect):
                rows.layout(effect.entity)
        indexes = {effect.name: effect_index(effect, rows.indexes[effect.shard]) for effect in effects}
        shards = {effect.name: effect.shard for effect in effects}
        known = rows.sent
        self._samples = [self._sampled(effect) for effect in bounded(effects)]
        self._told = told.responses
        samples = rows.context.broadcast(self._samples)
        if self._samples:
            self._told = rows.summed(
                rows.layout(None),
                lambda block: Responses.of(weighed(block.examples(known.value), samples.value)),
            )
            check_left(self._told.weight)

        def moments(block: RowBlock) -> _MomentsOfAll:
            found = weighed(block.examples(known.value), samples.value)
            return _MomentsOfAll(
                {name: ColumnMoments.of(design(found.shard(shards[name]), index)) for name, index in indexes.items()}
            )

        found = rows.summed(rows.layout(None), moments)
        samples.unpersist()
        self._scalings = {each.name: scaling_of(each, indexes[each.name], found.told[each.name]) for each in effects}
        self._checked: set[str] = set()

    @property
    def weight(self) -> float:
        return self._told.weight

    def scaling(self, effect: ModelEffect) -> Scaling:
        return self._scalings[effect.name]

    def fit(self, effect: ModelEffect, models: Models) -> Model:
        """Raises InvalidRequest."""
        others = [model for name, model in models.items() if name != effect.name]
        start, scaling = models.get(effect.name), self._scalings[effect.name]
        if isinstance(effect, RandomEffect):
            return self._random(effect, scaling, others, start)
        return self._fixed(effect, scaling, others, start)

    def _sampled(self, effect: RandomEffect) -> SampledEntities:
        known = self._rows.sent
        found: SampledEntities = self._rows.summed(
            self._rows.layout(effect.entity), lambda block: sampled_entities(effect, block.examples(known.value))
        )
        return found

    def swept(self, before: Models, after: Models) -> Sweep:
        task, known = self._task, self._rows.sent
        pairs = [(before.get(name), model) for name, model in after.items()]
        sent = self._rows.context.broadcast((pairs, self._samples))

        def sums(block: RowBlock) -> SweepSums:
            pairs, samples = sent.value
            found = weighed(block.examples(known.value), samples)
            scores: dict[int, Any] = {id(None): 0.0}
            for pair in pairs:
                for model in pair:
                    if id(model) not in scores:
                        scores[id(model)] = model.scores(found)
            return sweep_sums(task, found, [(scores[id(then)], scores[id(now)]) for then, now in pairs])

        told: Sweep = self._rows.summed(self._rows.layout(None), sums).sweep()
        sent.unpersist()
        if self._tell is not None:
            self._tell(told)
        return told

    def along(self, models: Models, directions: Sequence[Models]) -> GlmSums:
        task, known = self._task, self._rows.sent
        sent = self._rows.context.broadcast((list(models.values()), directions, self._samples))

        def sums(block: RowBlock) -> GlmSums:
            models, directions, samples = sent.value
            found = weighed(block.examples(known.value), samples)
            return sums_along(task, found, _offset(found, models), directions)

        told: GlmSums = self._rows.summed(self._rows.layout(None), sums)
        sent.unpersist()
        return told

    def _random(self, effect: RandomEffect, scaling: Scaling, others: list[Model], start: Model | None) -> RandomModel:
        task, known = self._task, self._rows.sent
        sent = self._rows.context.broadcast(
            (effect, scaling, others, start if isinstance(start, RandomModel) else None, self._samples)
        )

        def fits(block: RowBlock) -> list[EntityFit]:
            effect, scaling, others, start, samples = sent.value
            found = weighed(block.examples(known.value), samples)
            begin = None if start is None else started(start, scaling, set(found.entities(effect.entity)))
            own = scaling.design(found.shard(effect.shard))
            return list(fits_of(entity_rows(effect, own, found, _offset(found, others), begin), task))

        made = self._rows.collected(self._rows.layout(effect.entity).map(guarded(fits)))
        sent.unpersist()
        return random_model(effect, scaling, (fit for each in made for fit in each))

    def _fixed(self, effect: ModelEffect, scaling: Scaling, others: list[Model], start: Model | None) -> FixedModel:
        context, shard, known = self._rows.context, effect.shard, self._rows.sent
        sent = context.broadcast((scaling, others, self._samples))

        def prepared(block: RowBlock) -> _FixedRows:
            scaling, others, samples = sent.value
            found = weighed(block.examples(known.value), samples)
            matrix = scaling.scaled(found.shard(shard))
            cells = matrix.shape[0] * matrix.shape[1]
            dense = matrix.nnz >= DENSE_FROM * cells and matrix.shape[1] <= IRLS_COLUMNS_MAX
            return _FixedRows(
                matrix.toarray() if dense else matrix,
                found.response,
                found.weight,
                _offset(found, others),
            )

        held = self._rows.layout(None).map(prepared).cache()

        def sums(task: Task, means: Any, *, hessian: Any) -> GlmSums:
            at = context.broadcast(means)

            def of(rows: _FixedRows) -> GlmSums:
                return sums_at(task, rows.matrix, rows.response, rows.weight, rows.offset, at.value, hessian=hessian)

            told: GlmSums = self._rows.summed(held, of)
            at.unpersist()
            return told

        problem = SummedProblem(
            task=self._task,
            sums=sums,
            weight=self._told.weight,
            lowest=self._told.lowest,
            highest=self._told.highest,
            l1=scaling.l1,
            l2=scaling.l2,
            column_name=lambda column: f"the feature {shown(scaling.index.features[column])} of {effect.name!r}",
            start=fixed_start(start, scaling),
        )
        try:
            found = solve_by_sums(problem, check=effect.name not in self._checked)
        finally:
            held.unpersist()
            sent.unpersist()
        self._checked.add(effect.name)
        return FixedModel(shard=shard, index=scaling.index, means=scaling.coefficients(found))


def _offset(examples: Examples, others: Sequence[Model]) -> Any:
    return examples.offset + sum(model.scores(examples) for model in others)
