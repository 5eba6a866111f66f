"""GLMix, all at once: fixed and random effects are one generalised linear model, whose random columns are penalised.

Each entity has columns of its own, so the effects are found together, and not by turns (descent.py): the same model, sooner.
With a bound from above, rows that were not sampled for an effect are left out for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.bounds import ActiveRows, active_rows, check_left, samples_of, weighed
from ambry.ml.photon.effects import Design, ModelEffect, RandomEffect, check_effects, configurations, design_of
from ambry.ml.photon.examples import Examples, shown
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task
from ambry.ml.photon.objective import beyond_floats
from ambry.ml.photon.solving import GlmProblem, solve


@beyond_floats()
def train(
    examples: Examples,
    task: Task,
    effects: Sequence[ModelEffect],
    *,
    start: PhotonModel | None = None,
    name: str = "",
    tell: Callable[[float], object] | None = None,
) -> PhotonModel:
    """The best model. `start` is one to begin at: the same comes out, sooner. `tell` hears of each pass over the rows: the mean
    loss.

    Raises InvalidRequest for rows that the task has not, and where no coefficients are best (solving.py).
    """
    check_effects(effects, examples)
    task.check(examples)
    examples = weighed(examples, samples_of(effects, examples))
    check_left(weight := float(examples.weight.sum()))
    blocks = [_Block.of(effect, examples) for effect in effects]
    begin = None if start is None else np.concatenate([block.start(start) for block in blocks])
    found = solve(
        GlmProblem(
            task=task,
            matrix=[block.matrix for block in blocks],
            response=examples.response,
            weight=examples.weight,
            offset=examples.offset,
            l1=np.concatenate([block.design.l1[block.columns % block.width] for block in blocks]),
            l2=np.concatenate([block.design.l2[block.columns % block.width] for block in blocks]),
            column_name=lambda column: _column_name(blocks, column),
            start=begin,
            tell=None if tell is None else lambda loss: tell(loss / weight),
        )
    )
    fixed: dict[str, FixedModel] = {}
    random: dict[str, RandomModel] = {}
    at = 0
    for block in blocks:
        model = block.model(found[at : at + len(block.columns)])
        at += len(block.columns)
        if isinstance(model, FixedModel):
            fixed[block.effect.name] = model
        else:
            random[block.effect.name] = model
    told = configurations(effects, {block.effect.name: block.design.index for block in blocks})
    return PhotonModel(task=task, fixed=fixed, random=random, name=name, configurations=told)


class _Block:
    """The columns of an effect: of a random one, those of each entity side by side, as far as its rows have them."""

    def __init__(
        self, effect: ModelEffect, design: Design, active: ActiveRows | None, columns: Any, matrix: Any
    ) -> None:
        self.effect, self.design, self.active, self.matrix = effect, design, active, matrix
        self.columns = columns
        """Of each column, entity times features plus feature."""
        self.width = len(design.index)

    @classmethod
    def of(cls, effect: ModelEffect, examples: Examples) -> _Block:
        design = design_of(effect, examples)
        width = len(design.index)
        if not isinstance(effect, RandomEffect):
            return cls(effect, design, None, np.arange(width), design.matrix)
        active = active_rows(effect, examples)
        there = design.matrix.tocoo()
        known = active.codes[there.row] >= 0
        rows, values = there.row[known], there.data[known]
        wide = active.codes[rows].astype(np.int64) * width + there.col[known]
        columns, places = np.unique(wide, return_inverse=True)
        shape = (len(examples), len(columns))
        return cls(effect, design, active, columns, needed("scipy.sparse").csr_matrix((values, (rows, places)), shape))

    def start(self, model: PhotonModel) -> Any:
        """Coefficients of a model for these columns, scaled as they are; 0 where it has none."""
        before = model.coordinates.get(self.effect.name)
        if before is None:
            return np.zeros(len(self.columns))
        features = self.design.index.features
        places = np.array([before.index.places.get(feature, -1) for feature in features])
        if isinstance(before, FixedModel):
            told = np.where(places >= 0, before.means[places], 0.0) if len(before.means) else np.zeros(len(places))
            return self.design.scaled_coefficients(told)[self.columns % self.width]
        if self.active is None:
            raise InvalidRequest(
                f"{self.effect.name!r} is a random effect in the model to start with, and a fixed one now"
            )
        entities = np.array([before.places.get(entity, -1) for entity in self.active.entities])
        rows, features_at = entities[self.columns // self.width], places[self.columns % self.width]
        known = (rows >= 0) & (features_at >= 0)
        found = np.zeros(len(self.columns))
        found[known] = np.asarray(before.means[rows[known], features_at[known]]).ravel()
        whole = self.design.scaled_coefficients(self._matrix(found))
        return np.asarray(whole[self.columns // self.width, self.columns % self.width]).ravel()

    def model(self, found: Any) -> FixedModel | RandomModel:
        """Of what was found for the columns."""
        if self.active is None or not isinstance(self.effect, RandomEffect):
            means = self.design.coefficients(found)
            return FixedModel(shard=self.effect.shard, index=self.design.index, means=means)
        matrix = self.design.coefficients(self._matrix(found))
        matrix.eliminate_zeros()
        return RandomModel(
            entity=self.effect.entity,
            shard=self.effect.shard,
            index=self.design.index,
            entities=self.active.entities,
            means=matrix,
        )

    def _matrix(self, values: Any) -> Any:
        """Of each entity a row, CSR."""
        shape = (0 if self.active is None else len(self.active.entities), self.width)
        return needed("scipy.sparse").csr_matrix(
            (values, (self.columns // self.width, self.columns % self.width)), shape
        )


def _column_name(blocks: list[_Block], column: int) -> str:
    for block in blocks:
        if column < len(block.columns):
            place = int(block.columns[column])
            told = f"the feature {shown(block.design.index.features[place % block.width])} of {block.effect.name!r}"
            if block.active is not None:
                told += f" for {block.active.entities[place // block.width]!r}"
            return told
        column -= len(block.columns)
    return f"column {column}"
