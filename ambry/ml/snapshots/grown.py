"""What was stored with another version of a vocabulary, as the definitions that it is read with have it.

A vocabulary grows by a MINOR version, and its ids never change. So data may be older than the definitions, or newer:

    sparse    an id that the vocabulary does not have is 0, OUT_OF_VOCAB, as a name that it does not have
    dense     the tensor is as wide as the definitions say: cells of ids that came later are zero, and those of ids that the
              vocabulary does not have are in cell 0

Numbers of a row that come to lie in one cell are added up, as those of strange names are when they are written (of booleans one
is enough); of texts and bytes the first one stays. Where the widths agree nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import Axis, TensorType
from ambry.ml.features.definitions import Categorical, Discrete
from ambry.ml.snapshots.by_name import has_cells
from ambry.ml.snapshots.cells import NUMPY_TYPES, dense_of, not_zero, parts_of, sparse_column, tensor_view
from ambry.ml.snapshots.columns import conform
from ambry.ml.snapshots.dense import dense_column, is_listing, row_tensor
from ambry.ml.snapshots.described import check_described
from ambry.ml.snapshots.schema import Layout, layout_of, shape_of
from ambry.ml.snapshots.sparse import cells_column
from ambry.ml.vocab.older import as_older


def brought(column: Any, kind: TensorType) -> Any:
    """A column of a snapshot with the vocabularies of `kind`; the very same one where nothing differs.

    Raises InvalidRequest for a sum that the type has not, and for tensors of which another axis differs.
    """
    if isinstance(column.type, pa.FixedShapeTensorType):
        return _dense(column, kind)
    if not kind.axes or not any(axis.vocabulary is not None for axis in kind.axes):
        return column
    rows, axes, values = parts_of(column)
    known = _known(axes, kind)
    if all(one is other for one, other in zip(axes, known, strict=True)):
        return column
    return gathered(kind, rows, known, values, len(column), column.is_null().to_numpy(zero_copy_only=False))


def gathered(kind: TensorType, rows: Any, axes: Sequence[Any], values: Any, count: int, missing: Any) -> Any:
    """`sparse_column` of cells of which several may be one. Raises InvalidRequest for a sum that the type has not."""
    if kind.value_type not in NUMPY_TYPES and len(rows):
        places = np.stack([np.asarray(rows, np.int64), *(np.asarray(axis, np.int64) for axis in axes)], axis=1)
        first = np.sort(np.unique(places, axis=0, return_index=True)[1])
        rows, axes = np.asarray(rows)[first], [np.asarray(axis)[first] for axis in axes]
        values = values.take(pa.array(first))
    return sparse_column(kind, rows, axes, values, count, missing, add=True)


def check_stored(kind: TensorType, field: Any) -> None:
    """Raises InvalidRequest where definitions have another type than a stored field, vocabularies of any size apart."""
    check_described(kind, field)
    if isinstance(field.type, pa.FixedShapeTensorType):
        _check_shape(kind, field.type.shape)


def of_shape(kind: TensorType, shape: Sequence[int]) -> TensorType:
    """The feature as long as it was stored, without names."""
    sized = zip(kind.axes, shape, strict=True)
    return replace(kind, axes=tuple(Axis(axis.name, axis.dimension, Discrete(length), None) for axis, length in sized))


def conform_stored(values: Any, kind: TensorType, layout: Layout | None = None) -> Any:
    """`conform` of a column that was written by other versions of the vocabularies, and that does not say so.

    Raises InvalidRequest, which names the feature and the row.
    """
    try:
        column = conform(values, kind, layout)
    except InvalidRequest as error:
        if not any(axis.vocabulary is not None for axis in kind.axes):
            raise
        is_dense = layout_of(kind, layout) == "dense"
        opened = replace(kind, axes=tuple(_opened(axis) for axis in kind.axes))
        try:
            cells = cells_column(_told_apart(values, kind) if is_dense else values, opened)
        except InvalidRequest:
            # It is not for its width that it does not fit.
            raise error from None
        column = brought(cells, kind)
        if is_dense:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            column = dense_column(dense_of(column, kind), missing, kind)
        return column
    return brought(column, kind)


@dataclass(frozen=True, slots=True)
class _OpenAxis(Axis):
    """An axis of a vocabulary of which later versions were written: names are looked up, and ids are taken as they are."""

    @property
    def size(self) -> int | None:
        return None


def _opened(axis: Axis) -> Axis:
    if axis.vocabulary is None:
        return axis
    return _OpenAxis(axis.name, axis.dimension, axis.kind, axis.vocabulary)


def _told_apart(values: Any, kind: TensorType) -> Any:
    """Lists that are tensors as such, for what would take them for cells. Raises InvalidRequest."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if not is_listing(values.type) or pa.types.is_struct(values.type.value_type):
            return values
        values = values.to_pylist()
    if not isinstance(values, list):
        return values
    shape, rows = shape_of(kind), []
    for place, row in enumerate(values):
        is_tensor = isinstance(row, list) and not has_cells(row, shape)
        rows.append(row_tensor(row, kind, place) if is_tensor else row)
        if is_tensor and not rows[-1].size:
            raise InvalidRequest(f"{kind.urn}: row {place} has no cells")
    return rows


def _dense(column: Any, kind: TensorType) -> Any:
    shape, wanted = tuple(column.type.shape), shape_of(kind)
    has_gaps = any(_has_gaps(axis) for axis in kind.axes)
    if shape == wanted and not has_gaps:
        return column
    _check_shape(kind, shape)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    tensors = tensor_view(column, kind)
    if missing.any():
        tensors = np.array(tensors)
        tensors[missing] = 0
    if has_gaps or any(there > length for there, length in zip(shape, wanted, strict=True)):
        rows, *axes = not_zero(tensors)
        known = _known(axes, kind)
        if any(one is not other for one, other in zip(axes, known, strict=True)):
            values = pa.array(tensors[(rows, *axes)])
            cells = gathered(kind, rows, known, values, len(column), missing)
            return dense_column(dense_of(cells, kind), missing, kind)
        if shape == wanted:
            return column
    brought = np.zeros((len(column), *wanted), tensors.dtype)
    common = (slice(None), *(slice(min(lengths)) for lengths in zip(shape, wanted, strict=True)))
    brought[common] = tensors[common]
    return dense_column(brought, missing, kind)


def _known(axes: Sequence[Any], kind: TensorType) -> list[Any]:
    """The indices of cells on each axis; the very same ones where the vocabulary has them all."""
    pairs = zip(axes, kind.axes, strict=True)
    return [ids if axis.vocabulary is None else as_older(axis.vocabulary, ids) for ids, axis in pairs]


def _has_gaps(axis: Axis) -> bool:
    """Whether ids below the last one have no name, or had none when it was written."""
    return axis.vocabulary is not None and len(axis.vocabulary.ids) < axis.vocabulary.size


def _check_shape(kind: TensorType, shape: Sequence[int]) -> None:
    """Raises InvalidRequest for a length that is none of a vocabulary's, and another one."""
    for axis, length in zip(kind.axes, shape, strict=True):
        if not isinstance(axis.kind, Categorical) and axis.size != length:
            raise InvalidRequest(
                f"{kind.urn} has the axis {axis.name!r} of the length {axis.size}, and was written with {length}; "
                "read it with the definitions that it was written by"
            )
