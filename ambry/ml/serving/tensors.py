"""Tensors of the Open Inference Protocol as arrays of numpy: out of JSON and out of bytes, and back.

    BOOL          a byte each, 0 or 1
    INT8 ... FP64 little-endian
    BYTES         texts: 4 bytes of length (little-endian), then UTF-8

Numbers come as they were sent: none is rounded to a whole one, cut, wrapped or made of a text or a boolean. What needs a loop
over many values does it STEP at a time, so that other threads go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest

STEP = 1 << 14
DATATYPES: Mapping[str, Any] = {
    "BOOL": np.dtype("bool"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("u2"),
    "UINT32": np.dtype("u4"),
    "UINT64": np.dtype("u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("i2"),
    "INT32": np.dtype("i4"),
    "INT64": np.dtype("i8"),
    "FP16": np.dtype("f2"),
    "FP32": np.dtype("f4"),
    "FP64": np.dtype("f8"),
    "BYTES": np.dtype("O"),
}
"""By their names in the protocol; BYTES are texts."""
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_PYTHON: Mapping[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "u": frozenset({int}),
    "i": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}


def from_json(name: str, data: list[Any], shape: Sequence[int], datatype: str) -> Any:
    """`data` flat, or nested as the shape says. Raises InvalidRequest."""
    wanted = DATATYPES[datatype]
    flat = _flat(name, data, shape)
    array = np.empty(len(flat), dtype=wanted)
    try:
        for begin in range(0, len(flat), STEP):
            array[begin : begin + STEP] = _typed(flat[begin : begin + STEP], wanted)
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequest(f"input {name!r}: its data are not all {datatype}") from None
    return array.reshape(shape)


def _flat(name: str, data: list[Any], shape: Sequence[int]) -> list[Any]:
    level = data
    for dim, more in enumerate(shape[1:], 1):
        if not level or type(level[0]) is not list:
            break
        if len(level) != prod(shape[:dim]) or set(map(type, level)) != {list}:
            raise InvalidRequest(f"input {name!r}: its data are not nested as its shape says")
        if set(map(len, level)) - {more, prod(shape[dim:])}:
            raise InvalidRequest(f"input {name!r}: its data are not nested as its shape says")
        level = list(chain.from_iterable(level))
    if len(level) != prod(shape):
        raise InvalidRequest(f"input {name!r}: the shape {list(shape)} has {prod(shape)} values, and data {len(level)}")
    return level


def _typed(values: list[Any], wanted: Any) -> Any:
    """Raises ValueError, TypeError, OverflowError for what is not all of this type."""
    if not set(map(type, values)) <= _PYTHON[wanted.kind]:
        raise TypeError
    if wanted.kind in "iu":
        known = np.iinfo(wanted)
        if min(values) < known.min or max(values) > known.max:
            raise OverflowError
        return np.array(values, dtype=wanted)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            typed = np.array(values, dtype=np.float64).astype(wanted)
        if not np.isfinite(typed).all():
            raise OverflowError
        return typed
    return np.array(values, dtype=wanted)


def from_bytes(name: str, data: memoryview, shape: Sequence[int], datatype: str) -> Any:
    """A copy. NaN and infinities stay what they are. Raises InvalidRequest."""
    if datatype == "BYTES":
        return _texts(name, data, prod(shape)).reshape(shape)
    dtype = DATATYPES[datatype].newbyteorder("<")
    if len(data) != prod(shape) * dtype.itemsize:
        raise InvalidRequest(
            f"input {name!r}: {prod(shape)} values of {datatype} have {prod(shape) * dtype.itemsize} bytes, not {len(data)}"
        )
    if datatype == "BOOL" and (np.frombuffer(data, dtype=np.uint8) > 1).any():
        raise InvalidRequest(f"input {name!r}: a BOOL is a byte 0 or 1")
    return np.frombuffer(data, dtype=dtype).astype(DATATYPES[datatype]).reshape(shape)


def _texts(name: str, data: memoryview, count: int) -> Any:
    array = np.empty(count, dtype=object)
    place = 0
    try:
        for index in range(count):
            end = place + 4 + int.from_bytes(data[place : place + 4], "little")
            if place + 4 > len(data) or end > len(data):
                raise ValueError
            array[index] = str(data[place + 4 : end], "utf-8")
            place = end
        if place != len(data):
            raise ValueError
    except ValueError:
        raise InvalidRequest(
            f"input {name!r}: BYTES are {count} texts of UTF-8, each behind its length in 4 bytes"
        ) from None
    return array


def known(array: Any) -> tuple[str, Any]:
    """The datatype of what a model gave, and the array in it: numbers stay numbers, and all else is texts."""
    array = np.asarray(array)
    if array.dtype.kind == "O" and array.size and set(map(type, array.flat)) <= {bool, int, float}:
        array = np.array(array.tolist())
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False).reshape(array.shape or (1,))
    datatype = _NAMES.get(array.dtype, "BYTES")
    if datatype == "BYTES":
        texts = [str(each, "utf-8", "replace") if isinstance(each, bytes) else str(each) for each in array.flat]
        array = np.array(texts, dtype=object).reshape(array.shape)
    return datatype, array


def to_bytes(array: Any, datatype: str) -> bytes:
    """As `from_bytes` reads it. `array` is of `known`."""
    if datatype != "BYTES":
        data: bytes = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return data
    texts = (each.encode("utf-8", "replace") for each in array.flat)
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
