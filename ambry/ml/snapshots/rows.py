"""Rows of a user's frame, piece by piece, as record batches of typed features."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.snapshots.columns import conform, conform_keys
from ambry.ml.snapshots.frames import PIECE_ROWS, PIECE_SIZE, LoosePiece, Piece, pieces_of
from ambry.ml.snapshots.schema import Layout, column_names, row_size

_ROW = re.compile(r" in row (\d+)\b")


def conformed(
    rows: Any,
    kinds: Sequence[TensorType],
    entity: str,
    schema_of: Callable[[Any], Any],
    columns: Mapping[str, str],
    layouts: Mapping[str, Layout],
) -> Iterator[Any]:
    """Record batches of the schema that `schema_of` gives for the type of the keys, which is that of the first row.

    Rows that are mappings may leave a feature out, which is null then; one that none of them has is refused.
    A piece without rows has its columns all the same.
    Raises InvalidRequest for what does not fit, with its row.
    """
    names = {str(kind.urn): name for kind, name in zip(kinds, _names(kinds, columns), strict=True)}
    never = set(names.values())
    schema: Any = None
    start = 0
    for piece in pieces_of(rows, min(PIECE_ROWS, max(1, PIECE_SIZE // row_size(kinds, layouts)))):
        with _counted_from(start):
            keys = conform_keys(_column(piece, entity), entity)
            never -= set(piece)
            if not len(keys):
                for name in names.values():
                    _column(piece, name)
                continue
            arrays = [keys]
            for kind in kinds:
                urn = str(kind.urn)
                is_left_out = isinstance(piece, LoosePiece) and names[urn] not in piece
                values = pa.nulls(len(keys)) if is_left_out else _column(piece, names[urn])
                arrays.append(conform(values, kind, layouts.get(urn)))
                if len(arrays[-1]) != len(keys):
                    raise InvalidRequest(
                        f"the column {names[urn]!r} has {len(arrays[-1])} rows, and {entity!r} {len(keys)}"
                    )
            if schema is None:
                schema = schema_of(keys.type)
            if keys.type != schema.field(0).type:
                raise InvalidRequest(
                    f"the column {entity!r} is {keys.type} here, and was {schema.field(0).type} before"
                )
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        start += len(keys)
    if start and never:
        raise InvalidRequest(f"none of the {start} rows has {min(never)!r}; they have {', '.join(sorted(piece))}")


def _names(kinds: Sequence[TensorType], columns: Mapping[str, str]) -> list[str]:
    told = {**column_names([kind.urn for kind in kinds]), **columns}
    return [told[str(kind.urn)] for kind in kinds]


def _column(piece: Piece, name: str) -> Any:
    """Raises InvalidRequest."""
    if name not in piece:
        raise InvalidRequest(f"the rows have no column {name!r}; they have {', '.join(sorted(piece))}")
    return piece[name]


@contextmanager
def _counted_from(start: int) -> Iterator[None]:
    """Rows are told by their place in a piece, and here by that in all; where a text has a row too, by both."""
    try:
        yield
    except InvalidRequest as error:
        if not start:
            raise
        if len(found := _ROW.findall(error.message)) == 1:
            raise InvalidRequest(_ROW.sub(f" in row {start + int(found[0])}", error.message)) from error
        raise InvalidRequest(f"{error.message} (counted from row {start} of all)") from error
