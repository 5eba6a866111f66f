"""Rows of a user's frame, piece by piece, as record batches of typed features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.snapshots.columns import conform, conform_keys
from ambry.ml.snapshots.frames import Piece, pieces_of
from ambry.ml.snapshots.schema import Layout, column_names


def conformed(
    rows: Any,
    kinds: Sequence[TensorType],
    entity: str,
    schema_of: Callable[[Any], Any],
    columns: Mapping[str, str],
    layouts: Mapping[str, Layout],
) -> Iterator[Any]:
    """Record batches of the schema that `schema_of` gives for the type of the keys, which is that of the first piece.

    Raises InvalidRequest for what does not fit, with its row.
    """
    names = {**column_names([kind.urn for kind in kinds]), **columns}
    schema: Any = None
    for piece in pieces_of(rows):
        keys = conform_keys(_column(piece, entity), entity)
        if schema is None:
            schema = schema_of(keys.type)
        arrays = [keys]
        for kind in kinds:
            urn = str(kind.urn)
            arrays.append(conform(_column(piece, names[urn]), kind, layouts.get(urn)))
        if keys.type != schema.field(0).type:
            raise InvalidRequest(f"the column {entity!r} is {keys.type} here, and was {schema.field(0).type} before")
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(piece: Piece, name: str) -> Any:
    """Raises InvalidRequest."""
    if name not in piece:
        raise InvalidRequest(f"the rows have no column {name!r}; they have {', '.join(sorted(piece))}")
    return piece[name]
