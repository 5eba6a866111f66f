"""Training rows out of typed snapshots: features as names and terms (name_term_value.py), what was observed as columns of it.

Each row of a snapshot is one of the model. The response, weight and offset are features that are single numbers; ids are
features that are single numbers or texts, or the entity of the snapshot itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.photon.examples import SHARD, Examples, FeatureIndex, ShardBuilder, texts_of
from ambry.ml.snapshots.columns import conform
from ambry.ml.snapshots.reading import Snapshot
from ambry.ml.snapshots.schema import column_names
from ambry.ml.sources.name_term_value import triples_of

Urn = FeatureUrn | str


def examples_of_snapshot(
    snapshot: Snapshot,
    features: Iterable[Urn] | Mapping[str, Iterable[Urn]],
    response: Urn | None,
    *,
    weight: Urn | None = None,
    offset: Urn | None = None,
    ids: Mapping[str, Urn | None] | None = None,
    indexes: Mapping[str, FeatureIndex] | None = None,
) -> Examples:
    """All rows of a snapshot. `features` are those of one shard, or of each by its name; `ids` the feature that each kind of
    entity is, or None for the entity of the snapshot. Without a response the rows are to be scored.

    A row without a value has no such feature; weights are 1 then, and offsets 0. Raises FeatureNotDefined, InvalidRequest for
    features that are not what they are taken for, and rows without a response.
    """
    columns = snapshot_columns(snapshot, features, response, weight=weight, offset=offset, ids=ids)
    return examples_in(snapshot, columns, indexes)


def examples_in(
    snapshot: Snapshot, columns: SnapshotColumns, indexes: Mapping[str, FeatureIndex] | None = None
) -> Examples:
    """All rows of a snapshot, whose columns these are. Raises InvalidRequest."""
    asked = dict.fromkeys(kind.urn for kind in columns.kinds.values())
    return columns.examples(snapshot.batches(asked), indexes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotColumns:
    """Which columns of a snapshot are what. It goes to other processes, which have batches of its rows."""

    shown: str
    kinds: Mapping[str, TensorType]
    """Of each column of a feature."""
    shards: Mapping[str, Mapping[str, str]]
    """Of each shard, what the features are called, by their columns."""
    response: str | None
    weight: str | None
    offset: str | None
    ids: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """All columns that are read."""
        return list(dict.fromkeys([*self.kinds, *self.ids.values()]))

    @property
    def inputs(self) -> list[str]:
        """The features that a model of these scores by: those of its shards, the offset, and ids that are features."""
        columns = [column for called in self.shards.values() for column in called]
        columns += [column for column in (self.offset, *self.ids.values()) if column is not None]
        return list(dict.fromkeys(str(self.kinds[column].urn) for column in columns if column in self.kinds))

    def examples(self, batches: Iterable[Any], indexes: Mapping[str, FeatureIndex] | None = None) -> Examples:
        """The rows of record batches, as they lie in the snapshot or in a frame. Raises InvalidRequest."""
        builders = {name: ShardBuilder((indexes or {}).get(name)) for name in self.shards}
        numbers: dict[str, list[Any]] = {"response": [], "weight": [], "offset": []}
        told: dict[str, list[Any]] = {name: [] for name in self.ids}
        seen = 0
        for batch in batches:
            found = {name: _as_stored(batch.column(name), kind) for name, kind in self.kinds.items()}
            for name, called in self.shards.items():
                triples = [triples_of(found[column], self.kinds[column], text) for column, text in called.items()]
                for place in range(batch.num_rows):
                    builders[name].add(
                        ((name, term), value) for each in triples for name, term, value in each[place] if value
                    )
            for what, column, default in (
                ("response", self.response, np.nan),
                ("weight", self.weight, 1.0),
                ("offset", self.offset, 0.0),
            ):
                values = [default] * batch.num_rows if column is None else found[column].to_pylist()
                numbers[what].append(np.array([default if value is None else value for value in values], np.float64))
            for kind, column in self.ids.items():
                values = batch.column(column).to_pylist()
                if None in values:
                    raise InvalidRequest(
                        f"row {seen + values.index(None)} of {self.shown} has no id {kind!r} ({column})"
                    )
                told[kind].extend(values)
            seen += batch.num_rows
        arrays = {what: np.concatenate(pieces) if pieces else np.zeros(0) for what, pieces in numbers.items()}
        if self.response is not None and np.isnan(arrays["response"]).any():
            row = int(np.argmax(np.isnan(arrays["response"])))
            raise InvalidRequest(
                f"row {row} of {self.shown} has no response {self.response}; write one, or leave the row out"
            )
        return Examples(
            shards={name: builder.build() for name, builder in builders.items()},
            ids={kind: texts_of(entities) for kind, entities in told.items()},
            response=arrays["response"],
            weight=arrays["weight"],
            offset=arrays["offset"],
        )


def snapshot_columns(
    snapshot: Snapshot,
    features: Iterable[Urn] | Mapping[str, Iterable[Urn]],
    response: Urn | None,
    *,
    weight: Urn | None = None,
    offset: Urn | None = None,
    ids: Mapping[str, Urn | None] | None = None,
) -> SnapshotColumns:
    """As examples_of_snapshot takes them. Raises FeatureNotDefined, InvalidRequest."""
    shards = {
        name: list(urns) for name, urns in (features if isinstance(features, Mapping) else {SHARD: features}).items()
    }
    columns = [urn for urns in shards.values() for urn in urns]
    called = column_names(list({FeatureUrn.parse(str(urn)): None for urn in columns}))
    told_by = {kind: _one_value(snapshot, urn, f"id {kind!r}") for kind, urn in (ids or {}).items()}
    numbers = [_one_number(snapshot, urn) for urn in (response, weight, offset)]
    asked = [*columns, *(urn for urn in (response, weight, offset, *(ids or {}).values()) if urn is not None)]
    return SnapshotColumns(
        shown=repr(snapshot),
        kinds={snapshot.column(urn): snapshot.resolve(urn) for urn in asked},
        shards={
            name: {snapshot.column(urn): called[str(FeatureUrn.parse(str(urn)))] for urn in urns}
            for name, urns in shards.items()
        },
        response=numbers[0],
        weight=numbers[1],
        offset=numbers[2],
        ids=told_by,
    )


def _as_stored(column: Any, kind: TensorType) -> Any:
    """Spark has lists for what a snapshot has types of its own for."""
    if not kind.axes or isinstance(column, pa.ExtensionArray):
        return column
    cells = pa.types.is_struct(column.type.value_type)
    return column if cells else conform(column, kind, "dense")


def _one_number(snapshot: Snapshot, urn: Urn | None) -> str | None:
    """The column of a feature that is a single number. Raises InvalidRequest."""
    if urn is None:
        return None
    kind = snapshot.resolve(urn)
    if kind.axes or kind.value_type in (ValueType.STRING, ValueType.BYTES):
        raise InvalidRequest(f"{urn} is no single number, and so no response, weight or offset")
    return snapshot.column(urn)


def _one_value(snapshot: Snapshot, urn: Urn | None, what: str) -> str:
    """The column of a feature that is a single value, or of the entity. Raises InvalidRequest."""
    if urn is None:
        return snapshot.about.entity
    if snapshot.resolve(urn).axes:
        raise InvalidRequest(f"{urn} is no single value, and so no {what}")
    return snapshot.column(urn)
