"""What stands in a column, whatever its form: numbers or texts, and how much is missing or out of the vocabulary.

a number, boolean, time          numbers; a point in time is its milliseconds
a text                           texts
a dense tensor, a list           the numbers or texts of all its cells; one by one they are in tensors.py
a sparse tensor                  its values; and, as columns of their own, how many cells each row has, and the ids of each
                                 axis: of a discrete one numbers, which have an order, of any other one texts

NaN and infinities are missing. Bytes and whatever else there is are only counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.ml.snapshots.described import DescribedAxis, type_of
from ambry.ml.snapshots.schema import VALUE

CELLS = " (cells)"
"""Follows the name of a sparse column: how many cells a row has."""
IDS = " (ids of {})"
"""Follows it, too: the ids of an axis."""


_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """What stands in a piece of a column."""

    name: str
    part: str = ""
    """What follows the name where this is a part of what stands in the column."""
    numbers: Any = None
    """A numpy array of float64, all of them finite; None for what has no numbers."""
    texts: Any = None
    """An Arrow array of strings, or of whole numbers that stand for some, without nulls."""
    others: int = 0
    """Values that are neither numbers nor texts."""
    missing: int = 0
    vocabulary_cells: int = 0
    """How many lie on an axis with a vocabulary."""
    out_of_vocabulary: int = 0


def cells_of(field: Any, column: Any) -> Iterator[Cells]:
    """Of a column of a record batch; a sparse one gives several."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = field.type
    if isinstance(kind, pa.FixedShapeTensorType):
        yield _dense(field, column)
    elif any(is_list(kind) for is_list in _LISTS):
        values = column.flatten()
        if pa.types.is_struct(values.type) and values.type.get_field_index(VALUE) >= 0:
            yield _sparse(field, column, values)
            lengths = column.value_lengths().drop_null()
            yield Cells(name=field.name, part=CELLS, numbers=lengths.to_numpy().astype(np.float64))
            yield from _ids(field, values)
        else:
            yield _plain(field.name, values, column.null_count)
    else:
        yield _plain(field.name, column)


def _plain(name: str, column: Any, missing: int = 0) -> Cells:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    missing += column.null_count
    column = column.drop_null()
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Cells(name=name, texts=column, missing=missing)
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        # What is finer than a millisecond is cut.
        column = column.cast(_whole_type(kind), safe=False).cast(pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return Cells(name=name, others=len(column), missing=missing)
    numbers = column.to_numpy(zero_copy_only=False).astype(np.float64)
    finite = np.isfinite(numbers)
    return Cells(name=name, numbers=numbers[finite], missing=missing + int((~finite).sum()))


def _whole_type(kind: Any) -> Any:
    """What a time is cast to before it is a number: points in time are of one unit, whatever theirs."""
    if pa.types.is_time32(kind):
        return pa.int32()
    return pa.int64() if pa.types.is_time64(kind) or pa.types.is_duration(kind) else pa.timestamp("ms")


def _dense(field: Any, column: Any) -> Cells:
    storage, shape = column.storage, tuple(field.type.shape)
    found = _plain(field.name, storage.flatten(), column.null_count * int(np.prod(shape)))
    axes = [place for place, axis in enumerate(_axes(field)) if axis.kind == "categorical"]
    if not axes:
        return found
    there = storage.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape) != 0
    known = there[(slice(None), *(slice(1, None) if place in axes else slice(None) for place in range(len(shape))))]
    total = int(there.sum())
    return Cells(
        name=found.name,
        numbers=found.numbers,
        missing=found.missing,
        vocabulary_cells=total,
        out_of_vocabulary=total - int(known.sum()),
    )


def _sparse(field: Any, column: Any, cells: Any) -> Cells:
    found = _plain(field.name, cells.field(VALUE), column.null_count)
    names = [axis.name for axis in _axes(field) if axis.kind == "categorical"]
    outside = np.zeros(len(cells), dtype=bool)
    for name in names:
        outside |= cells.field(name).to_numpy(zero_copy_only=False) == 0
    return Cells(
        name=found.name,
        numbers=found.numbers,
        texts=found.texts,
        missing=found.missing,
        vocabulary_cells=len(cells) if names else 0,
        out_of_vocabulary=int(outside.sum()),
    )


def _ids(field: Any, cells: Any) -> Iterator[Cells]:
    kinds = {axis.name: axis.kind for axis in _axes(field)}
    for cell in cells.type:
        if cell.name != VALUE and (pa.types.is_integer(cell.type) or pa.types.is_string(cell.type)):
            ids, part = cells.field(cell.name).drop_null(), IDS.format(cell.name)
            if kinds.get(cell.name) == "discrete":
                yield Cells(name=field.name, part=part, numbers=ids.to_numpy(zero_copy_only=False).astype(np.float64))
            else:
                yield Cells(name=field.name, part=part, texts=ids)


def _axes(field: Any) -> tuple[DescribedAxis, ...]:
    """Of a typed feature; none of any other column. Raises DataCorrupt."""
    described = type_of(field)
    return () if described is None else described.axes
