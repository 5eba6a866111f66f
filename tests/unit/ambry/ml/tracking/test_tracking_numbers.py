"""Versions of datasets as whole numbers: one for one, in the same order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry import InvalidRequest
from ambry.ml.tracking.numbers import number_of, version_at

PART = st.integers(0, 999)


@pytest.mark.parametrize(
    ("schema", "version", "number"),
    [
        ("MONOTONIC", "7", 7),
        ("TIMESTAMP", "1764280000000", 1_764_280_000_000),
        ("SEMANTIC", "1.2.3", 1_002_003),
        ("SEMANTIC", "0.0.1", 1),
        ("SEMANTIC", "999.999.999", 999_999_999),
        ("SEMANTIC_LONG", "1.2.3.4", 1_002_003_004),
    ],
)
def test_a_version_has_a_number_and_a_number_a_version(schema: str, version: str, number: int) -> None:
    assert number_of(version) == number
    assert version_at(number, schema) == version_at(str(number), schema) == version_at(version, schema) == version


@given(st.lists(st.tuples(PART, PART, PART), min_size=2, max_size=2))
def test_numbers_are_ordered_as_versions_are(parts: list[tuple[int, int, int]]) -> None:
    one, other = (number_of(".".join(map(str, each))) for each in parts)
    assert (one < other) == (parts[0] < parts[1]) and (one == other) == (parts[0] == parts[1])


@pytest.mark.parametrize(
    ("number", "schema"), [("x", "MONOTONIC"), ("-1", "MONOTONIC"), (10**9, "SEMANTIC"), ("1.x.3", "SEMANTIC")]
)
def test_what_is_no_number_is_refused(number: str | int, schema: str) -> None:
    with pytest.raises(InvalidRequest):
        version_at(number, schema)


@pytest.mark.parametrize("version", ["", "1.2", "1.2.3.4.5", "LATEST", "@champion", "1000.0.0", "٣"])
def test_what_is_no_version_has_no_number(version: str) -> None:
    with pytest.raises(InvalidRequest):
        number_of(version)
