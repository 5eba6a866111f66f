"""Which rows of which entities are trained on: none of those with too few, some of those with too many.

A sample is by a hash of the seed and the row's uid (its place, without one): the same rows are taken however they lie in
partitions, by whoever holds all rows of an entity. Rows that one effect leaves out are left out for all, at once and by turns.
Otherwise the others would be trained on rows that a model of a sample is wrong of by as much as the sample is, which an
intercept without a penalty makes up for: of an entity with 1,000 rows, of which 25 were taken, one of 2.0 came out as -5.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xxhash

from ambry.errors import InvalidRequest
from ambry.ml.photon.effects import ModelEffect, RandomEffect
from ambry.ml.photon.examples import Examples, grouped, rows_of_groups


@dataclass(frozen=True, slots=True)
class ActiveRows:
    """Rows of entities within the bound from below."""

    entities: tuple[str, ...]
    """Those that have a model, sorted."""
    codes: Any
    """Of each row, which of them; -1 where its entity has none."""


@dataclass(frozen=True, slots=True)
class SampledEntities:
    """What an effect takes of the entities that have more rows than its upper bound."""

    kind: str
    seed: int
    last: Mapping[str, tuple[float, tuple[int, str]]]
    """Of each: how many rows one of a sample stands for, and the hash and key of the last that is in it."""

    def __add__(self, other: SampledEntities) -> SampledEntities:
        """Of both, which have other entities."""
        return SampledEntities(self.kind, self.seed, {**self.last, **other.last})

    def factor(self, examples: Examples) -> Any:
        """Of each row, how many it stands for: 1, 0 where it was not taken, or more than 1 where others were not."""
        found = np.ones(len(examples))
        for row, entity in enumerate(examples.entities(self.kind)):
            if (told := self.last.get(entity)) is not None:
                found[row] = told[0] if _rank(examples, row, self.seed) <= told[1] else 0.0
        return found


def active_rows(effect: RandomEffect, examples: Examples) -> ActiveRows:
    """Raises InvalidRequest where the rows have no such ids, or no entity has so many rows."""
    names, codes = grouped(examples.entities(effect.entity))
    kept = np.bincount(codes, minlength=len(names)) >= effect.lower
    if not kept.any():
        raise no_entities(effect)
    places = np.where(kept, np.cumsum(kept) - 1, -1)
    return ActiveRows(tuple(name for name, there in zip(names, kept.tolist(), strict=True) if there), places[codes])


def no_entities(effect: RandomEffect) -> InvalidRequest:
    """What is raised where no entity has a model."""
    return InvalidRequest(
        f"no {effect.entity} has the {effect.lower} rows that {effect.name!r} asks for; lower the bound"
    )


def bounded(effects: Sequence[ModelEffect]) -> list[RandomEffect]:
    """Those with an upper bound."""
    return [effect for effect in effects if isinstance(effect, RandomEffect) and effect.upper is not None]


def samples_of(effects: Sequence[ModelEffect], examples: Examples) -> list[SampledEntities]:
    """Of each effect that has an upper bound. All rows of an entity are to be here."""
    return [sampled_entities(effect, examples) for effect in bounded(effects)]


def sampled_entities(effect: RandomEffect, examples: Examples) -> SampledEntities:
    """Of rows with a weight those whose hashes are least; all that have the uid of the last one, if there are several."""
    used = np.flatnonzero(examples.weight > 0)
    names, codes = grouped(examples.entities(effect.entity)[used])
    last: dict[str, tuple[float, tuple[int, str]]] = {}
    for name, rows in zip(names, rows_of_groups(codes), strict=True):
        if effect.upper is not None and len(rows) > effect.upper:
            ranks = sorted(_rank(examples, row, effect.seed) for row in used[rows].tolist())
            bound = ranks[effect.upper - 1]
            last[name] = len(rows) / sum(rank <= bound for rank in ranks), bound
    return SampledEntities(effect.entity, effect.seed, last)


def weighed(examples: Examples, samples: Sequence[SampledEntities]) -> Examples:
    """The rows that are trained on, with their weights: without those that weigh nothing, or that no sample has.

    No scale, bound or loss sees what weighs nothing.
    """
    weight = examples.weight
    for each in samples:
        weight = weight * each.factor(examples)
    found = replace(examples, weight=weight) if samples else examples
    return found if (weight > 0).all() else found.take(weight > 0)


def check_left(weight: float) -> None:
    """Raises InvalidRequest where all rows that were weighed have no weight."""
    if not weight > 0:
        raise InvalidRequest("no row is left within the bounds of all effects; raise them")


def _rank(examples: Examples, row: int, seed: int) -> tuple[int, str]:
    key = examples.uids[row] if examples.uids else str(row)
    return xxhash.xxh3_64_intdigest(f"{seed}:{key}".encode("utf-8", "surrogatepass")), key
