"""Rows in whatever form a user has them, as a stream of pieces: columns by name, of some ten thousand rows each.

pandas, polars, pyarrow (tables, readers, datasets), DuckDB and whatever else speaks Arrow's stream interface
Spark                       by its local iterator, so that a driver never holds all rows
an iterator of those        piece by piece
an iterator of mappings     one for each row
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest

PIECE_ROWS = 16_384
Piece = Mapping[str, Any]
"""A column by name: an Arrow array, a numpy array, a pandas Series or a list."""


def pieces_of(rows: Any) -> Iterator[Piece]:
    """Raises InvalidRequest for what holds no rows."""
    if hasattr(rows, "iloc") and hasattr(rows, "columns"):
        # Of pandas, whose columns of objects (arrays, lists of tuples) Arrow would refuse.
        for start in range(0, len(rows), PIECE_ROWS):
            part = rows.iloc[start : start + PIECE_ROWS]
            yield {str(name): part[name] for name in part.columns}
    elif isinstance(rows, Mapping):
        yield {str(name): column for name, column in rows.items()}
    elif hasattr(rows, "toLocalIterator"):
        yield from _of_rows(row.asDict() for row in rows.toLocalIterator())
    elif hasattr(rows, "__arrow_c_stream__"):
        yield from _of_batches(pa.RecordBatchReader.from_stream(rows))
    elif hasattr(rows, "to_batches"):
        yield from _of_batches(rows.to_batches())
    elif isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        yield from _of_iterator(iter(rows))
    else:
        raise InvalidRequest(
            f"{type(rows).__name__} holds no rows; give a frame of pandas, polars, pyarrow or Spark, or an iterator of those"
        )


def _of_batches(batches: Iterable[Any]) -> Iterator[Piece]:
    for batch in batches:
        for start in range(0, batch.num_rows, PIECE_ROWS):
            part = batch.slice(start, PIECE_ROWS)
            yield dict(zip(part.schema.names, part.columns, strict=True))


def _of_iterator(rows: Iterator[Any]) -> Iterator[Piece]:
    first = next(rows, None)
    if first is None:
        return
    if isinstance(first, Mapping):
        yield from _of_rows(_and(first, rows))
        return
    for each in _and(first, rows):
        yield from pieces_of(each)


def _of_rows(rows: Iterator[Any]) -> Iterator[Piece]:
    """Rows may leave names out; every name of a piece is a column of it."""
    while piece := list(islice(rows, PIECE_ROWS)):
        names = dict.fromkeys(name for row in piece for name in row)
        yield {name: [row.get(name) for row in piece] for name in names}


def _and(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
