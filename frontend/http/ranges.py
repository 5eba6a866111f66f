"""The Range header (RFC 9110 section 14), and the form of an answer with several ranges (section 14.6)."""

from __future__ import annotations

from collections.abc import Sequence

from ambry.errors import RangeNotSatisfiable
from frontend.router.values import RangeSpec, Span

POSITION_MAX = 1 << 60
"""Beyond every blob; a position behind it, of any number of digits, counts as this one."""

RANGES_MAX = 64
"""That one request may ask for; who asks for more gets the whole, which section 14.2 allows."""
PARTS_MAX = 16
"""That one answer may have, once what overlaps or nearly touches was joined: each is a read of its own."""
GAP_BYTES = 128
"""Between two ranges; what stands around a part takes as much, so they are sent as one (section 14.2)."""


def parse_ranges(value: str) -> tuple[RangeSpec, ...]:
    """The byte ranges that a header asks for; none where it must or may be ignored, which means the whole blob.

    Malformed ranges, those of another unit and those that end before they begin must be ignored (sections 14.1.1 and 14.2).
    More than RANGES_MAX may be, as section 14.2 says of those that are many and small.
    """
    unit, separator, text = value.partition("=")
    if not separator or unit.strip(" \t").lower() != "bytes":
        return ()
    specs: list[RangeSpec] = []
    for element in text.split(",", 4 * RANGES_MAX):
        element = element.strip(" \t")
        if not element:
            continue
        spec = _parse_one(element)
        if spec is None:
            return ()
        specs.append(spec)
    return tuple(specs) if len(specs) <= RANGES_MAX else ()


def spans_of(specs: Sequence[RangeSpec], size: int) -> list[Span]:
    """What several ranges mean in a blob of `size` bytes, in the order they were asked for; those outside it are left out.

    Those that overlap, or have a gap between them that is no longer than GAP_BYTES, are one, which stands where the first of
    them was asked for. So no byte is sent twice, however often it is asked for. None where more than PARTS_MAX remain: the
    whole is the answer. Raises RangeNotSatisfiable where all lie outside.
    """
    if len(specs) == 1:
        return [specs[0].resolve(size)]
    spans: list[Span] = []
    for spec in specs:
        try:
            spans.append(spec.resolve(size))
        except RangeNotSatisfiable:
            continue
    if not spans:
        raise RangeNotSatisfiable(f"all ranges lie outside the blob of {size} bytes", size=size)
    joined: list[Span] = []
    asked_at: list[int] = []
    for place in sorted(range(len(spans)), key=lambda place: spans[place].first):
        span = spans[place]
        if joined and span.first - joined[-1].end <= GAP_BYTES:
            joined[-1] = Span(joined[-1].first, max(joined[-1].end, span.end))
            asked_at[-1] = min(asked_at[-1], place)
        else:
            joined.append(span)
            asked_at.append(place)
    if len(joined) > PARTS_MAX:
        return []
    return [joined[index] for index in sorted(range(len(joined)), key=asked_at.__getitem__)]


def part_head(boundary: str, content_type: str, span: Span, size: int) -> bytes:
    """What stands before the bytes of one part; the line break in front belongs to the boundary (RFC 2046 section 5.1.1)."""
    return (
        f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
        f"Content-Range: {content_range(span.first, span.end, size)}\r\n\r\n"
    ).encode()


def last_boundary(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode()


def _parse_one(text: str) -> RangeSpec | None:
    first, dash, last = text.partition("-")
    if not dash or not (first or last) or not _is_number(first) or not _is_number(last):
        return None
    if not first:
        return RangeSpec(None, _position(last))
    if last and _order(last) < _order(first):
        return None
    return RangeSpec(_position(first), _position(last) if last else None)


def content_range(first: int, end: int, size: int) -> str:
    """`bytes first-last/size` for bytes `first` to `end` (exclusive)."""
    return f"bytes {first}-{end - 1}/{size}"


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())


def _order(text: str) -> tuple[int, str]:
    """Sorts texts of digits as the numbers that they are, of any length."""
    digits = text.lstrip("0")
    return len(digits), digits


def _position(text: str) -> int:
    digits = text.lstrip("0") or "0"
    return min(int(digits), POSITION_MAX) if len(digits) <= 19 else POSITION_MAX
