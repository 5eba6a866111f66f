"""Training rows out of typed snapshots: features as names and terms (name_term_value.py), what was observed as columns of it.

Each row of a snapshot is one of the model. The response, weight and offset are features that are single numbers; ids are
features that are single numbers or texts, or the entity of the snapshot itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.photon.examples import SHARD, Examples, FeatureIndex, ShardBuilder, texts_of
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
    shards = {
        name: list(urns) for name, urns in (features if isinstance(features, Mapping) else {SHARD: features}).items()
    }
    columns = [urn for urns in shards.values() for urn in urns]
    asked = [*columns, *(urn for urn in (response, weight, offset, *(ids or {}).values()) if urn is not None)]
    unique = {str(urn): FeatureUrn.parse(str(urn)) for urn in asked}
    names = column_names([FeatureUrn.parse(str(urn)) for urn in dict.fromkeys(str(urn) for urn in columns)])
    builders = {name: ShardBuilder((indexes or {}).get(name)) for name in shards}
    numbers: dict[str, list[Any]] = {"response": [], "weight": [], "offset": []}
    told: dict[str, list[Any]] = {name: [] for name in ids or {}}
    seen = 0
    for batch in snapshot.batches(unique.values()):
        found = {urn: batch.column(snapshot.column(urn)) for urn in unique}
        for name, urns in shards.items():
            triples = [triples_of(found[str(urn)], snapshot.resolve(urn), names[str(urn)]) for urn in urns]
            for place in range(len(batch)):
                builders[name].add(
                    ((name, term), value) for each in triples for name, term, value in each[place] if value
                )
        for what, each, default in (("response", response, np.nan), ("weight", weight, 1.0), ("offset", offset, 0.0)):
            column = (
                np.full(len(batch), default) if each is None else _numbers(snapshot, each, found[str(each)], default)
            )
            numbers[what].append(column)
        for kind, told_by in (ids or {}).items():
            column = batch.column(snapshot.about.entity) if told_by is None else found[str(told_by)]
            told[kind].extend(_ids(snapshot, told_by, column, kind, seen))
        seen += len(batch)
    arrays = {what: np.concatenate(pieces) if pieces else np.zeros(0) for what, pieces in numbers.items()}
    if response is not None and np.isnan(arrays["response"]).any():
        row = int(np.argmax(np.isnan(arrays["response"])))
        raise InvalidRequest(f"row {row} of {snapshot!r} has no response {response}; write one, or leave the row out")
    return Examples(
        shards={name: builder.build() for name, builder in builders.items()},
        ids={kind: texts_of(entities) for kind, entities in told.items()},
        response=arrays["response"],
        weight=arrays["weight"],
        offset=arrays["offset"],
    )


def _numbers(snapshot: Snapshot, urn: Urn, column: Any, default: float) -> Any:
    """Raises InvalidRequest for what is no single number."""
    kind = snapshot.resolve(urn)
    if kind.axes or kind.value_type in (ValueType.STRING, ValueType.BYTES):
        raise InvalidRequest(f"{urn} is no single number, and so no response, weight or offset")
    values = [default if value is None else float(value) for value in column.to_pylist()]
    return np.array(values, dtype=np.float64)


def _ids(snapshot: Snapshot, urn: Urn | None, column: Any, kind: str, before: int) -> list[Any]:
    """Raises InvalidRequest for what is no single value, and for a row without one."""
    if urn is not None and snapshot.resolve(urn).axes:
        raise InvalidRequest(f"{urn} is no single value, and so no id {kind!r}")
    found: list[Any] = column.to_pylist()
    if None in found:
        raise InvalidRequest(f"row {before + found.index(None)} of {snapshot!r} has no id {kind!r} ({urn})")
    return found
