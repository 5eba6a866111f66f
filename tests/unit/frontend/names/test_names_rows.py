"""Names and intents as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.blob import NEVER_MS
from ambry.errors import DataCorrupt, FormatUnknown, InvalidRequest
from frontend.names.rows import (
    Intent,
    IntentKind,
    NamedBlob,
    decode_intent,
    decode_named,
    decode_owner,
    encode_intent,
    encode_named,
    encode_owner,
    name_key,
)
from tests.support.samples import blob_id

BLOB = b"b" * 36


@given(st.integers(0, 1 << 60), st.sampled_from([0, 5, NEVER_MS]), st.booleans())
def test_what_a_name_points_to_comes_back(size: int, expires_at_ms: int, owned: bool) -> None:
    named = NamedBlob(BLOB, size, expires_at_ms, owned)
    assert decode_named(encode_named(named)) == named


def test_the_bytes_of_a_value_never_change() -> None:
    assert (
        encode_named(NamedBlob(BLOB, 5, NEVER_MS, True)).hex()
        == "0101" + "62" * 36 + "0000000000000005" + "7fffffffffffffff"
    )


def test_the_bytes_that_say_with_which_name_a_blob_goes_never_change() -> None:
    assert encode_owner(b"x/n") == b"\x01x/n"
    assert decode_owner(b"\x01x/n") == b"x/n"
    with pytest.raises(FormatUnknown):
        decode_owner(b"\x02x/n")


@pytest.mark.parametrize("value", [b"\x01", encode_named(NamedBlob(BLOB, 1, 1, True)) + b"x"])
def test_a_value_of_another_size_is_damaged(value: bytes) -> None:
    with pytest.raises(DataCorrupt):
        decode_named(value)


@pytest.mark.parametrize("value", [b"", b"\x02" + bytes(53)])
def test_a_value_of_another_version_is_refused(value: bytes) -> None:
    with pytest.raises(FormatUnknown):
        decode_named(value)
    with pytest.raises(FormatUnknown):
        decode_intent(value)


def test_an_intent_comes_back() -> None:
    intent = Intent(IntentKind.BURY, blob_id(1), 1 << 63, "é".encode(), 7, 9, True)
    assert decode_intent(encode_intent(intent)) == intent


@pytest.mark.parametrize(
    "value", [b"\x01", b"\x01\x91\x01", encode_intent(Intent(IntentKind.POINT, b"no id", 1, b"n", 1))]
)
def test_an_intent_that_is_none_is_damaged(value: bytes) -> None:
    with pytest.raises(DataCorrupt):
        decode_intent(value)


@pytest.mark.parametrize("name", ["", "x" * 1025, "\ud800"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        name_key(name)
