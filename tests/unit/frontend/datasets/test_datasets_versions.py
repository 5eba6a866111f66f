"""Versions of datasets: their order as bytes is their own, and the next one is beyond all before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest, UpdateConflict
from ambry.rest.versions import DatasetVersion, VersionSchema, VersionToken, parse, text_of
from frontend.datasets.versions import check_new, next_version, pack, unpack

SEMANTIC, LONG = VersionSchema.SEMANTIC, VersionSchema.SEMANTIC_LONG
MONOTONIC, TIMESTAMP = VersionSchema.MONOTONIC, VersionSchema.TIMESTAMP


def versions(schema: VersionSchema) -> st.SearchStrategy[DatasetVersion]:
    largest = (1 << 63) - 1 if schema.parts == 1 else 999
    return st.tuples(*[st.integers(0, largest)] * schema.parts)


@given(st.data(), st.sampled_from(VersionSchema))
def test_versions_are_ordered_as_their_bytes_and_come_back_as_text_and_bytes(
    data: st.DataObject, schema: VersionSchema
) -> None:
    one, other = data.draw(versions(schema)), data.draw(versions(schema))
    assert (one < other) == (pack(one) < pack(other))
    assert unpack(schema, pack(one)) == one
    assert parse(schema, text_of(one)) == one


@pytest.mark.parametrize(
    ("schema", "newest", "token", "expected"),
    [
        (SEMANTIC, None, "LATEST", "0.0.1"),
        (SEMANTIC, None, "MAJOR", "1.0.0"),
        (SEMANTIC, (1, 2, 3), "MAJOR", "2.0.0"),
        (SEMANTIC, (1, 2, 3), "MINOR", "1.3.0"),
        (SEMANTIC, (1, 2, 3), "patch", "1.2.4"),
        (LONG, (1, 2, 3, 4), "PATCH", "1.2.4.0"),
        (LONG, (1, 2, 3, 4), "REVISION", "1.2.3.5"),
        (MONOTONIC, None, "LATEST", "1"),
        (MONOTONIC, (7,), "LATEST", "8"),
        (TIMESTAMP, (7,), "LATEST", "1000"),
        (TIMESTAMP, (1000,), "LATEST", "1001"),
    ],
)
def test_a_token_gives_the_next_version(
    schema: VersionSchema, newest: DatasetVersion | None, token: str, expected: str
) -> None:
    asked = parse(schema, token)
    assert isinstance(asked, VersionToken)
    assert text_of(next_version(schema, newest, asked, now_ms=1000)) == expected


def test_a_part_that_is_full_is_not_raised() -> None:
    with pytest.raises(InvalidRequest, match="raise a part before it"):
        next_version(SEMANTIC, (1, 999, 0), VersionToken.MINOR, now_ms=0)


def test_numbers_only_rise_and_semantic_versions_may_go_on_with_an_older_line() -> None:
    for schema in (MONOTONIC, TIMESTAMP):
        with pytest.raises(UpdateConflict, match="only rise"):
            check_new(schema, (7,), (7,))
        check_new(schema, (8,), (7,))
        check_new(schema, (1,), None)
    check_new(SEMANTIC, (1, 2, 4), (2, 0, 0))
