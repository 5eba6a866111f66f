"""The heads of requests and answers of HTTP/1.1, and where the body of an answer ends (RFC 9112). No I/O.

Strict where two readers could find different ends of an answer: fields that are folded or have a space before their colon,
lone line ends, lengths that differ, a length beside chunks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

HEAD_BYTES_MAX = 256 << 10
"""Of an answer's head, with the interim ones before it."""
HEAD_END = b"\r\n\r\n"
CHUNK_LINE_MAX = 4 << 10
"""Bytes of the line before a chunk, or of a trailer."""

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([^\r\n]*))?")
_LENGTH = re.compile(r"[0-9]{1,19}")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")


class NotHttp(Exception):
    """What came is no answer of HTTP/1.1, or one whose end nobody can tell."""


class AnswerHead(NamedTuple):
    """Names of `headers` are in lower case; what stood there twice is joined by commas."""

    status: int
    reason: str
    headers: dict[str, str]
    length: int | None
    """Bytes of the body; None where chunks say it, or the end of the connection."""
    chunked: bool
    closes: bool
    """Whether the connection takes no request after this one."""


def request_head(method: str, target: str, host: str, fields: Mapping[str, str]) -> bytes:
    """Raises ValueError for line ends in any of it, and for a target that is not quoted."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    text = "\r\n".join(lines)
    ends = len(lines) - 1
    if text.count("\r") != ends or text.count("\n") != ends or "\0" in text or " " in target:
        raise ValueError(f"a line end, a NUL or a space in the head of {method} {target!r}, where none belongs")
    return text.encode() + HEAD_END


def may_be_http(start: bytes) -> bool:
    """Whether an answer of HTTP begins with these bytes."""
    return start.startswith(b"HTTP/1."[: len(start)])


def parse_head(head: bytes, method: str) -> AnswerHead:
    """The head of an answer to `method`, without the empty line at its end. Raises NotHttp."""
    lines = head.decode("utf-8", "replace").split("\r\n")
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None:
        raise NotHttp(f"its answer begins with {lines[0][:60]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name[-1] in " \t" or name[0] in " \t" or "\n" in line or "\r" in line:
            raise NotHttp(f"its answer has the line {line[:60]!r} among its headers")
        key = name.lower()
        value = value.strip(" \t")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    status = int(found[2])
    wishes = headers.get("connection", "").lower()
    closes = "close" in wishes or (found[1] == "0" and "keep-alive" not in wishes)
    coding = headers.get("transfer-encoding")
    length = _length(headers)
    if coding is not None and (coding.lower() != "chunked" or length is not None):
        raise NotHttp(f"nobody can tell where an answer with Transfer-Encoding {coding[:60]!r} ends")
    if method == "HEAD" or status < 200 or status in (204, 304):
        length, coding = 0, None
    closes = closes or (length is None and coding is None)
    return AnswerHead(status, found[3] or "", headers, length, coding is not None, closes)


def _length(headers: Mapping[str, str]) -> int | None:
    said = headers.get("content-length")
    if said is None:
        return None
    lengths = set(said.split(", "))  # The same one several times is one (RFC 9110 section 8.6).
    first = lengths.pop()
    if lengths or not _LENGTH.fullmatch(first):
        raise NotHttp(f"nobody can tell where an answer with Content-Length {said[:60]!r} ends")
    return int(first)


def parse_chunk_size(line: bytes) -> int:
    """Bytes of the chunk that follows; 0 is the end. Raises NotHttp."""
    found = _CHUNK_SIZE.fullmatch(line)
    if found is None:
        raise NotHttp(f"{line[:60]!r} stands where the size of a chunk belongs")
    return int(found[1], 16)
