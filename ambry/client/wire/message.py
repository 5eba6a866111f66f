"""One request, and how the headers of an answer are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ambry.errors import ProtocolViolation
from ambry.rest import names
from ambry.rest.text import without_controls

Headers = Mapping[str, str]

IDLE_S = 10.0
"""How long a connection is kept without a request; below the frontend's `header_timeout_s`, after which it closes one."""

ANSWER_BYTES_MAX = 64 << 20
"""Of an answer that is read into memory."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[0-9]{1,19}")
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, \d{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d{2}:\d{2}:\d{2} GMT", re.ASCII
)
"""As ambry and most servers write it (RFC 9110, section 5.6.7); the library reads such a one ten times as slowly."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request but for its body. `subject` is what its messages speak of."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    subject: str = ""


def request_id_of(headers: Headers) -> str:
    """By which the server's logs tell more of the request that these answer; empty where they say none."""
    return without_controls(headers.get(names.REQUEST_ID, ""))


def violation(headers: Headers, what: str) -> ProtocolViolation:
    """For an answer that no frontend of ours gives."""
    return ProtocolViolation(f"{what}; check the endpoint", request_id=request_id_of(headers))


def header_int(headers: Headers, name: str) -> int:
    text = headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise violation(headers, f"the answer has {name} {text!r} where a number belongs")
    return int(text)


def parse_time(text: str) -> datetime | None:
    """A time in milliseconds since 1970, as an HTTP date or in ISO 8601; None for anything else."""
    try:
        if _NUMBER.fullmatch(text):
            return moment(int(text))
        if _HTTP_DATE.fullmatch(text):
            month = _MONTHS.index(text[8:11]) // 3 + 1
            clock = int(text[17:19]), int(text[20:22]), int(text[23:25])
            return datetime(int(text[12:16]), month, int(text[5:7]), *clock, tzinfo=UTC)
        if "," in text:
            from email.utils import parsedate_to_datetime

            return parsedate_to_datetime(text).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError, OSError):
        return None


def moment(ms: int) -> datetime:
    """A time of an answer, in milliseconds since 1970. Raises OverflowError for one that no calendar has."""
    return _EPOCH + timedelta(milliseconds=ms)


def answered_at(headers: Headers) -> datetime | None:
    """When an answer is of, by the clock of the store, to the millisecond; None where it does not say.

    Nor does one that was in a cache on the way: how old it is, that tells by its own clock, as it does the `Date`.
    """
    told = headers.get(names.ANSWERED, "")
    return parse_time(told) if headers.get("age", "0") == "0" and _NUMBER.fullmatch(told) else None
