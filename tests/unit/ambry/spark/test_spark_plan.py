"""Which pieces a query reads: no row that is wanted is ever left out, and tasks have each piece once."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.spark.plan import (
    SPLIT_SIZE,
    SPLIT_SIZE_MIN,
    ColumnCondition,
    FilePiece,
    conditions_in,
    split_size_of,
    tasks,
    wanted,
)

HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = st.integers(-20, 20)
FLOATS = st.sampled_from([float("nan"), float("inf"), -float("inf"), -1.5, -0.0, 0.0, 2.5, 1e300])


def as_spark_compares(value: Any, condition: ColumnCondition) -> bool:
    """NaN equals NaN and is greater than all else."""

    def key(each: Any) -> tuple[bool, Any]:
        return (True, 0.0) if each != each else (False, each)

    if condition.comparison == "in":
        return any(key(value) == key(each) for each in condition.values)
    return HOLDS[condition.comparison](key(value), key(condition.values[0]))


def piece_of(number: int, values: list[Any]) -> FilePiece:
    """With bounds as Parquet has them, which leave out NaN."""
    real = [value for value in values if value == value]
    bounds = {"k": (min(real), max(real))} if real else {}
    return FilePiece(number, len(values), 10, bounds)


def conditions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[ColumnCondition]:
    compared = st.builds(
        lambda how, value: ColumnCondition("k", how, (value,)), st.sampled_from(["<", "<=", ">", ">="]), values
    )
    return compared | st.builds(lambda many: ColumnCondition("k", "in", tuple(many)), st.lists(values, max_size=3))


@given(
    st.one_of(
        *(
            st.tuples(
                st.lists(st.lists(values, max_size=4), max_size=6), st.lists(conditions(values), min_size=1, max_size=3)
            )
            for values in (NUMBERS, FLOATS)
        )
    )
)
def test_no_row_that_is_wanted_is_left_out(case: tuple[list[list[Any]], list[ColumnCondition]]) -> None:
    groups, asked = case
    kept = {piece.number for piece in wanted([piece_of(*each) for each in enumerate(groups)], asked)}
    needed = {
        number
        for number, values in enumerate(groups)
        if any(all(as_spark_compares(value, condition) for condition in asked) for value in values)
    }
    assert needed <= kept


def test_pieces_that_cannot_have_a_row_are_left_out() -> None:
    pieces = [piece_of(number, [number * 10, number * 10 + 9]) for number in range(5)]
    asked = [
        (ColumnCondition("k", "in", (17, 33)), [1, 3]),
        (ColumnCondition("k", "in", ()), []),
        (ColumnCondition("k", "<", (10,)), [0]),
        (ColumnCondition("k", "<=", (10,)), [0, 1]),
        (ColumnCondition("k", ">", (39,)), [4]),
        (ColumnCondition("k", ">=", (39,)), [3, 4]),
        (ColumnCondition("other", "in", (1,)), [0, 1, 2, 3, 4]),
        (ColumnCondition("k", "in", ("text",)), [0, 1, 2, 3, 4]),
    ]
    for condition, kept in asked:
        assert [piece.number for piece in wanted(pieces, [condition])] == kept, condition


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 100))
def test_tasks_have_each_piece_once_and_are_not_too_large(sizes: list[int], split: int) -> None:
    pieces = [FilePiece(number, 1, size, {}) for number, size in enumerate(sizes)]
    made = tasks(pieces, split)
    assert [piece for each in made for piece in each] == pieces
    for each in made:
        assert each and (len(each) == 1 or sum(piece.size for piece in each) <= split)
    for one, following in pairwise(made):
        assert sum(piece.size for piece in one) + following[0].size > split


def test_conditions_are_read_as_they_are_written() -> None:
    assert conditions_in("") == []
    assert conditions_in('k >= -1 and w in ("a", "b") and k == 3') == [
        ColumnCondition("k", ">=", (-1,)),
        ColumnCondition("w", "in", ("a", "b")),
        ColumnCondition("k", "in", (3,)),
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('w in ("ab")', ("ab",)),
        ("w in ( 'a' 'b' )", ("ab",)),
        ('w in (("ab"))', ("ab",)),
        ("w in (\n17)", (17,)),
        ("w in (-17)", (-17,)),
        ('"é" == "é" and w in ("ab")', None),
        ('k in ("é") and w in ("ab")', ("ab",)),
        ('w in (b"ab")', (b"ab",)),
        ('w in ["ab"]', ("ab",)),
        ("w in {17}", (17,)),
        ("w in ()", ()),
    ],
)
def test_a_value_in_parentheses_is_a_list_of_one(text: str, values: tuple[Any, ...] | None) -> None:
    """Of a text, the letters were taken for values: row groups with rows that are wanted were left out."""
    if values is None:
        with pytest.raises(InvalidRequest, match="no list of conditions"):
            conditions_in(text)
    else:
        assert conditions_in(text)[-1] == ColumnCondition("w", "in", values)


@pytest.mark.parametrize("text", ["k == 9007199254740992.0", "k in (0, 9007199254740992.0)", "k <= 9007199254740992.0"])
def test_whole_numbers_are_compared_with_floats_as_spark_does(text: str) -> None:
    odd = 2**53 + 1
    assert wanted([FilePiece(0, 1, 1, {"k": (odd, odd)})], conditions_in(text))
    assert not wanted([FilePiece(0, 1, 1, {"k": (odd + 9, odd + 9)})], conditions_in(text))


def test_floats_are_compared_with_whole_numbers_as_spark_does() -> None:
    large = float(2**53)
    for text in (f"k == {2**53 + 1}", f"k >= {2**53 + 1}", f"k < {10**400}"):
        assert wanted([FilePiece(0, 1, 1, {"k": (large, large)})], conditions_in(text))


@pytest.mark.parametrize(
    "said", ["-" * 9_000 + "1", "1+" * 40_000 + "1", "a" + ".a" * 40_000, "(" * 150, "x" * 200_000]
)
def test_conditions_that_are_too_deep_or_long_are_refused(said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^prune "):
        conditions_in(f"k == {said}")


@pytest.mark.parametrize(
    "text",
    [
        *("k", "k = 1", "1 < k", "k < j", "0 < k < 1", "k == 1 or k == 2", "f(k) == 1", "k in 3", "k != 1"),
        *('w in "ab"', 'w in b"ab"', '(w in "ab")', 'w in {"a": 1}', "k == (1, 2)"),
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no list of conditions"):
        conditions_in(text)


def test_columns_are_called_as_it_is_written() -> None:
    """Python takes ﬁ for fi: where both were asked of, both were asked of one of them, and wanted rows were left out."""
    asked = conditions_in('ﬁ == 2 and fi == 9 and w == "fi" and ﬁ < 3')
    assert [each.column for each in asked] == ["ﬁ", "fi", "w", "ﬁ"]


def test_few_columns_are_for_many_tasks_and_many_for_no_more_than_it_takes() -> None:
    for size, expected in ((1_000, SPLIT_SIZE_MIN), (400 << 20, 25 << 20), (64 << 30, SPLIT_SIZE)):
        assert split_size_of([FilePiece(0, 1, size // 2, {}), FilePiece(1, 1, size // 2, {})]) == expected


@pytest.mark.parametrize("text", ["d == 0.1", "d in (7, 0.1)", "d <= 0.1", "d >= 0.1"])
def test_decimals_are_compared_with_what_was_written(text: str) -> None:
    tenth = Decimal("0.10")
    assert wanted([FilePiece(0, 1, 1, {"d": (tenth, tenth)})], conditions_in(text))


@pytest.mark.parametrize("ends", [(math.nan, 2.5), (1.5, math.nan), (math.nan, math.nan), (9.0, 1.0)])
@pytest.mark.parametrize("text", ["k < 2", "k <= 2", "k == 1.5", "k in (1.5, 9)", "k > 2", "k >= 2"])
def test_what_are_no_bounds_say_nothing(ends: tuple[float, float], text: str) -> None:
    """Older writers have NaN among them: nothing is less or greater than that, and row groups were left out."""
    assert wanted([FilePiece(0, 1, 1, {"k": ends})], conditions_in(text))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("0.10000000000000000555"), "k == 0.1"),
        (Decimal("0.10000000000000000555"), "k <= 1e-1"),
        (Decimal("0.10000000000000000555"), "k in (7, 0.1)"),
        (Decimal("12345678901234567890"), "k == 1.2345678901234567e19"),
        (Decimal("3.00"), "k == 3"),
        (float(np.float32(0.7)), "k == 0.7"),
        (float(np.float32(0.7)), "k >= 0.7"),
        (float(2**24), f"k == {2**24 + 1}"),
        (7, "k == True"),
        (True, "k == 1"),
        (7, 'k == "7"'),
        (7, 'k == "07"'),
        (7, 'k == " 7"'),
        (7, 'k < "7.5"'),
        (7, 'k == "7.5"'),  # Spark without ANSI makes 7 of it.
        (7, 'k >= "7.5"'),
        (-7, 'k <= "-7.5"'),
        (7, 'k in ("x", "9")'),
        (Decimal("7.00"), 'k == "7"'),
        (Decimal(2**60), f'k == "{2**60 + 1}"'),
        (float(np.float32(2**24)), f'k == "{2**24 + 1}"'),
        (float("7.5"), 'k > "8"'),
        (True, 'k == "1"'),
        (False, 'k == "f"'),
        (date(2026, 1, 1), 'k == "2026-01-01"'),
        (date(2026, 1, 1), 'k < "2026-1-1"'),
        (date(2026, 1, 1), 'k > "2026-02-31"'),
        (date(2026, 1, 1), 'k > "2026-01-01 12:00:00"'),
        (datetime(2026, 1, 1), 'k == "2026-02-01"'),  # As bounds without a zone are.
        (datetime(2026, 1, 1, tzinfo=UTC), 'k == "2026-02-01"'),
        ("7", "k == 7.0"),
        (b"7", 'k == "7"'),
        (date(2026, 1, 1), "k == 20454"),
    ],
)
def test_types_that_spark_makes_one_of_say_no_only_where_each_of_them_does(value: Any, text: str) -> None:
    """Decimals were compared with a double as it is written, where Spark makes doubles of both; and the like."""
    assert wanted([FilePiece(0, 1, 1, {"k": (value, value)})], conditions_in(text))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("0.10"), "k == 0.2"),
        (Decimal(2**60), f"k == {2**60 + 1}"),
        (2**60, f"k == {2**60 + 1}"),
        (0.1, "k == 0.10000001"),
        (float(np.float32(0.7)), "k < 0.69"),
        ("a", 'k > "a"'),
        (True, "k == False"),
        (b"a", 'k == b"b"'),
        (7, 'k == "8"'),
        (7, 'k in ("8", "-9")'),
        (7, 'k > "8"'),
        (Decimal("7.50"), 'k == "8"'),
        (7.5, 'k <= "7"'),
        (date(2026, 1, 1), 'k == "2026-01-02"'),
        (date(2026, 1, 1), 'k in ("2025-12-31", "2026-01-02")'),
        (date(2026, 1, 1), 'k < "2026-01-01"'),
        (date(2026, 1, 1), 'k > "2026-01-01"'),
    ],
)
def test_what_cannot_be_equal_in_any_type_is_left_out(value: Any, text: str) -> None:
    assert not wanted([FilePiece(0, 1, 1, {"k": (value, value)})], conditions_in(text))
