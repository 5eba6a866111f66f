"""The head of an answer as it goes over a connection (RFC 9112 section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from ambry.errors import InvariantBroken

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def lines(headers: Mapping[str, str]) -> str:
    """The lines of these fields. Raises InvariantBroken for a field that would end its line."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise InvariantBroken("a header of an answer has a line break in it")
    return text


def status_line(status: int) -> str:
    """With its end."""
    return _STATUS_LINES[status]


def answer_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Status line and fields, with the empty line behind them. Raises as `lines`."""
    return f"{_STATUS_LINES[status]}{lines(headers)}\r\n".encode()


class Fields:
    """Fields that stand together in many answers, and differ in their values alone.

    The values are ours: numbers, digests, dates, ids. Nothing that came from outside belongs among them, as no line break is
    looked for.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._lines = "".join(f"{name}: %s\r\n" for name in names)

    def headers(self, values: tuple[str, ...]) -> dict[str, str]:
        return dict(zip(self._names, values, strict=True))

    def lines(self, values: tuple[str, ...]) -> str:
        return self._lines % values
