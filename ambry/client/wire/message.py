"""One request, and how the headers of an answer are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ambry.errors import InvalidRequest, ProtocolViolation

Headers = Mapping[str, str]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request but for its body. `subject` is what its messages speak of."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    subject: str = ""


def plain_header(what: str, text: str) -> str:
    """A header's value that a caller gave. Raises InvalidRequest."""
    if _CONTROL.search(text):
        raise InvalidRequest(f"{what} {text!r} holds control characters, which a header cannot carry")
    return text.strip()


def header_int(headers: Headers, name: str) -> int:
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise ProtocolViolation(f"the answer has {name} {text!r} where a number belongs; check the endpoint")
    return int(text)


def parse_time(text: str) -> datetime | None:
    """A time in milliseconds since 1970, as an HTTP date or in ISO 8601; None for anything else."""
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        if "," in text:
            return parsedate_to_datetime(text).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError, OSError):
        return None
