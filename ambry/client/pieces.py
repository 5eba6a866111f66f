"""Which pieces of a blob a download has: the table that stands behind the bytes in its part file. No I/O.

    offset from the end   size    field
    24 + 16 * count       16      for each piece its xxh3-128, or zeros where it has not come yet
    24                    8       `AmbryPt1`
    16                    4       piece_size, in bytes; the last piece may be shorter
    12                    4       zero
    8                     8       the size of the blob

Big-endian. The bytes of the blob stand before it, each where it belongs; all else of the file is a hole. What stands here is
not believed: a piece is there when its bytes have the digest that is said, and a blob when the digest of all is the server's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ambry.checksum import DIGEST_SIZE

_FOOTER = struct.Struct(">8sIIQ")
_MAGIC = b"AmbryPt1"
_NONE = bytes(DIGEST_SIZE)
FOOTER_BYTES = _FOOTER.size
PIECE_BYTES_MIN = 64 << 10
PIECE_BYTES_MAX = 64 << 20
PIECES_MAX = 1 << 24
"""Of what is gone on with; their digests are held."""
SECTIONS_MAX = 1 << 17
"""Of one blob, which has larger ones where these would be more."""


class PieceSpan(NamedTuple):
    """Bytes `start` up to but not including `stop` of a blob."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """How a blob of `size` bytes is cut."""

    size: int
    piece_size: int

    @property
    def count(self) -> int:
        return -(-self.size // self.piece_size)

    @property
    def table_size(self) -> int:
        """Bytes that stand behind the blob, with the footer."""
        return self.count * DIGEST_SIZE + FOOTER_BYTES

    def span(self, index: int) -> PieceSpan:
        start = index * self.piece_size
        return PieceSpan(start, min(start + self.piece_size, self.size))

    def entry_offset(self, index: int) -> int:
        """Where the digest of a piece stands in the file."""
        return self.size + index * DIGEST_SIZE

    def footer(self) -> bytes:
        return _FOOTER.pack(_MAGIC, self.piece_size, 0, self.size)


def cut(size: int, wanted: int) -> Pieces:
    """A blob in pieces of about as many bytes as are wanted."""
    return Pieces(size, min(max(wanted, PIECE_BYTES_MIN), PIECE_BYTES_MAX))


def parse_footer(footer: bytes, file_size: int) -> Pieces | None:
    """What a file of so many bytes says at its end; None where it says nothing that can be."""
    if len(footer) != FOOTER_BYTES:
        return None
    magic, piece_size, zero, size = _FOOTER.unpack(footer)
    if magic != _MAGIC or zero or not size or not PIECE_BYTES_MIN <= piece_size <= PIECE_BYTES_MAX:
        return None
    pieces = Pieces(size, piece_size)
    return pieces if pieces.count <= PIECES_MAX and file_size == size + pieces.table_size else None


def said_digests(table: bytes) -> dict[int, bytes]:
    """The pieces that a table says have come, with their digests."""
    entries = (table[start : start + DIGEST_SIZE] for start in range(0, len(table), DIGEST_SIZE))
    return {index: entry for index, entry in enumerate(entries) if entry != _NONE}


def sections(pieces: Pieces, there: Iterable[int], section_size: int) -> Sequence[PieceSpan]:
    """What is not there, in spans of at most `section_size` bytes, or one piece, or what makes SECTIONS_MAX of a whole blob."""
    count, size = pieces.count, pieces.piece_size
    most = max(1, section_size // size, -(-count // SECTIONS_MAX))
    found: list[PieceSpan] = []
    start = 0
    for there_too in (*sorted(index for index in set(there) if index < count), count):
        found += [
            PieceSpan(first * size, pieces.span(min(first + most, there_too) - 1).stop)
            for first in range(start, there_too, most)
        ]
        start = there_too + 1
    return found
