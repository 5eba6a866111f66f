"""The head of an answer as it goes over a connection (RFC 9112 section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from ambry.errors import InvariantBroken

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def answer_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Status line and fields, with the empty line behind them. Raises InvariantBroken for a field that would end its line."""
    text = _STATUS_LINES[status] + "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) + 1 or text.count("\r") != len(headers) + 1:
        raise InvariantBroken("a header of an answer has a line break in it")
    return f"{text}\r\n".encode()
