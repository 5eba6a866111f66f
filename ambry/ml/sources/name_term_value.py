"""Names, terms and values: what features were before they had types, as Photon ML's Avro files still have them.

    (name, term, value)         texts and a float
    number, boolean             (name, "", value)
    text, bytes                 (name, the text, 1.0); bytes in base64
    cell of a tensor            (name, the keys, value); a text or bytes as one more part after the keys, and 1.0
    tensor without a cell       (name, "", 0.0)
no number                   a value of null, or NaN; within a tensor NaN is a number like the others

A key of a vocabulary is its name, of a hashed dimension `#` and the bucket (a text that is no such is hashed), else the number.
Several parts stand with commas between them, and `%` and `,` in one as %25 and %2C; one part alone stands as it is.

There and back gives the same tensors. What would not, is refused: whole numbers that no float has (beyond 2^53), and ids
without a name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import Axis, AxisKey, TensorType
from ambry.ml.features.definitions import Hashed, ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES, cells_of, dense_of, parts_of, sparse_column, tensor_view
from ambry.ml.snapshots.columns import conform
from ambry.ml.snapshots.dense import dense_column
from ambry.ml.snapshots.grown import gathered
from ambry.ml.snapshots.scalars import cell_values, is_none
from ambry.ml.snapshots.schema import Layout, layout_of

Triple = tuple[str, str, float]

_TEXTS = (ValueType.STRING, ValueType.BYTES)
_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
_BUCKET = re.compile(r"#(\d{1,10})", re.ASCII)


def triple_schema(name: str, **said: str) -> dict[str, Any]:
    """The record of Avro that a triple is, called `name`."""
    types = {"name": "string", "term": "string", "value": "double"}
    fields = [{"name": field, "type": kind} for field, kind in types.items()]
    return {"type": "record", "name": name, **said, "fields": fields}


def check_field_name(name: str) -> None:
    """Raises InvalidRequest for a name that Avro does not have."""
    if not (name.isascii() and name.isidentifier()):
        raise InvalidRequest(f"{name!r} is no name of a field in Avro; take letters, digits and _")


def triples_of(column: Any, kind: TensorType, name: str) -> list[list[Triple]]:
    """Of each row of a column of a snapshot, its triples; none where there is no value. Raises InvalidRequest."""
    if not kind.axes:
        return [[] if value is None else [(name, *_scalar_of(value, kind))] for value in column.to_pylist()]
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if isinstance(column, pa.ExtensionArray):
        tensors = np.where(missing.reshape(-1, *(1 for _ in kind.axes)), 0, tensor_view(column, kind))
        column = cells_of(tensors.astype(tensor_view(column, kind).dtype), kind)
    rows, axes, values = parts_of(column)
    keys = [_texts_of(indices, axis, kind) for indices, axis in zip(axes, kind.axes, strict=True)]
    found: list[list[Triple]] = [[] for _ in range(len(missing))]
    for place, (row, value) in enumerate(zip(rows.tolist(), values.to_pylist(), strict=True)):
        parts = [texts[place] for texts in keys]
        text, number = _scalar_of(value, kind)
        found[row].append((name, _joined([*parts, text] if kind.value_type in _TEXTS else parts), number))
    return [
        triples or ([] if none else [(name, "", 0.0)]) for triples, none in zip(found, missing.tolist(), strict=True)
    ]


def column_from(
    bags: Sequence[Sequence[tuple[str, float | None]]], kind: TensorType, asked: Layout | None = None
) -> Any:
    """The column of a snapshot of the terms and values that each row has for a feature. Raises InvalidRequest."""
    missing = np.array([not bag for bag in bags], dtype=bool)
    if not kind.axes:
        return _scalar_column(bags, kind)
    rows: list[int] = []
    cells: list[list[AxisKey]] = []
    values: list[Any] = []
    for row, bag in enumerate(bags):
        for term, value in bag:
            if term == "" and value == 0:
                continue
            if value is None:
                raise InvalidRequest(f"{kind.urn}: the cell {term!r} in row {row} has no value; leave it out")
            *keys, last = _split(term, kind, row)
            cells.append(
                [
                    _key_of(text, axis, kind)
                    for text, axis in zip(keys if _has_text(kind) else [*keys, last], kind.axes, strict=True)
                ]
            )
            values.append(_value_of(last, value, kind, row))
            rows.append(row)
    axes = [axis.encode_all(cell[place] for cell in cells) for place, axis in enumerate(kind.axes)]
    # Names that the vocabulary does not have fall into one cell; a term that stands twice is a mistake.
    is_once = len({(row, *cell) for row, cell in zip(rows, cells, strict=True)}) == len(rows)
    made = gathered if is_once else sparse_column
    column = made(kind, rows, axes, cell_values(values, kind, rows), len(bags), missing)
    if layout_of(kind, asked) == "sparse":
        return column
    return dense_column(dense_of(column, kind), missing, kind)


def _scalar_of(value: Any, kind: TensorType) -> tuple[str, float]:
    """Term and value of one value."""
    if kind.value_type is ValueType.STRING:
        return value, 1.0
    if kind.value_type is ValueType.BYTES:
        return base64.b64encode(value).decode(), 1.0
    number = float(value)
    if isinstance(value, int) and int(number) != value:
        raise InvalidRequest(f"{kind.urn}: no float is {value}, and names with terms have no other values")
    return "", number


def _texts_of(indices: Any, axis: Axis, kind: TensorType) -> list[str]:
    """Of all cells, the key on one axis."""
    if axis.vocabulary is not None:
        names = axis.vocabulary.name_of
        try:
            return [names[index] for index in indices.tolist()]
        except KeyError as error:
            raise InvalidRequest(f"{kind.urn}: the id {error} has no name on the axis {axis.name!r}") from None
    sign = "#" if isinstance(axis.kind, Hashed) else ""
    return [f"{sign}{index}" for index in indices.tolist()]


def _has_text(kind: TensorType) -> bool:
    return kind.value_type in _TEXTS


def _joined(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return ",".join(part.replace("%", "%25").replace(",", "%2C") for part in parts)


def _split(term: str, kind: TensorType, row: int) -> list[str]:
    """Raises InvalidRequest."""
    wanted = len(kind.axes) + _has_text(kind)
    parts = [term] if wanted == 1 else [part.replace("%2C", ",").replace("%25", "%") for part in term.split(",")]
    if len(parts) != wanted or not term:
        names = ",".join([*(axis.name for axis in kind.axes), *(["value"] if _has_text(kind) else [])])
        raise InvalidRequest(f"{kind.urn}: the term {term!r} in row {row} is not {names}")
    return parts


def _key_of(text: str, axis: Axis, kind: TensorType) -> AxisKey:
    """Raises InvalidRequest."""
    if axis.vocabulary is not None:
        return text
    if isinstance(axis.kind, Hashed):
        bucket = _BUCKET.fullmatch(text)
        return text if bucket is None else int(bucket[1])
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest(f"{kind.urn}: {text!r} is no number on the axis {axis.name!r}")
    return int(text)


def _scalar_column(bags: Sequence[Sequence[tuple[str, float | None]]], kind: TensorType) -> Any:
    values: list[Any] = []
    for row, bag in enumerate(bags):
        if len(bag) > 1:
            raise InvalidRequest(f"{kind.urn} stands {len(bag)} times in row {row}, and it is one value")
        if bag and not _has_text(kind) and bag[0][0]:
            raise InvalidRequest(
                f"{kind.urn} has the term {bag[0][0]!r} in row {row}, and it is a number without a dimension"
            )
        is_there = bool(bag) and (_has_text(kind) or not is_none(bag[0][1]))
        values.append(_value_of(*bag[0], kind, row) if is_there else None)
    return conform(values, kind)


def _value_of(term: str, value: Any, kind: TensorType, row: int) -> Any:
    """In the type of the feature. Raises InvalidRequest."""
    if not _has_text(kind):
        return _number_of(value, kind, row)
    if value != 1:
        raise InvalidRequest(
            f"{kind.urn}: the text {term!r} in row {row} has the value {value}, and a text has none but 1"
        )
    if kind.value_type is ValueType.STRING:
        return term
    try:
        return base64.b64decode(term, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{kind.urn}: {term!r} in row {row} is no base64") from None


def _number_of(value: Any, kind: TensorType, row: int) -> bool | int | float:
    """One by one: a union of Avro may have whole numbers beside floats, and Arrow would round them into one column.

    Raises InvalidRequest.
    """
    if kind.value_type is ValueType.BOOLEAN:
        if value not in (0, 1):
            raise InvalidRequest(f"{kind.urn}: {value} in row {row} is neither 0 nor 1")
        return bool(value)
    is_float = kind.value_type in (ValueType.FLOAT, ValueType.DOUBLE)
    if is_float and isinstance(value, float):
        return value
    if not isinstance(value, bool) and (is_float or -(1 << 63) <= value < 1 << 63):
        typed = float(NUMPY_TYPES[kind.value_type].type(value)) if is_float else int(value)
        if typed == value:
            return typed
    raise InvalidRequest(f"{kind.urn}: {value!r} in row {row} is not {kind.value_type.value}")
