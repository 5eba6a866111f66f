from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import RangeNotSatisfiable
from frontend.http.ranges import POSITION_MAX, content_range, parse_range
from frontend.router.values import RangeSpec


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-499", RangeSpec(0, 499)),
        ("bytes=500-999", RangeSpec(500, 999)),
        ("bytes=-500", RangeSpec(None, 500)),
        ("bytes=9500-", RangeSpec(9500, None)),
        ("bytes=0-0", RangeSpec(0, 0)),
        ("bytes=-1", RangeSpec(None, 1)),
        ("bytes=-0", RangeSpec(None, 0)),
        ("Bytes=1-2", RangeSpec(1, 2)),
        ("bytes=\t 1-2 ", RangeSpec(1, 2)),
        ("bytes=00-01", RangeSpec(0, 1)),
        # Of any number of digits: 20 of them once meant the whole blob.
        (f"bytes=0-{'9' * 20}", RangeSpec(0, POSITION_MAX)),
        (f"bytes={'9' * 20}-", RangeSpec(POSITION_MAX, None)),
        (f"bytes={'9' * 5000}-{'9' * 5000}", RangeSpec(POSITION_MAX, POSITION_MAX)),
        (f"bytes=-{'9' * 5000}", RangeSpec(None, POSITION_MAX)),
        (f"bytes={'0' * 5000}7-8", RangeSpec(7, 8)),
    ],
)
def test_a_single_range_of_rfc_9110_section_14_1_2(value: str, expected: RangeSpec) -> None:
    assert parse_range(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=1-2-3", "bytes=5-4", "bytes=--5", "bytes=+1-2",
        "bytes=1-2,4-5", "bytes=0-0,-1", "bytes=1-2,", "lines=1-2", "items=0-5", "bytes:1-2", "bytes 1-2", "bytes=1 -2",
        "bytes=0x1-0x2", "bytes=1.0-2", "bytes=²-", "bytes=١-٢", "bytes=1-2\n",
        f"bytes={'9' * 5001}-{'9' * 5000}",
    ],
)  # fmt: skip
def test_several_malformed_or_foreign_ranges_mean_the_whole_blob(value: str) -> None:
    assert parse_range(value) is None


@given(st.text(max_size=30) | st.text("bytes=-0123456789, ", max_size=30))
def test_no_text_breaks_the_parser_and_what_it_takes_makes_sense(value: str) -> None:
    for text in (value, f"bytes={value}"):
        spec = parse_range(text)
        if spec is not None:
            assert spec.first is not None or spec.last is not None
            if spec.first is not None and spec.last is not None:
                assert 0 <= spec.first <= spec.last


@given(st.integers(0, 40), st.integers(0, 40) | st.none(), st.integers(0, 40) | st.none())
def test_a_resolved_range_lies_in_the_blob_and_says_so(size: int, first: int | None, last: int | None) -> None:
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        return
    body = bytes(range(size))
    try:
        span = RangeSpec(first, last).resolve(size)
        begin, end = span.first, span.end
    except RangeNotSatisfiable as error:
        assert error.size == size
        assert first >= size if first is not None else not (size and last)
        return
    assert 0 <= begin < end <= size
    assert content_range(begin, end, size) == f"bytes {begin}-{end - 1}/{size}"
    expected = body[-last:] if first is None and last else body[first : None if last is None else last + 1]
    assert body[begin:end] == expected
