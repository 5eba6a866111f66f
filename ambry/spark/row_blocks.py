"""Rows of a model in blocks that go from one process of a cluster to another: numpy arrays, without the names of features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.ml.extras import needed
from ambry.ml.photon.entities import hash_of
from ambry.ml.photon.examples import Examples, FeatureIndex, Shard, grouped

Indexes = Mapping[str, FeatureIndex]
UNNAMED = "\0"
"""Begins the uid of a row that has none, before all rows are counted."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Some rows, in the order of where they come from: `source` counts partitions of it."""

    source: int
    matrices: Mapping[str, Any]
    response: Any
    weight: Any
    offset: Any
    ids: Mapping[str, Any]
    uids: tuple[str, ...]

    @classmethod
    def of(cls, source: int, examples: Examples, indexes: Indexes) -> RowBlock:
        """Over the columns of `indexes`."""
        return cls(
            source,
            {name: shard.over(indexes[name]) for name, shard in examples.shards.items()},
            examples.response,
            examples.weight,
            examples.offset,
            examples.ids,
            examples.uids,
        )

    def examples(self, indexes: Indexes) -> Examples:
        """As what is trained on."""
        return Examples(
            shards={name: Shard(indexes[name], matrix) for name, matrix in self.matrices.items()},
            response=self.response,
            weight=self.weight,
            offset=self.offset,
            ids=self.ids,
            uids=self.uids,
        )

    def take(self, rows: Any) -> RowBlock:
        """Some of the rows, in their order."""
        return RowBlock(
            self.source,
            {name: matrix[rows] for name, matrix in self.matrices.items()},
            self.response[rows],
            self.weight[rows],
            self.offset[rows],
            {name: found[rows] for name, found in self.ids.items()},
            tuple(self.uids[row] for row in rows.tolist()),
        )

    def parts(self, places: Any) -> Iterator[tuple[int, RowBlock]]:
        """The rows of each place that is in `places`, which has one for each row."""
        for place in np.unique(places).tolist():
            yield place, self.take(np.flatnonzero(places == place))


def joined(blocks: Iterable[RowBlock]) -> RowBlock:
    """One block of at least one, in the order of their sources, so that it is the same however they arrive."""
    told = sorted(blocks, key=lambda block: block.source)
    if len(told) == 1:
        return told[0]
    stacked = needed("scipy.sparse").vstack
    return RowBlock(
        source=told[0].source,
        matrices={name: stacked([each.matrices[name] for each in told]).tocsr() for name in told[0].matrices},
        response=np.concatenate([each.response for each in told]),
        weight=np.concatenate([each.weight for each in told]),
        offset=np.concatenate([each.offset for each in told]),
        ids={name: np.concatenate([each.ids[name] for each in told]) for name in told[0].ids},
        uids=tuple(uid for each in told for uid in each.uids),
    )


def by_entity(block: RowBlock, kind: str, places: int) -> Any:
    """At which of so many places the entity of each row is: the same for all its rows, wherever they come from."""
    entities, codes = grouped(block.ids[kind])
    return np.array([hash_of(each) % places for each in entities], dtype=np.int64)[codes]


def in_turn(block: RowBlock, places: int) -> Any:
    """Rows in slices of one size, one for each place."""
    count = len(block.response)
    return np.arange(count) * places // max(count, 1)
