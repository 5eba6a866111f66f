"""The Range header (RFC 9110 section 14)."""

from __future__ import annotations

from frontend.router.values import RangeSpec

POSITION_MAX = 1 << 60
"""Beyond every blob; a position behind it, of any number of digits, counts as this one."""


def parse_range(value: str) -> RangeSpec | None:
    """The single byte range that a header asks for; None where it must or may be ignored, which means the whole blob.

    Malformed ranges, those of another unit and those that end before they begin must be ignored (sections 14.1.1 and 14.2).
    Several ranges may be, and are.
    """
    unit, separator, text = value.partition("=")
    if not separator or unit.strip(" \t").lower() != "bytes":
        return None
    first, dash, last = text.strip(" \t").partition("-")
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
