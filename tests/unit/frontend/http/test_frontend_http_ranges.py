from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import RangeNotSatisfiable
from frontend.http.ranges import (
    GAP_BYTES,
    PARTS_MAX,
    POSITION_MAX,
    RANGES_MAX,
    content_range,
    last_boundary,
    parse_ranges,
    part_head,
    spans_of,
)
from frontend.router.values import RangeSpec, Span


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
    assert parse_ranges(value) == (expected,)


@pytest.mark.parametrize(
    "value",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=1-2-3", "bytes=5-4", "bytes=--5", "bytes=+1-2",
        "bytes=,", "bytes=1-2,x", "bytes=1-2,5-4", "bytes=0-1,,a-b", "lines=1-2", "items=0-5", "bytes:1-2", "bytes 1-2",
        "bytes=1 -2",
        "bytes=0x1-0x2", "bytes=1.0-2", "bytes=²-", "bytes=١-٢", "bytes=1-2\n",
        f"bytes={'9' * 5001}-{'9' * 5000}",
    ],
)  # fmt: skip
def test_malformed_or_foreign_ranges_mean_the_whole_blob(value: str) -> None:
    assert parse_ranges(value) == ()


@given(st.text(max_size=30) | st.text("bytes=-0123456789, ", max_size=30))
def test_no_text_breaks_the_parser_and_what_it_takes_makes_sense(value: str) -> None:
    for text in (value, f"bytes={value}"):
        for spec in parse_ranges(text):
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


# --- several ranges ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-1,4-5", (RangeSpec(0, 1), RangeSpec(4, 5))),
        ("bytes=0-0 , -1", (RangeSpec(0, 0), RangeSpec(None, 1))),
        ("bytes=,1-2,\t,", (RangeSpec(1, 2),)),
        ("bytes=" + ",".join(["1-2"] * RANGES_MAX), (RangeSpec(1, 2),) * RANGES_MAX),
        ("bytes=" + ",".join(["1-2"] * (RANGES_MAX + 1)), ()),
        ("bytes=" + ",".join(["1-2"] * 2000), ()),
        ("bytes=" + "," * 4000, ()),
    ],
)
def test_several_ranges_up_to_a_bound(value: str, expected: tuple[RangeSpec, ...]) -> None:
    """RFC 9110 section 14.2: of too many the whole is the answer."""
    assert parse_ranges(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-1,400-500", [Span(0, 2), Span(400, 501)]),
        ("bytes=400-500,0-1", [Span(400, 501), Span(0, 2)]),
        ("bytes=-2,0-1", [Span(998, 1000), Span(0, 2)]),
        ("bytes=0-1,2000-3000", [Span(0, 2)]),
        # What overlaps, touches or nearly touches is one, where the first of it was asked for.
        ("bytes=0-1,2-3", [Span(0, 4)]),
        ("bytes=0-1,130-131", [Span(0, 132)]),
        ("bytes=0-1,131-132", [Span(0, 2), Span(131, 133)]),
        ("bytes=0-600,300-700", [Span(0, 701)]),
        ("bytes=900-910,0-0,300-310,1-1", [Span(900, 911), Span(0, 2), Span(300, 311)]),
        ("bytes=500-600,0-1,601-610,-1", [Span(500, 611), Span(0, 2), Span(999, 1000)]),
        ("bytes=0-,-1", [Span(0, 1000)]),
        ("bytes=3-3,3-3", [Span(3, 4)]),
        ("bytes=0-999,0-0,999-999", [Span(0, 1000)]),
        ("bytes=1000-,2000-3000", None),
        ("bytes=-0,1000-", None),
    ],
)
def test_what_several_ranges_mean_in_a_thousand_bytes(value: str, expected: list[Span] | None) -> None:
    if expected is None:
        with pytest.raises(RangeNotSatisfiable) as refused:
            spans_of(parse_ranges(value), 1000)
        assert refused.value.size == 1000
    else:
        assert spans_of(parse_ranges(value), 1000) == expected


def test_an_answer_has_a_bounded_number_of_parts() -> None:
    """RFC 9110 sections 14.2 and 17.15: who asks for many small ranges gets the whole once."""
    step = GAP_BYTES + 2
    apart = [RangeSpec(n * step, n * step) for n in range(PARTS_MAX)]
    assert spans_of(apart, 1 << 20) == [Span(n * step, n * step + 1) for n in range(PARTS_MAX)]
    assert spans_of([*apart, RangeSpec(PARTS_MAX * step, None)], 1 << 20) == []
    assert spans_of([RangeSpec(n, n) for n in range(RANGES_MAX)], 1 << 20) == [Span(0, RANGES_MAX)]


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 300)), min_size=1, max_size=RANGES_MAX),
    st.integers(1, 4200),
)
def test_joined_ranges_hold_every_byte_that_was_asked_for_once(asked: list[tuple[int, int]], size: int) -> None:
    wanted = {byte for first, count in asked for byte in range(first, first + count + 1) if byte < size}
    specs = [RangeSpec(first, first + count) for first, count in asked]
    if not wanted:
        with pytest.raises(RangeNotSatisfiable):
            spans_of(specs, size)
        return
    spans = spans_of(specs, size)
    if not spans:
        return
    sent = [byte for span in spans for byte in range(span.first, span.end)]
    assert len(sent) == len(set(sent)) and wanted <= set(sent) and max(sent) < size
    ordered = sorted(spans, key=lambda span: span.first)
    assert all(after.first - before.end > GAP_BYTES for before, after in pairwise(ordered))


def test_the_form_of_a_part() -> None:
    """RFC 9110 section 15.3.7.2"""
    assert part_head("B", "text/plain", Span(2, 5), 10) == (
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 2-4/10\r\n\r\n"
    )
    assert last_boundary("B") == b"\r\n--B--\r\n"
