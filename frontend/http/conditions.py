"""Conditional requests (RFC 9110 section 13): what If-Match, If-None-Match, If-Range and the dates say about a resource."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from ambry.errors import InvalidRequest, PreconditionFailed

CONDITIONAL = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
"""The preconditions; If-Range is none of them, it says only whether a range counts."""


class Condition(Enum):
    GO_ON = 0
    NOT_MODIFIED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What a request's conditions are about.

    `etag` is strong, quotes included, `modified_ms` wall time; None where it has none. `headers` are those that a 304 carries
    too (RFC 9110 section 15.4.5).
    """

    etag: str | None
    modified_ms: int | None
    headers: Mapping[str, str]


def evaluate(headers: Mapping[str, str], method: str, selected: Selected | None) -> Condition:
    """The outcome, in the order that RFC 9110 section 13.2.2 prescribes; `headers` by name in lower case.

    `selected` is None where there is nothing yet: then no If-Match holds, every If-None-Match does, and dates say nothing
    (sections 13.1.1 to 13.1.4). A date that is none is ignored by GET and HEAD, as the RFC demands; where something would be
    changed it is refused, since to ignore it would be to do what must not be done. Raises InvalidRequest for that, and for
    tags that are none; PreconditionFailed for a condition that does not hold.
    """
    reads = method in ("GET", "HEAD")
    match = headers.get("if-match")
    none_match = headers.get("if-none-match")
    if match is not None:
        tags = _tags("If-Match", match)
        # The strong comparison: a weak tag equals nothing (section 8.8.3.2).
        if selected is None or not (tags is None or selected.etag in tags):
            raise _failed("If-Match", _standing(selected, "another", reads), reads)
    elif "if-unmodified-since" in headers:
        since = _date(headers["if-unmodified-since"], "If-Unmodified-Since", strict=not reads)
        if _later(selected, since):
            raise _failed("If-Unmodified-Since", "what stands there is younger", reads)
    if none_match is not None:
        tags = _tags("If-None-Match", none_match)
        weak = tags is None or (selected is not None and selected.etag in [tag.removeprefix("W/") for tag in tags])
        if selected is not None and weak:
            if reads:
                return Condition.NOT_MODIFIED
            raise _failed("If-None-Match", _standing(selected, "that" if tags is not None else "an", reads), reads)
    elif reads and selected is not None and "if-modified-since" in headers:
        since = _date(headers["if-modified-since"], "If-Modified-Since", strict=False)
        if since is not None and selected.modified_ms is not None and not _later(selected, since):
            return Condition.NOT_MODIFIED
    return Condition.GO_ON


def _failed(name: str, why: str, reads: bool) -> PreconditionFailed:
    return PreconditionFailed(f"{name} does not hold: {why}{'' if reads else '; nothing was changed'}")


def _standing(selected: Selected | None, which: str, reads: bool) -> str:
    """What is told of it. A tag is a digest of content: whoever may only change it does not hear that."""
    if selected is None:
        return "nothing stands there yet"
    if selected.etag is None:
        return "what stands there has no entity tag"
    return f"what stands there has {f'the entity tag {selected.etag}' if reads else f'{which} entity tag'}"


def _later(selected: Selected | None, since: int | None) -> bool:
    """Whether it is known to have been modified after a time in seconds."""
    if selected is None or selected.modified_ms is None or since is None:
        return False
    return selected.modified_ms // 1000 > since


def range_applies(if_range: str | None, *, etag: str, modified_ms: int) -> bool:
    """Whether a Range header counts (RFC 9110 section 13.1.5): only if the client's copy is of this very content.

    Raises InvalidRequest where `if_range` is neither a tag nor a date.
    """
    if if_range is None:
        return True
    value = if_range.strip(" \t")
    if value.startswith(('"', "W/")):
        if not _TAG.fullmatch(value):
            raise InvalidRequest("If-Range is one entity tag in quotes, or a date")
        return value == etag
    return _date(value, "If-Range", strict=True) == modified_ms // 1000


_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\U0010ffff]*"')
"""RFC 9110 section 8.8.3; a tag may hold a comma."""


def _tags(name: str, value: str) -> list[str] | None:
    """The tags of a list, None for `*`, which is any. Raises InvalidRequest."""
    if value.strip(" \t") == "*":
        return None
    tags = _TAG.findall(value)
    between = _TAG.sub("\n", value).split(",")
    if not tags or any(piece.strip(" \t") not in ("", "\n") for piece in between):
        raise InvalidRequest(f"{name} lists entity tags in quotes, or is *")
    return tags


# The three forms of RFC 9110 section 5.6.7: IMF-fixdate, RFC 850, asctime.
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<d1>\d\d) (?P<m1>[A-Z][a-z]{2}) (?P<y1>\d{4}) (?P<t1>\d\d:\d\d:\d\d) GMT"
    r"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<d2>\d\d)-(?P<m2>[A-Z][a-z]{2})-(?P<y2>\d\d) (?P<t2>\d\d:\d\d:\d\d) GMT"
    r"|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?P<m3>[A-Z][a-z]{2}) (?P<d3>\d\d| \d) (?P<t3>\d\d:\d\d:\d\d) (?P<y3>\d{4})",
    re.ASCII,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _date(value: str, name: str, *, strict: bool) -> int | None:
    """Seconds since 1970; None, or InvalidRequest if `strict`, for what is no HTTP date."""
    match = _DATE.fullmatch(value.strip(" \t"))
    if match is not None:
        day, month, year, clock = (match[f"{field}1"] or match[f"{field}2"] or match[f"{field}3"] for field in "dmyt")
        hour, minute, second = (int(part) for part in clock.split(":"))
        try:
            # A leap second is the second before it here.
            moment = (int(day), hour, minute, min(second, 59) if second == 60 else second)
            return int(datetime(_year(year), _MONTHS.index(month) + 1, *moment, tzinfo=UTC).timestamp())
        except ValueError:
            pass
    if strict:
        raise InvalidRequest(f"{name} is not an HTTP date such as Sun, 06 Nov 1994 08:49:37 GMT")
    return None


def _year(text: str) -> int:
    """Two digits mean the years from 1970 to 2069, as in POSIX, not more than 50 years ahead (RFC 9110 section 5.6.7)."""
    year = int(text)
    return year if len(text) == 4 else year + (1900 if year >= 70 else 2000)
