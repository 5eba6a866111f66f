"""What is a version of a dataset, said once: the store, whoever publishes to it, and MLflow's numbers agree."""

from __future__ import annotations

from contextlib import suppress
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ambry.client.datasets import Schema
from ambry.errors import InvalidRequest
from ambry.ml.datasets import check_version_for
from ambry.ml.tracking.numbers import number_of, version_at
from ambry.rest.versions import DatasetVersion, VersionSchema, VersionToken, numbers_of, parse, text_of

SEMANTIC, LONG = VersionSchema.SEMANTIC, VersionSchema.SEMANTIC_LONG
MONOTONIC, TIMESTAMP = VersionSchema.MONOTONIC, VersionSchema.TIMESTAMP
WORDS = [*VersionToken.__members__, "latest", "Minor", "nonsense", "", "@champion", "v1", "1.2.3", "1.2.3.4", "1.2"]
NUMBERS = ["0", "01", "007", "999", "1000", "-1", "+1", " 1", "1\n", "1_0", "\u0661"]
NUMBERS += [str((1 << 63) - 1), str(1 << 63), "1" * 20]
TEXTS = st.one_of(
    st.sampled_from(WORDS + NUMBERS),
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=5).map(".".join),
    st.text(max_size=8),
)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (SEMANTIC, "1.2"), (SEMANTIC, "1.2.3.4"), (SEMANTIC, "1.2.1000"), (SEMANTIC, "01.2.3"), (SEMANTIC, "1.2.-3"),
        (SEMANTIC, ""), (SEMANTIC, "1.2.x"), (SEMANTIC, "REVISION"), (LONG, "1.2.3"), (MONOTONIC, "1.2.3"),
        (MONOTONIC, "MAJOR"), (MONOTONIC, "x"), (TIMESTAMP, "9223372036854775808"), (TIMESTAMP, "1e3"), (MONOTONIC, "٣"),
    ],
)  # fmt: skip
def test_what_is_no_version_is_refused(schema: VersionSchema, text: str) -> None:
    with pytest.raises(InvalidRequest, match=schema.value):
        parse(schema, text)


def test_a_refusal_says_what_a_version_looks_like() -> None:
    for schema, words in (
        (SEMANTIC, "a version of the schema SEMANTIC is 3 numbers from 0 to 999, as in 1.2.3, and not 'x'"),
        (MONOTONIC, "a version of the schema MONOTONIC is one number, and not 'x'"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            parse(schema, "x")
        assert refused.value.message == words


def test_the_client_and_the_store_have_the_same_schemas() -> None:
    assert set(get_args(Schema)) == set(VersionSchema.__members__)


@given(st.sampled_from(VersionSchema), TEXTS)
@example(MONOTONIC, "007")
@example(SEMANTIC, "01.2.3")
@example(MONOTONIC, str(1 << 63))
def test_all_who_read_a_version_take_the_same_texts(schema: VersionSchema, text: str) -> None:
    """MLflow's numbers took 01.2.3 for 1.2.3, and a number beyond 63 bits, which no dataset has."""
    found: DatasetVersion | VersionToken | None = None
    with suppress(InvalidRequest):
        found = parse(schema, text)
    if found is None:
        with pytest.raises(InvalidRequest, match="is no version of a dataset"):
            check_version_for(schema.value, text)
    else:
        check_version_for(schema.value, text)
    if isinstance(found, tuple):
        assert numbers_of(text) == found and text_of(found) == text
        assert version_at(number_of(text), schema.value) == text
    elif all(not _is(other, text) for other in VersionSchema):
        for read in (numbers_of, number_of):
            with pytest.raises(InvalidRequest, match="is no version of a dataset"):
                read(text)


def _is(schema: VersionSchema, text: str) -> bool:
    with suppress(InvalidRequest):
        return isinstance(parse(schema, text), tuple)
    return False
