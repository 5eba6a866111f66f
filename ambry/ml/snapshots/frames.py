"""Rows in whatever form a user has them, as a stream of pieces: columns by name, of some ten thousand rows each.

pandas, polars, pyarrow (tables, readers, datasets), DuckDB and whatever else speaks Arrow's stream interface
Spark                       by its local iterator, so that a driver never holds more than a partition
columns by name             a mapping of arrays or lists
an iterator of frames       piece by piece
an iterator of rows         a mapping for each, a row of Spark or a named tuple
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.snapshots.sparse import named_fields

PIECE_ROWS = 16_384
PIECE_SIZE = 16 << 20
"""Bytes of a piece of Arrow; of other forms nobody knows how many there are."""
Piece = Mapping[str, Any]
"""A column by name: an Arrow array, a numpy array, a pandas Series or a list."""


class LoosePiece(dict[str, Any]):
    """The columns of rows each of which may leave names out: what is not here, none of them has."""


def pieces_of(rows: Any, rows_max: int = PIECE_ROWS) -> Iterator[Piece]:
    """Pieces of at most `rows_max` rows; of a frame without rows one piece, which says its columns.

    Raises InvalidRequest for what cannot hold rows.
    """
    if hasattr(rows, "toLocalIterator"):
        yield from _of_rows((row.asDict(recursive=True) for row in rows.toLocalIterator()), rows_max)
    elif hasattr(rows, "iloc") and hasattr(rows, "columns"):
        # Of pandas, whose columns of objects (arrays, lists of tuples) Arrow would refuse.
        names = _once_each([str(name) for name in rows.columns])
        for start in range(0, len(rows), rows_max) or (0,):
            part = rows.iloc[start : start + rows_max]
            yield {name: part.iloc[:, place] for place, name in enumerate(names)}
    elif isinstance(rows, Mapping):
        yield from _of_columns(rows, rows_max)
    elif hasattr(rows, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(rows)
        yield from _of_batches(reader, reader.schema, rows_max)
    elif hasattr(rows, "to_batches"):
        yield from _of_batches(rows.to_batches(), getattr(rows, "schema", None), rows_max)
    elif isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        yield from _of_iterator(iter(rows), rows_max)
    else:
        raise InvalidRequest(
            f"{type(rows).__name__} holds no rows; give a frame of pandas, polars, pyarrow or Spark, or an iterator of those"
        )


def _of_batches(batches: Iterable[Any], schema: Any, rows_max: int) -> Iterator[Piece]:
    """`schema` is None where only the batches say their columns."""
    is_empty = True
    for batch in batches:
        names = _once_each(batch.schema.names)
        step = max(1, min(rows_max, PIECE_SIZE * batch.num_rows // max(batch.nbytes, 1)))
        for start in range(0, batch.num_rows, step):
            is_empty = False
            yield dict(zip(names, batch.slice(start, step).columns, strict=True))
    if is_empty and schema is not None:
        yield dict(zip(_once_each(schema.names), schema.empty_table().columns, strict=True))


def _of_columns(columns: Mapping[Any, Any], rows_max: int) -> Iterator[Piece]:
    """Raises InvalidRequest for columns that are not of one length."""
    lengths = {}
    for name, column in columns.items():
        try:
            lengths[str(name)] = len(column)
        except TypeError:
            raise InvalidRequest(
                f"the column {str(name)!r} is of the type {type(column).__name__} and no column; give an array or a list"
            ) from None
    _once_each([str(name) for name in columns])
    for name, length in lengths.items():
        first = next(iter(lengths))
        if length != lengths[first]:
            raise InvalidRequest(f"the column {name!r} has {length} rows, and {first!r} {lengths[first]}")
    for start in range(0, max(lengths.values(), default=1), rows_max) or (0,):
        end = start + rows_max
        yield {
            str(name): column.iloc[start:end] if hasattr(column, "iloc") else column[start:end]
            for name, column in columns.items()
        }


def _of_iterator(rows: Iterator[Any], rows_max: int) -> Iterator[Piece]:
    first = next(rows, None)
    if first is None:
        return
    if named_fields(first) is not None:
        yield from _of_rows(_and(first, rows), rows_max)
        return
    for each in _and(first, rows):
        yield from pieces_of(each, rows_max)


def _of_rows(rows: Iterator[Any], rows_max: int) -> Iterator[Piece]:
    count = 0
    while piece := list(islice(rows, rows_max)):
        named = [named_fields(row) for row in piece]
        if None in named:
            place = named.index(None)
            raise InvalidRequest(
                f"row {count + place} is of the type {type(piece[place]).__name__}; give a mapping for each row"
            )
        told = [row for row in named if row is not None]
        names = dict.fromkeys(name for row in told for name in row)
        yield LoosePiece((name, [row.get(name) for row in told]) for name in names)
        count += len(piece)


def _once_each(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"two columns are called {twice!r}; which of them is meant, nothing says")
    return names


def _and(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
