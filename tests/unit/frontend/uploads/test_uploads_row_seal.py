"""What rows of a sealed session hold: the same each time, and open in their own place alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import DataCorrupt
from frontend.uploads.row_seal import RowSeal, new_seal_key

KEY = new_seal_key()
SEAL = RowSeal(KEY)


@given(st.binary(max_size=100), st.binary(max_size=40))
def test_a_text_is_encrypted_alike_each_time_and_comes_back(plain: bytes, place: bytes) -> None:
    closed = SEAL.close(plain, place)
    assert closed == RowSeal(KEY).close(plain, place)
    assert len(closed) == len(plain) + 16
    assert SEAL.open(closed, place) == plain


@given(st.binary(min_size=1, max_size=64), st.data())
def test_any_change_of_it_of_its_place_or_of_the_key_is_refused(plain: bytes, data: st.DataObject) -> None:
    closed = SEAL.close(plain, b"here")
    at = data.draw(st.integers(0, 8 * len(closed) - 1))
    flipped = bytearray(closed)
    flipped[at // 8] ^= 1 << at % 8
    cut = closed[: data.draw(st.integers(0, len(closed) - 1))]
    other = RowSeal(new_seal_key())
    for seal, text, place in (
        (SEAL, bytes(flipped), b"here"),
        (SEAL, cut, b"here"),
        (SEAL, closed + b"\0", b"here"),
        (SEAL, closed, b"there"),
        (other, closed, b"here"),
    ):
        with pytest.raises(DataCorrupt):
            seal.open(text, place)
