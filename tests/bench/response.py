"""Just enough HTTP/1.1 to read the answers of a server that we know, in as few instructions as Python allows.

The load generator shares the machine's cores with what it measures, so only the status and Content-Length are parsed; an
answer without Content-Length is refused. One request at a time per connection: bytes beyond an answer are refused too.
Pure: bytes go in, an answer comes out, whatever way the bytes were cut up.
"""

from __future__ import annotations

import xxhash

from ambry.checksum import Digester

BUFFER_SIZE = 512 * 1024
ERROR_BODY_SIZE_MAX = 500
_BEFORE_STATUS = b"HTTP/1.1 "
_END = b"\r\n\r\n"


class BadResponse(Exception):
    """What the server sent is not an answer that this reader takes; the connection is of no more use."""


def parse_head(head: bytes) -> tuple[int, int]:
    """Status and body size of a head; `head` goes up to the empty line. Raises BadResponse."""
    if not head.startswith(_BEFORE_STATUS):
        raise BadResponse(f"not an HTTP/1.1 answer: {head[:80]!r}")
    size = header(head, b"content-length")
    try:
        return int(head[9:12]), int(size)
    except ValueError as cause:
        raise BadResponse(f"no status or no Content-Length in {head[:300]!r}") from cause


def header(head: bytes, name: bytes) -> bytes:
    """The value of the first header of this name, which is given in lower case; b"" when there is none."""
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


class ResponseReader:
    """Reads one answer after another: `begin`, then `buffer` and `received` until the latter says True.

    Then `status`, `head` and `body_size` are of that answer, `digest` is the xxh3-128 of its body if `begin` asked for
    it, and `error_body` holds the first bytes of the body if the status was not 2xx.
    """

    def __init__(self, buffer_size: int = BUFFER_SIZE) -> None:
        self._bytes = bytearray(buffer_size)
        self._view = memoryview(self._bytes)
        # Bytes of an unfinished head at the start of the buffer; 0 while a body is being read, which is not kept.
        self._filled = 0
        self._in_body = False
        self._left = 0
        self._busy = False
        self._digester: Digester | None = None
        self.status = 0
        self.head = b""
        self.body_size = 0
        self.digest: bytes | None = None
        self.error_body = b""

    def begin(self, *, digest: bool) -> None:
        """A request was sent, its answer comes next."""
        self._busy = True
        self._digester = xxhash.xxh3_128() if digest else None
        self.digest = None

    def buffer(self) -> memoryview:
        """Where the next bytes go. Never empty."""
        return self._view[self._filled :] if self._filled else self._view

    def received(self, count: int) -> bool:
        """`count` bytes were put into `buffer()`; True when they complete the answer. Raises BadResponse."""
        if not self._busy:
            raise BadResponse(f"{count} bytes that nobody asked for")
        start = 0
        if not self._in_body:
            seen = self._filled
            self._filled = seen + count
            # The empty line may have been cut in two.
            end = self._bytes.find(_END, max(0, seen - 3), self._filled)
            if end < 0:
                if self._filled == len(self._bytes):
                    raise BadResponse(f"a head of more than {len(self._bytes)} bytes")
                return False
            start = end + 4
            count = self._filled - start
            self._filled = 0
            self._in_body = True
            self.head = bytes(self._view[:end])
            self.status, self.body_size = parse_head(self.head)
            self._left = self.body_size
            if not 200 <= self.status <= 299:
                self.error_body = b""
        if count > self._left:
            raise BadResponse(f"{count - self._left} bytes beyond the answer")
        if self._digester is not None:
            self._digester.update(self._view[start : start + count])
        if not 200 <= self.status <= 299 and len(self.error_body) < ERROR_BODY_SIZE_MAX:
            self.error_body += bytes(self._view[start : start + count])
            self.error_body = self.error_body[:ERROR_BODY_SIZE_MAX]
        self._left -= count
        if self._left:
            return False
        self._in_body = False
        self._busy = False
        if self._digester is not None:
            self.digest = self._digester.digest()
        return True
