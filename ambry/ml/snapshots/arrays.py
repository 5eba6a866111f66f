"""Numbers of a fetched snapshot as arrays: over the mapped file without a copy, and rows by key as fast as memory is.

Record batches of the same size lie at equal distances in the file. So a column is one array with a stride, over all batches
but the last, shorter one; a row is found by one binary search, and read by an index. Where batches differ (nulls take room of
their own, and so do texts), the column is copied once, when the reader is made.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES
from ambry.ml.snapshots.grown import brought
from ambry.ml.snapshots.schema import shape_of


def check_width(kind: TensorType, column_type: Any) -> None:
    """Raises InvalidRequest for a feature whose rows are not all of the same width."""
    if kind.value_type not in NUMPY_TYPES or pa.types.is_list(column_type):
        raise InvalidRequest(f"{kind.urn} lies as {column_type}, whose rows are not alike; `read` gives it as Arrow")


def view_of(array: Any, kind: TensorType, private: Any | None = None) -> Any:
    """A column of one batch as a numpy array of (rows, *shape) over its memory, which is not to be written.

    `private` is the mapping that it lies in, where that may be written: then the array may be, too. Null rows hold anything.
    A scalar that is a boolean takes a bit, so that one is copied.
    """
    is_dense = isinstance(array, pa.ExtensionArray)
    shape = tuple(array.type.shape) if is_dense else ()
    if not is_dense and kind.value_type is ValueType.BOOLEAN:
        return array.fill_null(False).to_numpy(zero_copy_only=False)
    width = int(np.prod(shape, dtype=np.int64))
    values = array.storage.values if is_dense else array
    data = values.buffers()[1]
    dtype = NUMPY_TYPES[kind.value_type]
    count = len(array) * width
    start = (
        (array.storage.offset if is_dense else array.offset) * width + (values.offset if is_dense else 0)
    ) * dtype.itemsize
    if not count:
        return np.zeros((len(array), *shape), dtype)
    if private is None:
        view = np.frombuffer(data, dtype, count, start)
    else:
        base = np.frombuffer(private, np.uint8).ctypes.data
        if base <= data.address <= base + len(private) - data.size:
            view = np.frombuffer(private, dtype, count, data.address - base + start)
        else:  # It was packed, and is nobody's but the batch's.
            view = np.frombuffer(data, dtype, count, start).copy()
    return view.reshape(len(array), *shape)


def stand_in(kind: TensorType) -> Any:
    """What stands in each cell of a row without a value: the default of the definition; without one NaN, 0 or False."""
    dtype = NUMPY_TYPES[kind.value_type]
    return dtype.type(kind.default if kind.default is not None else np.nan if dtype.kind == "f" else 0)


def filled_view(array: Any, kind: TensorType, private: Any | None = None) -> Any:
    """`view_of` with `stand_in` in rows without a value, for which an array that may not be written is copied."""
    view = view_of(array, kind, private)
    if array.null_count:
        view = view if private is not None and view.flags.writeable else view.copy()
        view[array.is_null().to_numpy(zero_copy_only=False)] = stand_in(kind)
    return view


def private_file(descriptor: int) -> tuple[Any, Any]:
    """A mapping of an open file that may be written, which changes nobody's bytes but one's own, and Arrow's reader of it."""
    mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    return mapped, pa.ipc.open_file(pa.py_buffer(mapped))


@dataclass(frozen=True, slots=True)
class RowArrays:
    """Rows that were read by key, in the order of the keys."""

    values: Mapping[str, Any]
    """By URN, a numpy array of (keys, *shape) of its own."""
    found: Any
    """Of each key, whether it is there."""
    missing: Mapping[str, Any] = field(default_factory=dict)
    """By URN, which rows have no value but what stands for one; a URN without such rows is not there."""


class RowReader:
    """Some features of a fetched snapshot, to be read by key again and again. Usable by threads.

    A column of other widths than the definitions have is copied once, when the reader is made (grown.py).

    It keeps the keys in memory (8 bytes each; texts as such), and the file mapped.
    """

    def __init__(
        self, kinds: Iterable[TensorType], columns: Iterable[str], entity: str, schema: Any, batches: Iterable[Any]
    ) -> None:
        """Raises InvalidRequest for a feature whose rows are not all of the same width."""
        self._kinds = tuple(kinds)
        batches = list(batches)
        keys = [batch.column(entity).to_numpy(zero_copy_only=False) for batch in batches]
        self._keys = np.concatenate(keys) if keys else np.zeros(0, np.int64)
        self._columns = {
            str(kind.urn): _Column([batch.column(name) for batch in batches], kind, schema.field(name).type)
            for kind, name in zip(self._kinds, columns, strict=True)
        }

    def read(self, keys: Any) -> RowArrays:
        """What has no value has the default of the definition; without one NaN, 0 or False. `missing` tells which do."""
        wanted = self._as_keys(keys)
        if not len(wanted) or not len(self._keys):
            found = np.zeros(len(wanted), bool)
            places = np.zeros(len(wanted), np.int64)
        else:
            places = np.searchsorted(self._keys, wanted)
            np.minimum(places, len(self._keys) - 1, out=places)
            found = self._keys[places] == wanted
        lost = None if found.all() else ~found
        values, missing = {}, {}
        for urn, column in self._columns.items():
            values[urn], none = column.rows(places, lost)
            if none is not None:
                missing[urn] = none
        return RowArrays(values, found, missing)

    def matrix(self, keys: Any, dtype: Any = np.float32) -> Any:
        """All cells of all features as one array of (keys, cells), in the order of the features: what a linear model takes."""
        rows = self.read(keys)
        flat = [rows.values[str(kind.urn)].reshape(len(rows.found), -1) for kind in self._kinds]
        return np.concatenate(flat, axis=1, dtype=dtype, casting="unsafe")

    def _as_keys(self, keys: Any) -> Any:
        """Raises InvalidRequest for keys of another type than the entities."""
        are_numbers = self._keys.dtype.kind in "iu"
        # An array of texts of numpy's own loses the NULs at their ends.
        wanted = keys if isinstance(keys, np.ndarray) else np.asarray(keys, dtype=None if are_numbers else object)
        if wanted.ndim != 1:
            raise InvalidRequest(f"the keys have {wanted.ndim} dimensions; give one after the other")
        if not len(wanted) or not len(self._keys):
            return wanted
        kind = wanted.dtype.kind
        if are_numbers and kind not in "iu":
            raise InvalidRequest(f"the entities are whole numbers, and the keys {wanted.dtype}")
        if not are_numbers and not (kind == "U" or (kind == "O" and all(isinstance(key, str) for key in wanted))):
            raise InvalidRequest("the entities are texts, and a key is none")
        if wanted.dtype == np.uint64:
            if int(wanted.max()) >= 1 << 63:
                raise InvalidRequest(
                    f"{int(wanted.max())} is no key; the entities are whole numbers of 64 bits with a sign"
                )
            return wanted.astype(np.int64)
        return wanted


class _Column:
    """One feature over all batches: `head` over those of one size, `tail` what is left; or all of them copied, as `flat`."""

    def __init__(self, chunks: list[Any], kind: TensorType, column_type: Any) -> None:
        chunks = [brought(chunk, kind) for chunk in chunks]
        views = [view_of(chunk, kind) for chunk in chunks]
        dtype = NUMPY_TYPES[kind.value_type]
        shape = shape_of(kind) if isinstance(column_type, pa.FixedShapeTensorType) else ()
        self._stand_in = stand_in(kind)
        self._missing = _missing(chunks)
        self._kept = chunks
        self._rows = len(views[0]) if views else 0
        whole = views[:-1] if views and len(views[-1]) != self._rows else views
        is_copy = not kind.axes and kind.value_type is ValueType.BOOLEAN
        self._head: Any = None if is_copy else _strided(whole)
        self._flat: Any = None
        if self._head is None:
            self._flat = np.concatenate(views) if views else np.zeros((1, *shape), dtype)
        self._tail = views[-1] if self._head is not None and len(whole) < len(views) else None
        self._limit = len(whole) * self._rows

    def rows(self, places: Any, lost: Any | None) -> tuple[Any, Any | None]:
        """The values at `places`, and which of them have none, if any do."""
        found = self._flat[places] if self._flat is not None else self._strided_rows(places)
        none = lost
        if self._missing is not None:
            null = self._missing[places]
            none = null if none is None else null | none
            none = none if none.any() else None
        if none is not None:
            found[none] = self._stand_in
        return found, none

    def _strided_rows(self, places: Any) -> Any:
        head = self._head
        batches, rows = np.divmod(places, self._rows)
        if self._tail is None or not (beyond := places >= self._limit).any():
            return head[batches, rows]
        found = head[np.where(beyond, 0, batches), np.where(beyond, 0, rows)]
        found[beyond] = self._tail[places[beyond] - self._limit]
        return found


def _strided(views: list[Any]) -> Any | None:
    """One array of (batches, rows, *shape) over views of one file that lie at equal distances; None where they do not."""
    if not views:
        return None
    first = views[0]
    distances = np.unique(np.diff([view.ctypes.data for view in views]))
    if len(distances) > 1 or any(view.shape != first.shape for view in views):
        return None
    distance = int(distances[0]) if len(distances) else 0
    return np.lib.stride_tricks.as_strided(
        first, (len(views), *first.shape), (distance, *first.strides), writeable=False
    )


def _missing(chunks: list[Any]) -> Any | None:
    if not any(chunk.null_count for chunk in chunks):
        return None
    return np.concatenate([chunk.is_null().to_numpy(zero_copy_only=False) for chunk in chunks])
