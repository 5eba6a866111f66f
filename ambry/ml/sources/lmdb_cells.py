"""What stands in an LMDB directory of features for an entity: its key, and the bytes of its tensor. Numbers are little-endian.

    key of an int64      8 bytes, big-endian, the sign bit turned over, so that keys stand in order
    key of a string      its UTF-8, at most 511 bytes
    scalar, dense        the cells, one after the other; texts and bytes as they are; a boolean is one byte
    sparse               count (4 bytes), `count` indices of each axis (int32; int64 of entities), and the values:
                         `count` cells, or `count` lengths (4 bytes) and then the texts

An entity without a value has no entry. Dense values of before a vocabulary grew are shorter than later ones: the schema of the
directory has all shapes that there are, and the length of a value says which is its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES, parts_of, sparse_column, tensor_view
from ambry.ml.snapshots.dense import dense_column
from ambry.ml.snapshots.grown import brought, of_shape
from ambry.ml.snapshots.schema import Layout, arrow_type, shape_of

KEY_BYTES_MAX = 511


def keys_of_entities(column: Any) -> list[bytes]:
    """Of a column of int64 or string; one that LMDB cannot have is empty or longer than KEY_BYTES_MAX."""
    if column.type == pa.string():
        return [key.encode() for key in column.to_pylist()]
    numbers = column.to_numpy(zero_copy_only=False).view("u8") ^ np.uint64(1 << 63)
    raw = numbers.astype(">u8").tobytes()
    return [raw[start : start + 8] for start in range(0, len(raw), 8)]


def values_of(column: Any, kind: TensorType, layout: Layout) -> Iterator[bytes | None]:
    """What is stored for each row; None where there is no value."""
    missing = column.is_null().to_numpy(zero_copy_only=False)
    stored: Iterable[bytes]
    if layout == "dense":
        stored = (row.tobytes() for row in tensor_view(column, kind))
    elif layout == "sparse":
        stored = _sparse_values(column, kind)
    elif kind.value_type not in NUMPY_TYPES:
        stored = (_bytes(value) if value is not None else b"" for value in column.to_pylist())
    else:
        values = column.fill_null(False if kind.value_type is ValueType.BOOLEAN else 0)
        stored = (value.tobytes() for value in values.to_numpy(zero_copy_only=False))
    return (None if none else value for none, value in zip(missing, stored, strict=True))


def _sparse_values(column: Any, kind: TensorType) -> Iterator[bytes]:
    rows, axes, values = parts_of(column)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(column)))])
    texts = [_bytes(value) for value in values.to_pylist()] if kind.value_type not in NUMPY_TYPES else None
    cells: Any = None if texts is not None else values.to_numpy(zero_copy_only=False)
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        parts = [struct.pack("<I", end - start), *(axis[start:end].tobytes() for axis in axes)]
        if texts is not None:
            own = texts[start:end]
            parts += [struct.pack(f"<{len(own)}I", *map(len, own)), *own]
        else:
            parts.append(cells[start:end].tobytes())
        yield b"".join(parts)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


# --- reading ---


def row_bytes(kind: TensorType, shape: Sequence[int]) -> int:
    """How long a dense value of that shape is."""
    return prod(shape) * int(NUMPY_TYPES[kind.value_type].itemsize)


def column_of(stored: list[bytes | None], kind: TensorType, layout: Layout, shapes: Sequence[tuple[int, ...]]) -> Any:
    """The Arrow column of what was stored, with the vocabularies of `kind`. Dense values have one of `shapes` each.

    Raises struct.error for a value of no such shape, InvalidRequest as `brought` does.
    """
    missing = np.array([value is None for value in stored], dtype=bool)
    if layout == "sparse":
        return brought(_sparse_column(stored, kind, missing), kind)
    dtype = NUMPY_TYPES.get(kind.value_type)
    if dtype is None:
        texts = [
            value.decode() if value is not None and kind.value_type is ValueType.STRING else value for value in stored
        ]
        return pa.array(texts, arrow_type(kind.value_type))
    if layout == "dense":
        return _dense_column(stored, kind, missing, shapes)
    empty = bytes(dtype.itemsize)
    cells = np.frombuffer(b"".join(empty if value is None else value for value in stored), dtype=dtype)
    return pa.array(cells, arrow_type(kind.value_type), mask=missing)


def _dense_column(stored: list[bytes | None], kind: TensorType, missing: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    dtype, wanted = NUMPY_TYPES[kind.value_type], shape_of(kind)
    by_length: dict[int, list[int]] = {}
    for place, value in enumerate(stored):
        if value is not None:
            by_length.setdefault(len(value), []).append(place)
    told = {row_bytes(kind, shape): shape for shape in shapes}
    tensors = np.zeros((len(stored), *wanted), dtype)
    for length, places in by_length.items():
        if length not in told:
            raise struct.error(f"a value of {kind.urn} has {length} bytes, and its shape is {wanted}")
        cells = np.frombuffer(b"".join(stored[place] or b"" for place in places), dtype)
        own = of_shape(kind, told[length])
        column = brought(dense_column(cells.reshape(len(places), *told[length]), None, own), kind)
        if len(places) == len(stored):
            return column
        tensors[places] = tensor_view(column, kind)
    return dense_column(tensors, missing, kind)


def _sparse_column(stored: list[bytes | None], kind: TensorType, missing: Any) -> Any:
    counts: list[int] = []
    axes: list[list[Any]] = [[] for _ in kind.axes]
    values: list[Any] = []
    texts: list[str | bytes] = []
    widths = [np.dtype("<i8") if axis.is_wide else np.dtype("<i4") for axis in kind.axes]
    for value in stored:
        count = 0 if value is None else struct.unpack_from("<I", value)[0]
        counts.append(count)
        if value is None or not count:
            continue
        at = 4
        for indices, width in zip(axes, widths, strict=True):
            indices.append(np.frombuffer(value, width, count, at))
            at += count * width.itemsize
        if kind.value_type in NUMPY_TYPES:
            values.append(np.frombuffer(value, NUMPY_TYPES[kind.value_type], count, at))
            continue
        at += 4 * count
        for length in struct.unpack_from(f"<{count}I", value, at - 4 * count):
            text = value[at : at + length]
            texts.append(text.decode() if kind.value_type is ValueType.STRING else text)
            at += length
    rows = np.repeat(np.arange(len(stored)), counts)
    indices = [np.concatenate(each) if each else np.zeros(0, width) for each, width in zip(axes, widths, strict=True)]
    cells: Any = pa.array(texts, arrow_type(kind.value_type))
    if kind.value_type in NUMPY_TYPES:
        cells = pa.array(
            np.concatenate(values) if values else np.zeros(0, NUMPY_TYPES[kind.value_type]), arrow_type(kind.value_type)
        )
    return sparse_column(kind, rows, indices, cells, len(stored), missing)
