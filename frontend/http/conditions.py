"""Conditional requests (RFC 9110 section 13): what If-Match, If-None-Match, If-Range and the dates say about a blob.

A blob never changes, so its ETag is the digest of its content, strong, and its modification time is its creation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from enum import Enum

CONDITIONAL_HEADERS = ("If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range")


class Condition(Enum):
    GO_ON = 0
    NOT_MODIFIED = 1
    FAILED = 2


def etag_of(digest: bytes) -> str:
    """The strong entity tag, quotes included."""
    return f'"{digest.hex()}"'


def http_date(wall_ms: int) -> str:
    """An HTTP date, one-second precision."""
    return formatdate(wall_ms / 1000, usegmt=True)


def evaluate(headers: Mapping[str, str], *, etag: str, modified_ms: int) -> Condition:
    """The outcome for a GET or HEAD, in the order that RFC 9110 section 13.2.2 prescribes."""
    modified_s = modified_ms // 1000
    match = headers.get("If-Match")
    if match is not None:
        if not _lists(match, etag, weak=False):
            return Condition.FAILED
    else:
        since = _seconds(headers.get("If-Unmodified-Since"))
        if since is not None and modified_s > since:
            return Condition.FAILED
    none_match = headers.get("If-None-Match")
    if none_match is not None:
        return Condition.NOT_MODIFIED if _lists(none_match, etag, weak=True) else Condition.GO_ON
    since = _seconds(headers.get("If-Modified-Since"))
    return Condition.NOT_MODIFIED if since is not None and modified_s <= since else Condition.GO_ON


def range_applies(if_range: str | None, *, etag: str, modified_ms: int) -> bool:
    """Whether a Range header counts (RFC 9110 section 13.1.5): only if the client's copy is of this very content."""
    if if_range is None:
        return True
    if if_range.lstrip().startswith('"'):
        return if_range.strip() == etag
    return _seconds(if_range) == modified_ms // 1000


def _lists(value: str, etag: str, *, weak: bool) -> bool:
    tags = [tag.strip() for tag in value.split(",")]
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return "*" in tags or etag in tags


def _seconds(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        parsed = parsedate_to_datetime(value)
        # The obsolete form without a zone is GMT too (RFC 9110 section 5.6.7).
        return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
