"""The Range header (RFC 9110 section 14)."""

from __future__ import annotations

import re

from frontend.router.values import RangeSpec

_SINGLE = re.compile(r"bytes=[ \t]*(\d{0,19})-(\d{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


def parse_range(value: str | None) -> RangeSpec | None:
    """The single byte range that a header asks for; None for no header, several ranges, or one that must be ignored.

    A malformed range, another unit, or last < first is ignored as the RFC says, which means the whole blob. Several ranges
    are answered with the whole blob too, which the RFC allows (section 14.2).
    """
    match = _SINGLE.fullmatch(value) if value else None
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        return RangeSpec(None, int(last))
    if last and int(last) < int(first):
        return None
    return RangeSpec(int(first), int(last) if last else None)


def content_range(first: int, end: int, size: int) -> str:
    """`bytes first-last/size` for bytes `first` to `end` (exclusive)."""
    return f"bytes {first}-{end - 1}/{size}"
