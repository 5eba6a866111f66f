"""Where requests end in what was read, and what the parser takes of them that this server does not speak. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage

from ambry.errors import AmbryError, HeadersTooLarge, HttpVersionNotSupported, InvalidRequest, NotSupported, Overloaded
from frontend.http.admission import FEW_BYTES

HEX_DIGITS = re.compile(rb"[0-9a-fA-F]+")
SIZE_DIGITS_MAX = 64
"""The parser takes sizes below 2^64; zeros may stand before them."""
SIZE_LINE_MAX = 4 << 10
"""Bytes of the line before a chunk, with its extensions, which nobody here reads."""
FRAMING_EXCESS_MAX = 32 << 10
"""Bytes around content beyond those of content. A chunk of 5 bytes has as many around it."""


@dataclass(frozen=True, slots=True)
class Following:
    """What follows a head on its connection."""

    body_size: int = 0
    """Bytes of a body whose length was announced, 0 where none was; never more than the parser counts."""
    last: bool = False
    """Whether nothing that follows that is a request, whatever the parser makes of it."""


NOTHING = Following()
LAST = Following(last=True)


def judge(head: bytes, message: RawRequestMessage, size: int, size_max: int) -> Following | AmbryError:
    """What follows a head that the parser takes; or what is wrong with it, where this server does not.

    `head` begins with its request line. It has `size` bytes in all.
    """
    line = head[: head.find(b"\r\n")]
    if not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        # Of other protocols the parser takes RTSP and ICY.
        return HttpVersionNotSupported("this server speaks HTTP/1.1 and HTTP/1.0")
    if line.count(b" ") > 2:
        return InvalidRequest("one space stands before the target of a request, and one behind it (RFC 9112 section 3)")
    headers = message.headers
    codings = headers.getall("Transfer-Encoding", None)
    if codings is not None and (len(codings) > 1 or codings[0].lower() != "chunked"):
        # Nobody can tell where such a request ends (RFC 9112 section 6.1).
        return NotSupported("of the transfer codings only chunked is known here, once and as the last")
    if size > size_max:
        return too_large(size_max)
    if message.method == "CONNECT":
        return LAST
    # `close` wins over `keep-alive` (RFC 9112 section 9.3); the parser has it the other way round for HTTP/1.0, and obeys
    # Proxy-Connection, which says nothing here (appendix C.2.2).
    wishes = ",".join(headers.getall("Connection", ())).lower()
    closes = message.version < HttpVersion11 and ("close" in wishes or "keep-alive" not in wishes)
    # Behind an upgrade and its body the parser takes what follows for another protocol, and we speak none.
    last = closes or "Upgrade" in headers
    digits = headers.get("Content-Length", "0").lstrip("0")
    if digits:
        return Following(int(digits) if len(digits) < 19 else 1 << 62, last)
    return LAST if last else NOTHING


def too_large(size_max: int) -> HeadersTooLarge:
    return HeadersTooLarge(f"a request's line and headers have at most {size_max} bytes together")


def misplaced() -> InvalidRequest:
    return InvalidRequest("it begins in the middle of what was read of the request before; send it again")


def next_cut(data: bytes, at: int = 0) -> int:
    """Where a head may end in these bytes from `at` on, and nowhere before: behind the first empty line."""
    for start in (b"\n", b"\r\n"):
        if data.startswith(start, at):
            return at + len(start)
    end = data.find(b"\r\n\r\n", at)
    return end + 4 if end >= 0 else len(data)


class ChunkedBody:
    """Where a chunked body ends, as the sizes of its chunks say (RFC 9112 section 7.1), and what stands around its content.

    What is malformed is the parser's to refuse, and its end here may be anywhere. What is too much is refused here: the
    parser keeps trailers until they are whole, and every chunk costs it a turn, however small it is.
    """

    __slots__ = (
        "_excess",
        "_left",
        "_line",
        "_line_size",
        "_trailer",
        "_trailer_size",
        "_trailer_size_max",
        "ended",
        "error",
    )

    def __init__(self, trailer_size_max: int) -> None:
        self._trailer_size_max = trailer_size_max
        self._left = 0
        """Bytes of a chunk that have not come, with the end of its line."""
        self._line = b""
        """As much of a line that is not finished as may tell a size."""
        self._line_size = 0
        """All bytes of that line so far."""
        self._excess = 0
        """Bytes around content beyond those of content, since they were even: much content saves up nothing."""
        self._trailer = False
        self._trailer_size = 0
        self.ended = False
        self.error: AmbryError | None = None
        """Why no more of it is taken."""

    def end(self, data: bytes, charge: Callable[[int], bool], *, at: int = 0, lines_max: int = 1 << 30) -> int:
        """How far it goes in these bytes from `at` on, or its next `lines_max` lines do; says nothing once there is an `error`.

        Lines are those around its content. `charge` takes memory for so many bytes of long trailers; False where there is
        none.
        """
        lines_left = lines_max
        while at < len(data) and self.error is None:
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            if not lines_left:
                return at
            lines_left -= 1
            newline = data.find(b"\n", at)
            come = (newline + 1 or len(data)) - at
            self._line_size += come
            if self._trailer:
                self._trailer_grew(come, charge)
            elif self._line_size > SIZE_LINE_MAX:
                self.error = InvalidRequest(f"the line before a chunk has at most {SIZE_LINE_MAX} bytes")
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
            self._line_size = 0
        return len(data)

    def _chunk_begins(self, line: bytes) -> None:
        digits = HEX_DIGITS.match(line[:SIZE_DIGITS_MAX])
        size = int(digits[0], 16) if digits is not None else 0
        if not size:
            self._trailer = True
            return
        self._left = size + len(b"\r\n")
        self._excess = max(0, self._excess + self._line_size + len(b"\r\n") - size)
        if self._excess > FRAMING_EXCESS_MAX:
            self.error = InvalidRequest(
                f"the body has {FRAMING_EXCESS_MAX} bytes more around its chunks than in them; send larger chunks"
            )

    def _trailer_grew(self, size: int, charge: Callable[[int], bool]) -> None:
        self._trailer_size += size
        if self._trailer_size > self._trailer_size_max:
            self.error = HeadersTooLarge(
                f"the trailers of a request have at most {self._trailer_size_max} bytes together"
            )
        elif self._trailer_size > FEW_BYTES and not charge(size):
            self.error = Overloaded("too many requests with long trailers are on their way; retry", retry_after_s=1)
