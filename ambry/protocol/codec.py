"""Frames out of a byte stream, without I/O.

The owner of the socket asks `get_buffer` where the next bytes go and tells `received` how many came; it gets the frames that
became whole. A large body is received straight into its own memory, so its bytes are copied once, by the kernel.
"""

from __future__ import annotations

from ambry.checksum import blocks_intact
from ambry.errors import ProtocolViolation
from ambry.protocol.frame import PREFIX_SIZE, Frame, Prefix, decode_prefix, verify_head

BUFFER_SIZE = 128 << 10


class FrameDecoder:
    """One direction of one connection. After a ProtocolViolation the connection must be closed."""

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._prefix: Prefix | None = None
        self._header = b""
        self._checks = b""
        self._body: bytearray | None = None
        self._filled = 0

    def get_buffer(self) -> memoryview:
        """Where to put the next received bytes; valid until `received`."""
        if self._body is not None:
            return memoryview(self._body)[self._filled :]
        return self._view[self._end :]

    def received(self, count: int) -> list[Frame]:
        """Take in `count` bytes put into the buffer. Raises ProtocolViolation."""
        frames: list[Frame] = []
        if self._body is not None:
            self._filled += count
            if self._filled < len(self._body):
                return frames
            frames.append(self._finish(self._body))
            self._body = None
            return frames
        self._end += count
        while self._step(frames):
            pass
        self._make_room()
        return frames

    def _step(self, frames: list[Frame]) -> bool:
        """Parse one thing from the buffer; False when more bytes are needed."""
        if self._prefix is None and not self._parse_head():
            return False
        prefix = self._prefix
        if prefix is None:
            return False
        size = prefix.body_size
        available = self._end - self._start
        if available < size:
            # The rest of this body goes straight into its own memory.
            self._body = bytearray(size)
            self._body[:available] = self._view[self._start : self._end]
            self._filled = available
            self._start = self._end = 0
            return False
        body = bytes(self._view[self._start : self._start + size])
        self._start += size
        frames.append(self._finish(body))
        return True

    def _parse_head(self) -> bool:
        available = self._end - self._start
        if available < PREFIX_SIZE:
            return False
        prefix = decode_prefix(self._buffer, self._start)
        rest = prefix.header_size + prefix.checks_size
        if available < PREFIX_SIZE + rest:
            self._grow(PREFIX_SIZE + rest)
            return False
        start = self._start + PREFIX_SIZE
        tail = bytes(self._view[start : start + rest])
        verify_head(self._view[self._start : self._start + 32], tail, prefix.checksum)
        self._header, self._checks = tail[: prefix.header_size], tail[prefix.header_size :]
        self._prefix = prefix
        self._start = start + rest
        return True

    def _finish(self, body: bytes | bytearray) -> Frame:
        prefix = self._prefix
        if prefix is None or not blocks_intact(body, self._checks):
            raise ProtocolViolation("a frame's body fails its checksum")
        self._prefix = None
        return Frame(prefix.type, prefix.flags, prefix.timeout_ms, prefix.correlation, self._header, self._checks, body)

    def _grow(self, size: int) -> None:
        """Make sure that a head of `size` bytes fits from the buffer's start on."""
        if size > len(self._buffer):
            self._replace(bytearray(size))

    def _make_room(self) -> None:
        """Never leave the buffer without room behind its content; go back to the normal size when it is empty."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) > BUFFER_SIZE:
                self._replace(bytearray(BUFFER_SIZE))
        elif self._start and len(self._buffer) - self._end < BUFFER_SIZE // 2:
            self._replace(self._buffer)

    def _replace(self, buffer: bytearray) -> None:
        content = bytes(self._view[self._start : self._end])
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._view[: len(content)] = content
        self._start, self._end = 0, len(content)
