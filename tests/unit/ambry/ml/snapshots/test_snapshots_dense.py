"""Tensors of one shape out of whatever holds them: the same as numpy has them, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES, tensor_view
from ambry.ml.snapshots.columns import conform
from tests.support.feature_kinds import NUMBERS, kind_of


def nested(tensors: list[Any], leaf: Any, depth: int, lengths: tuple[int, ...] = ()) -> Any:
    """Arrow's lists, fixed where `lengths` says how long they are."""
    told = leaf
    for level in reversed(range(depth)):
        told = pa.list_(told, lengths[level]) if lengths else pa.list_(told)
    return pa.array([None if row is None else row.tolist() for row in tensors], told)


@given(st.data(), st.sampled_from(sorted(NUMBERS, key=str)), st.sampled_from([1, 2]), st.integers(0, 4))
def test_every_form_of_every_type_is_numpys(data: st.DataObject, value_type: ValueType, depth: int, count: int) -> None:
    dims, shape = (("kinds",), (3,)) if depth == 1 else (("kinds", "week"), (3, 7))
    kind = kind_of(value_type.value, *dims)
    dtype, size = NUMPY_TYPES[value_type], int(np.prod(shape)) * count
    values = data.draw(st.lists(NUMBERS[value_type] | st.just(0).map(dtype.type), min_size=size, max_size=size))
    tensors = np.array(values, dtype=dtype).reshape(count, *shape)
    lacking = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    rows = [None if none else row for row, none in zip(tensors, lacking, strict=True)]
    masked = np.ma.array(tensors, mask=np.broadcast_to(np.reshape(lacking, (count, *[1] * depth)), tensors.shape))
    leaf = pa.from_numpy_dtype(dtype)
    stored = conform(rows, kind)
    objects = np.empty(count, dtype=object)
    objects[:] = rows
    forms: dict[str, Any] = {
        "arrays": objects,
        "lists": [None if row is None else row.tolist() for row in rows],
        "a masked array": masked,
        "pandas": pd.Series(rows, dtype=object),
        "lists of Arrow": nested(rows, leaf, depth),
        "fixed lists": nested(rows, leaf, depth, shape),
        "what is stored": stored,
        "a slice": conform([*rows, *rows, *rows], kind).slice(count, count),
        "polars": pl.Series(nested(rows, leaf, depth)) if count else [],
    }
    for name, form in forms.items():
        column = conform(form, kind)
        assert column.is_null().to_pylist() == lacking, name
        there = ~np.array(lacking, dtype=bool)
        assert np.array_equal(tensor_view(column, kind)[there], tensors[there]), name
        assert tensor_view(column, kind)[there].tobytes() == tensors[there].tobytes(), name
    if not any(lacking):
        turned = np.asfortranarray(tensors)
        for array in (tensors, turned, tensors.astype(dtype.newbyteorder(">")), np.repeat(tensors, 2, axis=0)[::2]):
            assert conform(array, kind).equals(stored)


def test_what_lies_under_a_null_is_nobodys() -> None:
    kind = kind_of("INT", "kinds")
    flat = pa.array([1, 2, 3, 4, 5, 6], pa.int64())
    for lists in (
        pa.ListArray.from_arrays(pa.array([0, 3, 6], pa.int32()), flat, mask=pa.array([True, False])),
        pa.FixedSizeListArray.from_arrays(flat, 3, mask=pa.array([True, False])),
    ):
        assert conform(lists, kind).to_pylist() == [None, [4, 5, 6]]
    grid = kind_of("INT", "kinds", "week")
    inner = pa.FixedSizeListArray.from_arrays(pa.array(range(42)), 7, mask=pa.array([False, True, *[False] * 4]))
    with pytest.raises(InvalidRequest, match="has a cell without a value"):
        conform(pa.FixedSizeListArray.from_arrays(inner, 3), grid)
    masked = np.ma.array(np.ones((2, 3)), mask=[[False, False, False], [False, True, False]])
    with pytest.raises(InvalidRequest, match="the tensor in row 1 has a cell without a value"):
        conform(masked, kind)
    with pytest.raises(InvalidRequest, match="the tensor in row 1 has a cell without a value"):
        conform([np.ones(3), np.ma.array([1, 2, 3], mask=[True, False, False])], kind)


def test_tensors_of_arrow_in_another_order_are_refused() -> None:
    """One of as many cells was read in the order of ours."""
    kind = kind_of("INT", "kinds", "week")
    for given_type, words in (
        (pa.fixed_shape_tensor(pa.int32(), (7, 3)), r"has the shape \(3, 7\), and the rows have \(7, 3\)"),
        (pa.fixed_shape_tensor(pa.int32(), (21,)), "and the rows have"),
        (pa.fixed_shape_tensor(pa.int32(), (3, 7), permutation=[1, 0]), "lie in another order"),
    ):
        storage = pa.array([list(range(21))], given_type.storage_type)
        with pytest.raises(InvalidRequest, match=words):
            conform(pa.ExtensionArray.from_storage(given_type, storage), kind)
        with pytest.raises(InvalidRequest):
            conform(pa.ExtensionArray.from_storage(given_type, storage), kind, "sparse")
    plain = pa.fixed_shape_tensor(pa.int64(), (3, 7), permutation=[0, 1])
    column = pa.ExtensionArray.from_storage(plain, pa.array([list(range(21))], plain.storage_type))
    assert conform(column, kind).to_pylist() == [list(range(21))]


class Vector:
    """As of Spark's machine learning."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def toArray(self) -> Any:
        return np.array(self.values)


def test_vectors_of_spark_are_rows() -> None:
    rows = [Vector([0, 1.5, 0]), None]
    assert conform(rows, kind_of("FLOAT", "kinds")).to_pylist() == [[0, 1.5, 0], None]
    assert conform(rows, kind_of("FLOAT", "kinds"), "sparse").to_pylist() == [[{"kinds": 1, "value": 1.5}], None]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1, 2, [3]]], "row 0 is no tensor"),
        ([[1, 2, 3], [1, 2, "x"]], "takes INT"),
        ([[1, 2, 3], 5], "row 1 has ()"),
        ([[1, 2, 3], "abc"], "row 1 has ()"),
        ([[1, 2, None]], "row 0 has (3,)"),
        ([[1, 2, 2**70]], "row 0 has (3,)"),
        ([[1, 2, 2**40], [0.0, 1.0, 2.0]], "1099511627776 in row 0 is not INT"),
        ([None, [1, 2, 2**40]], "1099511627776 in row 1 is not INT"),
        (pa.array([["a", "b", "c"]]), "takes INT, and the cells are string"),
        (pa.array([1, 2, 3]), "and the column is int64: a list of numbers is wanted"),
        (5, "the column is nothing that a dense one is made of"),
        ([object()], "row 0 has ()"),
    ],
)
def test_what_is_no_tensor_is_refused_with_its_row(values: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        conform(values, kind_of("INT", "kinds"))
    assert words in str(caught.value) and "urn:li:(n,a,1,0)" in str(caught.value)
