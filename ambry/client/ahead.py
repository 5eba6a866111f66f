"""How a file that is open for reading asks for its blob. Plain classes: they say what to fetch, and are told what came.

Not at all ahead where it is read here and there, further and further where it is read on: columns of a Parquet file,
tensors and footers are asked for exactly; a CSV comes in large pieces.
"""

from __future__ import annotations

from typing import NamedTuple

from ambry.checksum import Buffer
from ambry.client.whole_digest import WholeDigest

LEAST = 32 << 10
"""Bytes that are fetched at least: they cost no more than one."""
FIRST_AHEAD = 256 << 10


class AheadSpan(NamedTuple):
    """Bytes `start` up to but not including `end` of the blob."""

    start: int
    end: int


class HeldBytes(NamedTuple):
    """Bytes of the blob from `start` on."""

    start: int
    data: bytes


class ReadAhead:
    """Holds what was fetched last of a blob of `size` bytes, at most `block_size` of it beyond what was asked for."""

    def __init__(self, block_size: int, size: int) -> None:
        self._block_size = block_size
        self._size = size
        self._here = HeldBytes(0, b"")
        self._ahead = 0
        self._coming = HeldBytes(0, b"")
        """What stands before the bytes that are being fetched."""

    def held(self, start: int, end: int) -> memoryview:
        """As much as is here of what stands from `start` on; nothing where `start` is not here."""
        first, data = self._here
        at = start - first
        return memoryview(data)[at : at + end - start] if 0 <= at < len(data) else memoryview(b"")

    def missing(self, start: int, end: int) -> AheadSpan:
        """What to fetch so that `start` to `end` are here; `arrived` is told the bytes. Until then nothing else is here."""
        held_start, held = self._here
        held_end = held_start + len(held)
        reads_on = held_start <= start <= held_end and (bool(held_end) or not start)
        self._ahead = min(self._block_size, max(FIRST_AHEAD, 2 * self._ahead)) if reads_on else 0
        first = held_end if reads_on else start
        self._coming = HeldBytes(start, held[start - held_start :] if reads_on else b"")
        return AheadSpan(first, min(self._size, max(end + self._ahead, first + LEAST)))

    def arrived(self, data: bytes) -> None:
        start, before = self._coming
        self._here = HeldBytes(start, before + data if before else data)

    def went_by(self, end: int) -> None:
        """Bytes up to `end` went straight to the reader, who may read on from there."""
        self._here = HeldBytes(end, b"")


class InOrder:
    """The digest of a blob whose bytes are fetched from the first to the last; of one that is read otherwise none is known."""

    def __init__(self, size: int, checksum: str, etag: str = "") -> None:
        """As BlobInfo has them; both are empty where no digest is wanted."""
        self._size = size
        self._digest: WholeDigest | None = WholeDigest(size, checksum, etag) if checksum or etag else None
        self._next = 0

    def passed(self, start: int, data: Buffer) -> str:
        """Raises ChecksumMismatch with the last bytes, which must not be used then, nor what came before.

        Gives the xxh3-128 of all bytes, where only another read of the blob can tell whether they are right; else nothing.
        """
        if self._digest is None or start + len(data) <= self._next:
            return ""
        if start != self._next:
            self._digest = None
            return ""
        self._digest.update(data)
        self._next += len(data)
        if self._next < self._size:
            return ""
        self._digest.check("the blob")
        return self._digest.unsettled
