"""Numbers, texts and bytes keep what they are, whatever brings them; what would change is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.columns import conform, conform_keys
from ambry.ml.snapshots.schema import arrow_type
from tests.support.feature_kinds import EXTREMES, kind_of

NUMERIC = (ValueType.INT, ValueType.LONG, ValueType.FLOAT, ValueType.DOUBLE)
WIDTHS = {ValueType.INT: 31, ValueType.LONG: 63}
DTYPES = (
    "i1",
    "u1",
    "i2",
    "u2",
    "i4",
    "u4",
    "i8",
    "u8",
    "f2",
    "f4",
    "f8",
    ">i4",
    ">i8",
    ">u8",
    ">f4",
    ">f8",
    "longdouble",
)
AT_THE_EDGES = [
    *(
        sign * (2**bits + more)
        for bits in (0, 7, 8, 15, 16, 24, 31, 32, 53, 63)
        for more in (-1, 0, 1)
        for sign in (1, -1)
    ),
    2**64 - 1,
]
FLOATS_AT_THE_EDGES = [
    0.5,
    1e-300,
    3.4028235e38,
    3.4028236e38,
    3.5e38,
    1e300,
    2.0**31,
    2.0**63,
    -(2.0**63),
    -1e19,
    np.inf,
]


def same(found: Any, value: Any) -> bool:
    """Also of the sign of zero."""
    return found == value and (not isinstance(value, float) or math.copysign(1, found) == math.copysign(1, value))


@pytest.mark.parametrize("value_type", ValueType)
def test_extreme_values_are_the_same_by_every_way(value_type: ValueType) -> None:
    values = [*EXTREMES[value_type], None]
    kind = kind_of(value_type.value)
    arrow = pa.array(values, arrow_type(value_type))
    forms: dict[str, Any] = {
        "list": values,
        "objects of numpy": np.array(values, dtype=object),
        "pandas": pd.Series(values, dtype=object),
        "pandas over Arrow": pd.Series(arrow.to_pylist(), dtype=pd.ArrowDtype(arrow.type)),
        "polars": pl.Series(values),
        "pyarrow": arrow,
        "chunks": pa.chunked_array([arrow.slice(0, 1), arrow.slice(1)]),
        "a slice": pa.concat_arrays([arrow, arrow, arrow]).slice(len(arrow), len(arrow)),
        "a dictionary": arrow.dictionary_encode() if value_type is not ValueType.BOOLEAN else arrow,
        "runs": pa.compute.run_end_encode(arrow),
    }
    if value_type in (ValueType.STRING, ValueType.BYTES):
        forms["large"] = arrow.cast(pa.large_string() if value_type is ValueType.STRING else pa.large_binary())
        forms["views"] = arrow.cast(pa.string_view() if value_type is ValueType.STRING else pa.binary_view())
    for form, column in forms.items():
        found = conform(column, kind)
        assert found.type == arrow_type(value_type), form
        assert all(same(*pair) for pair in zip(found.to_pylist(), values, strict=True)), (form, found.to_pylist())


def expected(value: Any, value_type: ValueType) -> Any:
    """What a column of the type has of an exact number; None where it is to be refused."""
    if value_type in WIDTHS:
        is_whole = not math.isinf(value) and value == int(value)
        return int(value) if is_whole and -(2 ** WIDTHS[value_type]) <= value < 2 ** WIDTHS[value_type] else None
    wide = np.float32 if value_type is ValueType.FLOAT else np.float64
    with np.errstate(over="ignore"):
        nearest = float(wide(value))
    if isinstance(value, int):
        return nearest if not math.isinf(nearest) and Fraction(nearest) == value else None
    return None if math.isinf(nearest) and not math.isinf(value) else nearest


@pytest.mark.parametrize("value_type", NUMERIC)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(), ("kinds",)], ids=["scalar", "dense"])
def test_no_number_changes_on_its_way(dtype: str, value_type: ValueType, dims: tuple[str, ...]) -> None:
    """FLOAT 1e300 became infinite, and 2**53 + 1 of a dense DOUBLE was rounded."""
    kind = kind_of(value_type.value, *dims)
    of = np.dtype(dtype)
    limits = np.iinfo(of) if of.kind in "iu" else None
    candidates = AT_THE_EDGES if limits else [*map(float, AT_THE_EDGES), *FLOATS_AT_THE_EDGES]
    for number in candidates:
        if limits and not limits.min <= number <= limits.max:
            continue
        with np.errstate(over="ignore"):
            column = np.array([0, number], dtype=of)
        value = int(column[1]) if limits else float(column[1])
        forms = [column] if dims or not of.isnative or dtype == "longdouble" else [column, pa.array(column)]
        for form in forms:
            given = np.repeat(form[:, None], 3, axis=1) if dims else form
            wanted = expected(value, value_type)
            try:
                found = conform(given, kind)
            except InvalidRequest as error:
                assert wanted is None, (dtype, value, str(error))
                assert "in row 1 is not" in str(error)
            else:
                got = found.storage.to_pylist()[1][0] if dims else found.to_pylist()[1]
                assert wanted is not None and same(got, wanted), (dtype, value, got)


@example([2**53 + 1, 0.0])
@example([2**60 + 1, 0.0])
@example([0.5, 2**53 + 1])
@given(st.lists(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False), min_size=1, max_size=3))
def test_pythons_numbers_side_by_side_are_not_rounded_in_dense_rows(values: list[Any]) -> None:
    """numpy makes floats of whole numbers that stand beside one."""
    for value_type in NUMERIC:
        kind = kind_of(value_type.value, "kinds")
        row = [*values, 0, 0][:3]
        wanted = [expected(value, value_type) for value in row]
        for rows in ([row], [row, [0, 0, 0]], [[0.5 if value_type not in WIDTHS else 0.0] * 3, None, row]):
            try:
                found = conform(rows, kind).storage.to_pylist()[rows.index(row)]
            except InvalidRequest:
                continue
            assert found == wanted


def test_nan_of_a_scalar_is_a_row_without_a_value_whatever_brings_it() -> None:
    """It was null by numpy and pandas, a number by Arrow and polars: one frame, two snapshots."""
    values = [1.5, np.nan]
    for value_type, wanted in (("FLOAT", [1.5, None]), ("DOUBLE", [1.5, None])):
        kind = kind_of(value_type)
        for form in (
            values,
            np.array(values),
            np.array(values, dtype="f4"),
            np.array(values, dtype="f2"),
            np.array(values, dtype=object),
            np.array(values, dtype=">f8"),
            np.ma.array([1.5, 7.0], mask=[False, True]),
            pd.Series(values),
            pd.Series([1.5, pd.NA], dtype="Float64"),
            pd.Series([1.5, pd.NA], dtype=object),
            pl.Series(values),
            pl.Series([1.5, None]),
            pa.array(values),
            pa.array(values, pa.float32()),
            pa.array([1.5, None]),
            [1.5, np.float32("nan")],
        ):
            assert conform(form, kind).to_pylist() == wanted
    assert conform(np.array([3, np.nan]), kind_of("INT")).to_pylist() == [3, None]
    # Of tensors and cells it is a number.
    assert np.isnan(conform(np.full((1, 3), np.nan), kind_of("FLOAT", "kinds")).storage.to_pylist()[0]).all()
    [[cell]] = conform([[(5, float("nan"))]], kind_of("DOUBLE", "days")).to_pylist()
    assert math.isnan(cell["value"])


@pytest.mark.parametrize(
    ("values", "value_type", "words"),
    [
        ([1, 2, "x"], "INT", "'x' in row 2 is of another kind than the values before, which are int64"),
        ([None, 2**70], "LONG", "1180591620717411303424 in row 1 is nothing that Arrow has"),
        (["a", "\ud800"], "STRING", "in row 1 is nothing that Arrow has"),
        (5, "INT", "this is no column"),
        ([[1], [2]], "INT", "takes INT, and the column is list"),
        (np.zeros((2, 2)), "DOUBLE", "one value for each row, and the column has the shape (2, 2)"),
        (np.array(5), "INT", "one value for each row, and the column has the shape ()"),
        (np.array([1j]), "DOUBLE", "urn:li:(n,a,1,0)"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "LONG", "takes LONG, and the column is date32"),
        ([True], "INT", "takes INT, and the column is bool"),
        ([b"x"], "STRING", "takes STRING, and the column is binary"),
        (["x"], "BYTES", "takes BYTES, and the column is string"),
        (np.array([3, 2**40]), "INT", "1099511627776 in row 1 is not INT"),
        (pa.array([None, 2**53 + 1]), "DOUBLE", "9007199254740993 in row 1 is not DOUBLE"),
    ],
)
def test_what_is_refused_is_told_with_its_row(values: Any, value_type: str, words: str) -> None:
    """A traceback of Arrow's or of Python's reached the caller."""
    with pytest.raises(InvalidRequest) as caught:
        conform(values, kind_of(value_type))
    assert words in str(caught.value) and "urn:li:(n,a,1,0)" in str(caught.value)


def test_keys_are_of_64_bits_with_a_sign() -> None:
    assert conform_keys(np.array([2**63 - 1], "u8"), "id").to_pylist() == [2**63 - 1]
    assert conform_keys(np.array([3, 1], ">i8"), "id").to_pylist() == [3, 1]
    assert conform_keys(pl.Series(["a"]), "id").to_pylist() == ["a"]
    for keys in (np.array([1, 2**63], "u8"), pa.array([1, 2**63], pa.uint64())):
        with pytest.raises(InvalidRequest, match="9223372036854775808 in row 1 is not int64"):
            conform_keys(keys, "id")
    for wrong in (5, [[1]], [1, "a"], ["\ud800"], [object()]):
        with pytest.raises(InvalidRequest, match="the column 'id'"):
            conform_keys(wrong, "id")
