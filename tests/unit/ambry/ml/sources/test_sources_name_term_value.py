"""Typed columns as names, terms and values, there and back; and what is refused because it would not come back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.columns import conform
from ambry.ml.snapshots.scalars import cell_values, scalar_column
from ambry.ml.sources.name_term_value import column_from, triples_of

TEXT = """\
age: {valType: LONG}
flag: {valType: BOOLEAN}
title: {valType: STRING}
raw: {valType: BYTES}
actions: {valType: INT, dims: [kinds-1-0, seen-1-0]}
weeks: {valType: FLOAT, dims: [kinds-1-0]}
words: {valType: DOUBLE, dims: [words-1-0]}
notes: {valType: STRING, dims: [kinds-1-0]}
gaps: {valType: INT, dims: [gaps-1-0]}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
gaps: {type: categorical : {idMappingFile: "gaps.csv"}}
seen: {type: discrete}
words: {type: hashed : {buckets: 100}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, "50% off, now"
// (gaps.csv)
0, OUT_OF_VOCAB
5, Five
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
NUMBERS = FeatureMetadata.of(
    [
        parse_definitions(
            "places: {type: discrete}\n"
            + "".join(
                f"{name}: {{valType: {name}}}\n{name}s: {{valType: {name}, dims: [places-1-0]}}\n"
                for name in ("INT", "LONG", "FLOAT", "DOUBLE")
            ),
            "n",
        )
    ]
)
EDGES = st.sampled_from([sign * (1 << power) for power in (0, 24, 31, 53, 62) for sign in (1, -1)])
FLOAT = next(urn for urn in NUMBERS.urns if urn.name == "FLOAT")
LONGS = st.builds(int.__add__, EDGES, st.integers(-3, 3)) | st.integers(-(1 << 63), (1 << 63) - 1)


def kind(name: str) -> Any:
    return METADATA.tensor_type(f"urn:li:(n,{name},1,0)")


@pytest.mark.parametrize(
    ("name", "values", "triples"),
    [
        ("age", [7, None], [[("age", "", 7.0)], []]),
        ("flag", [True, False], [[("flag", "", 1.0)], [("flag", "", 0.0)]]),
        ("title", ["a,b%", ""], [[("title", "a,b%", 1.0)], [("title", "", 1.0)]]),
        ("raw", [b"\x00\xff"], [[("raw", "AP8=", 1.0)]]),
        (
            "actions",
            [[(2, 7, 3), ("Comment", 0, 0)], [], None],
            [[("actions", "Comment,0", 0.0), ("actions", "50%25 off%2C now,7", 3.0)], [("actions", "", 0.0)], []],
        ),
        (
            "weeks",
            [np.array([0, 0.5, 2]), np.zeros(3), None],
            [[("weeks", "Comment", 0.5), ("weeks", "50% off, now", 2.0)], [("weeks", "", 0.0)], []],
        ),
        ("words", [np.eye(100)[7]], [[("words", "#7", 1.0)]]),
        ("notes", [[(1, "a,b")]], [[("notes", "Comment,a%2Cb", 1.0)]]),
    ],
)
def test_there_and_back(name: str, values: list[Any], triples: list[Any]) -> None:
    column = conform(values, kind(name))
    assert triples_of(column, kind(name), name) == triples
    bags = [[(term, value) for _, term, value in row] for row in triples]
    assert column_from(bags, kind(name)).equals(column)


def test_names_become_ids_and_texts_become_buckets() -> None:
    cells = column_from([[("Reshare,1", 2.0)]], kind("actions"))
    assert cells.to_pylist() == [[{"kinds": 0, "seen": 1, "value": 2}]]
    words = column_from([[("hello", 2.0)]], kind("words"), "sparse")
    assert words.to_pylist() == [[{"words": 89, "value": 2.0}]]


@pytest.mark.parametrize(
    ("name", "bag", "words"),
    [
        ("age", [("", 0.5)], "0.5 in row 0 is not LONG"),
        ("age", [("", 1.0), ("", 2.0)], "stands 2 times in row 0"),
        ("age", [("x", 1.0)], "has the term 'x' in row 0"),
        ("age", [("", 1e300)], "1e\\+300 in row 0 is not LONG"),
        ("age", [("", 2.0**63)], "9.223372036854776e\\+18 in row 0 is not LONG"),
        ("age", [("", float("inf"))], "inf in row 0 is not LONG"),
        ("age", [("", True)], "True in row 0 is not LONG"),
        ("flag", [("", 2.0)], "is neither 0 nor 1"),
        ("actions", [("Comment,1", float("nan"))], "nan in row 0 is not INT"),
        ("words", [("#7", (1 << 53) + 1)], "9007199254740993 in row 0 is not DOUBLE"),
        ("weeks", [("Comment", (1 << 24) + 1)], "16777217 in row 0 is not FLOAT"),
        ("title", [("a", 0.5)], "a text has none but 1"),
        ("raw", [("?", 1.0)], "is no base64"),
        ("actions", [("Comment", 1.0)], "the term 'Comment' in row 0 is not kinds,seen"),
        ("actions", [("Comment,x", 1.0)], "'x' is no number on the axis 'seen'"),
        ("actions", [("Comment,1", 1.0), ("Comment,1", 2.0)], "stands twice in row 0"),
        ("weeks", [("", 1.0)], "the term '' in row 0 is not kinds"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, bag: list[tuple[str, float]], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        column_from([bag], kind(name))


def test_nan_is_a_number_in_a_cell_and_none_alone() -> None:
    """A cell of NaN became null, in a field that has no nulls, where every other source had NaN."""
    [[cell]] = column_from([[("#7", math.nan)]], kind("words"), "sparse").to_pylist()
    assert math.isnan(cell["value"])
    assert math.isnan(column_from([[("Comment", math.nan)]], kind("weeks")).to_pylist()[0][1])
    for name in ("age", "flag"):
        assert column_from([[("", math.nan)], [("", None)], [("", 1.0)]], kind(name)).to_pylist() == [None, None, 1]


def test_whole_numbers_and_floats_of_one_union_are_not_rounded_together() -> None:
    """Arrow's own error for such a mix ended `ambry features import` with a traceback."""
    large = (1 << 53) + 1
    assert column_from([[("", large)], [("", 3.0)], []], kind("age")).to_pylist() == [large, 3, None]
    assert column_from([[("", -(2.0**63))]], kind("age")).to_pylist() == [-(1 << 63)]
    cells = column_from([[("Comment,1", 2.0), ("Comment,2", 7)]], kind("actions")).to_pylist()
    assert [cell["value"] for cell in cells[0]] == [2, 7]
    words = column_from([[("#7", 0.5)], [("#7", 2)]], kind("words"), "sparse").to_pylist()
    assert [cell["value"] for [cell] in words] == [0.5, 2.0]


@given(
    st.sampled_from([urn for urn in NUMBERS.urns if not urn.name.endswith("s")]),
    st.lists(LONGS | st.floats() | st.booleans(), max_size=4),
)
@example(FLOAT, [None, (1 << 24) + 1, 0.5])
@example(FLOAT, [1e300, 0.1, 1 << 24])
def test_a_number_of_a_union_is_what_it_is_in_a_column_of_its_own(urn: Any, values: list[Any]) -> None:
    """A FLOAT took 16777217 for 16777216, where a column of whole numbers refuses it."""
    alone, within = NUMBERS.tensor_type(urn), NUMBERS.tensor_type(f"urn:li:(n,{urn.name}s,1,0)")
    wanted = outcome(lambda: [each for value in values for each in scalar_column([value], alone).to_pylist()])
    assert outcome(lambda: column_from([[("", value)] for value in values], alone).to_pylist()) == wanted
    numbers = [value for value in values if value is not None]
    wanted = outcome(lambda: [each for number in numbers for each in cell_values([number], within, [0]).to_pylist()])
    bag = [(str(place), number) for place, number in enumerate(numbers, 1)]
    found = outcome(lambda: [cell["value"] for cell in column_from([bag or [("", 0.0)]], within).to_pylist()[0]])
    assert found == wanted


def outcome(make: Any) -> str:
    try:
        return repr(make())
    except InvalidRequest:
        return "refused"


def test_what_would_not_come_back_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no float is 9007199254740993"):
        triples_of(pa.array([(1 << 53) + 1]), kind("age"), "age")
    with pytest.raises(InvalidRequest, match="the id 3 has no name on the axis 'gaps'"):
        triples_of(conform([[(3, 1)]], kind("gaps"), "sparse"), kind("gaps"), "gaps")
