"""Thrift's compact form, by bytes that its specification gives. Whole footers: test_ml_parquet_footer.py."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ambry.ml.compact_thrift import BINARY, I32, I64, CompactThrift


def test_values_are_read_and_others_passed_by() -> None:
    data = bytes.fromhex("15 8001 18 03 616263 29 26 02 03 1c 15 02 00 11 27") + bytes(8) + b"\x00"
    assert CompactThrift(data).struct({1: I32, 2: BINARY, 4: (I64,), 5: {1: I32}}) == {
        1: 64,
        2: b"abc",
        4: [1, -2],
        5: {1: 1},
    }
    reader = CompactThrift(data)
    assert reader.struct({}) == {} and reader.place == len(data)


@pytest.mark.parametrize(
    ("data", "raised"),
    [
        (b"\x15", IndexError),
        (b"\x18\x05abc", IndexError),
        (b"\x19\xf6\xff\xff\x03", IndexError),  # A list of more elements than there are bytes.
        (b"\x15" + b"\xff" * 10 + b"\x01\x00", pa.ArrowInvalid),
        (b"\x1d\x00", pa.ArrowInvalid),  # No kind.
        (b"\x05\x00\x02\x00", pa.ArrowInvalid),  # The field 0.
        (b"\x15\x02\x05\x02\x02\x00", pa.ArrowInvalid),  # One field twice.
    ],
)
def test_what_is_none_is_an_error(data: bytes, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        CompactThrift(data).struct({1: I32})
