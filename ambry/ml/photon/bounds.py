"""Which rows of which entities are trained on: none of those with too few, some of those with too many.

A sample is by a hash of the seed and the row's uid (its place, without one): the same rows are taken however they lie in
partitions, by whoever holds all rows of an entity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from ambry.ml.photon.effects import RandomEffect
from ambry.ml.photon.examples import Examples


@dataclass(frozen=True, slots=True)
class ActiveRows:
    """Rows of entities within the bounds."""

    entities: tuple[str, ...]
    """Those that have a model, sorted."""
    codes: Any
    """Of each row, which of them; -1 where its entity has none."""
    factor: Any
    """Of each row, how many it stands for: 1, 0 where it was not sampled, or more than 1 where others were not."""


def active_rows(effect: RandomEffect, examples: Examples) -> ActiveRows:
    """Raises InvalidRequest where the rows have no such ids."""
    found = examples.entities(effect.entity)
    entities, codes, counts = np.unique(found.astype(str), return_inverse=True, return_counts=True)
    kept = counts >= effect.lower
    places = np.where(kept, np.cumsum(kept) - 1, -1)
    factor = np.ones(len(found))
    if effect.upper is not None:
        for entity in np.flatnonzero(counts > effect.upper):
            rows = np.flatnonzero(codes == entity)
            taken = sampled([row_key(examples, row) for row in rows.tolist()], effect.upper, effect.seed)
            factor[rows] = 0.0
            factor[rows[taken]] = len(rows) / effect.upper
    return ActiveRows(tuple(str(each) for each in entities[kept]), places[codes], factor)


def sampled(keys: list[str], count: int, seed: int) -> list[int]:
    """Places of `count` of the keys, in order: those whose hashes are least."""
    ranked = sorted(range(len(keys)), key=lambda place: (_hash(f"{seed}:{keys[place]}"), keys[place]))
    return sorted(ranked[:count])


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def row_key(examples: Examples, row: int) -> str:
    """What a row is sampled by."""
    return examples.uids[row] if examples.uids else str(row)
