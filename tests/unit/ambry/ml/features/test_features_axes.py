"""Keys to indices and back: 0 for a name that nobody knows, a refusal for anything else that does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import Axis, bucket_of
from ambry.ml.features.definitions import Categorical, Discrete, EntityKey, Hashed
from ambry.ml.features.urn import FeatureVersion, Reference
from ambry.ml.features.vocabulary import Vocabulary

DIMENSION = Reference("a", FeatureVersion(1, 0), "n")
ACTIONS = Axis("a", DIMENSION, Categorical("a.csv"), Vocabulary.of(["Comment", "Click", "Share"]))
DAYS = Axis("a", DIMENSION, Discrete(31))
ANY_DAY = Axis("a", DIMENSION, Discrete())
HASHED = Axis("a", DIMENSION, Hashed(1000))
MEMBER = Axis("a", DIMENSION, EntityKey())


def test_a_name_is_its_id_and_a_strange_one_0() -> None:
    assert [ACTIONS.encode(key) for key in ("Comment", "Share", "Reshare", "OUT_OF_VOCAB", 2)] == [1, 3, 0, 0, 2]
    assert ACTIONS.encode_all(["Comment", "Reshare", 3]) == [1, 0, 3]
    assert [ACTIONS.decode(index) for index in (0, 2, 99)] == ["OUT_OF_VOCAB", "Click", "OUT_OF_VOCAB"]


def test_how_long_axes_are() -> None:
    assert [axis.size for axis in (ACTIONS, DAYS, ANY_DAY, HASHED, MEMBER)] == [4, 31, None, 1000, None]


@pytest.mark.parametrize(
    ("axis", "key"),
    [
        (ACTIONS, 4),
        (ACTIONS, -1),
        (ACTIONS, b"Comment"),
        (DAYS, 31),
        (DAYS, -1),
        (DAYS, "3"),
        (DAYS, True),
        (ANY_DAY, 2**31),
        (HASHED, 1000),
        (HASHED, 1.5),
        (MEMBER, 2**63),
        (MEMBER, "7"),
    ],
)
def test_what_does_not_lie_on_an_axis_is_refused(axis: Axis, key: object) -> None:
    with pytest.raises(InvalidRequest, match="axis 'a'"):
        axis.encode(key)  # type: ignore[arg-type]


def test_entities_are_any_number_of_64_bits() -> None:
    assert [MEMBER.encode(key) for key in (-(2**63), 0, 2**63 - 1)] == [-(2**63), 0, 2**63 - 1]


@given(st.text(), st.integers(1, 2**31))
def test_a_text_and_its_utf8_lie_in_one_bucket(text: str, buckets: int) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    assert 0 <= bucket_of(text, buckets) == bucket_of(data, buckets) < buckets


def test_buckets_are_those_of_the_reference() -> None:
    # XXH3_64bits of the empty input, from xxHash's own tables: 0x2D06800538D394C2.
    assert bucket_of("", 2**31) == 0x2D06800538D394C2 % 2**31
