"""Frames: many small messages in one body, each with header lines as HTTP has them, and with lengths in front.

The body of a batch (`application/x-ambry-frames`), in either direction. Big-endian; sizes in bytes:

    offset  size  field        meaning
    0       4     header_size  bytes of header lines, at most HEADER_SIZE_MAX
    4       8     body_size    bytes of the body
    12      h     header       `name: value` lines, each ended by CR LF; names in any case, each once
    12+h    b     body

A body ends behind a whole frame; anything else was cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import msgspec

from ambry.checksum import Buffer
from ambry.errors import InvalidRequest, TooLarge

CONTENT_TYPE = "application/x-ambry-frames"
PREFIX_SIZE = 12
HEADER_SIZE_MAX = 64 << 10
_PREFIX = struct.Struct(">IQ")


class ApiFrame(msgspec.Struct, frozen=True):
    """One: headers by name in lower case."""

    headers: dict[str, str]
    body: bytes


def frame_head(lines: str, body_size: int) -> bytes:
    """What stands before a body: `lines` are its header lines, each with its CR LF."""
    raw = lines.encode()
    return _PREFIX.pack(len(raw), body_size) + raw


def encode_frame(headers: Mapping[str, str], body: Buffer) -> bytes:
    """A whole one. Raises InvalidRequest for a header that would end its line, or headers that are too long."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise InvalidRequest("a header of a frame has a line break in it")
    head = frame_head(lines, len(body))
    if len(head) > PREFIX_SIZE + HEADER_SIZE_MAX:
        raise InvalidRequest(f"the headers of a frame have at most {HEADER_SIZE_MAX} bytes")
    return b"".join((head, body))


class FrameReader:
    """Takes frames out of a body that comes in pieces."""

    def __init__(self, *, body_size_max: int) -> None:
        self._body_size_max = body_size_max
        self._buffer = bytearray()

    def feed(self, data: Buffer) -> Iterator[ApiFrame]:
        """The frames that are whole now; take them all before feeding more.

        Raises InvalidRequest for what is no frame, TooLarge for a body that is not to be held.
        """
        buffer = self._buffer
        buffer += data
        taken = 0
        try:
            while len(buffer) - taken >= PREFIX_SIZE:
                header_size, body_size = _PREFIX.unpack_from(buffer, taken)
                if header_size > HEADER_SIZE_MAX or body_size > self._body_size_max:
                    error = InvalidRequest if header_size > HEADER_SIZE_MAX else TooLarge
                    raise error(
                        f"a frame has at most {HEADER_SIZE_MAX} bytes of headers and {self._body_size_max} of body, and not "
                        f"{header_size} and {body_size}; is this {CONTENT_TYPE}?"
                    )
                start = taken + PREFIX_SIZE
                end = start + header_size + body_size
                if len(buffer) < end:
                    break
                headers = _headers(bytes(buffer[start : start + header_size]))
                body = bytes(memoryview(buffer)[start + header_size : end])
                taken = end
                yield ApiFrame(headers, body)
        finally:
            del buffer[:taken]

    @property
    def held(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)

    def close(self) -> None:
        """To be called at the end of the body. Raises InvalidRequest where that is inside a frame."""
        if self._buffer:
            raise InvalidRequest("the body ends inside a frame: it was cut off")


def _headers(raw: bytes) -> dict[str, str]:
    try:
        lines = raw.decode().split("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequest("the headers of a frame are not UTF-8") from None
    if lines.pop():
        raise InvalidRequest("each header line of a frame ends with CR LF")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or name in headers or "\n" in value or "\r" in value:
            raise InvalidRequest(f"a header of a frame is a line `name: value`, each name once, and not {line[:60]!r}")
        headers[name] = value.strip(" \t")
    return headers
