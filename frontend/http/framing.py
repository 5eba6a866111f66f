"""Where requests end in what was read, and what the parser takes of them that this server does not speak. Pure."""

from __future__ import annotations

import re

from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage

from ambry.errors import AmbryError, HeadersTooLarge, HttpVersionNotSupported, InvalidRequest, NotSupported

HEX_DIGITS = re.compile(rb"[0-9a-fA-F]+")
SIZE_DIGITS_MAX = 64
"""The parser takes sizes below 2^64; zeros may stand before them."""


def request_line(head: bytes) -> bytes:
    """The first line of a head that is whole, without its end and the empty lines before it."""
    return head.lstrip(b"\r\n").partition(b"\r\n")[0]


def unspoken(line: bytes, message: RawRequestMessage) -> AmbryError | None:
    """What the parser lets pass and this server does not speak; None for what it does."""
    if line and not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        # Of other protocols the parser takes RTSP and ICY.
        return HttpVersionNotSupported("this server speaks HTTP/1.1 and HTTP/1.0")
    if line.count(b" ") > 2:
        return InvalidRequest("one space stands before the target of a request, and one behind it (RFC 9112 section 3)")
    codings = message.headers.getall("Transfer-Encoding", None)
    if codings is not None and (len(codings) > 1 or codings[0].lower() != "chunked"):
        # Nobody can tell where such a request ends (RFC 9112 section 6.1).
        return NotSupported("of the transfer codings only chunked is known here, once and as the last")
    return None


def too_large(size_max: int) -> HeadersTooLarge:
    return HeadersTooLarge(f"a request's line and headers have at most {size_max} bytes together")


def misplaced() -> InvalidRequest:
    return InvalidRequest("it begins in the middle of what was read of the request before; send it again")


def is_last(message: RawRequestMessage) -> bool:
    """Whether nothing that follows on the connection is a request, whatever the parser makes of it."""
    if "Upgrade" in message.headers or message.method == "CONNECT":
        # It takes what follows for another protocol, and we speak none.
        return True
    # `close` wins over `keep-alive` (RFC 9112 section 9.3); the parser has it the other way round for HTTP/1.0.
    return message.version < HttpVersion11 and "close" in ",".join(message.headers.getall("Connection", ())).lower()


def next_cut(data: bytes) -> int:
    """Where a head may end in these bytes, and nowhere before: behind the first empty line."""
    for start in (b"\n", b"\r\n"):
        if data.startswith(start):
            return len(start)
    end = data.find(b"\r\n\r\n")
    return end + 4 if end >= 0 else len(data)


class ChunkedBody:
    """Where a chunked body ends, as the sizes of its chunks say (RFC 9112 section 7.1).

    It judges nothing: what is malformed is the parser's to refuse, and its end here may be anywhere.
    """

    __slots__ = ("_left", "_line", "_trailer", "ended")

    def __init__(self) -> None:
        self._left = 0
        """Bytes of a chunk that have not come, with the end of its line."""
        self._line = b""
        """As much of a line that is not finished as may tell a size."""
        self._trailer = False
        self.ended = False

    def end(self, data: bytes) -> int:
        """How many of the bytes that come next are its own."""
        at = 0
        while at < len(data):
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            newline = data.find(b"\n", at)
            if newline < 0:
                self._line = (self._line + data[at : at + SIZE_DIGITS_MAX])[:SIZE_DIGITS_MAX]
                break
            line = self._line + data[at : newline + 1]
            self._line = b""
            at = newline + 1
            if not self._trailer:
                self._chunk_begins(line)
            elif not line.strip(b"\r\n"):
                self.ended = True
                return at
        return len(data)

    def _chunk_begins(self, line: bytes) -> None:
        digits = HEX_DIGITS.match(line[:SIZE_DIGITS_MAX])
        size = int(digits[0], 16) if digits is not None else 0
        if size:
            self._left = size + len(b"\r\n")
        else:
            self._trailer = True
