"""Whether the bytes of a blob are those that were stored. No I/O.

A blob that came as one has the xxh3-128 of its bytes, which decides. One that came in parts has that of the digests of its
parts and their number; how large they were nobody says. It is made again for the sizes that so many parts of such a blob can
have had: where one of them fits, the bytes are right. Where none does, they are wrong, or the parts were of sizes of their own;
then only another read of the blob can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ambry.checksum import Buffer, digest, new_digester
from ambry.errors import ChecksumMismatch, InvalidRequest
from ambry.rest.values import digest_text, is_of_parts

MIB = 1 << 20
USUAL_PART_BYTES = 8 * MIB
TRIED = 4
"""Sizes of parts that are tried, each of which costs a digest of all bytes."""
PARTS_PER_SIZE = 2_000
"""Who writes and does not know how much it will be makes parts twice as large after so many: 10,000 of them hold 31 times as
much as those at the beginning would."""


class PartSizes(NamedTuple):
    """The size of all parts but the last; with `doubles` that of the first PARTS_PER_SIZE, and so on."""

    first: int
    doubles: bool = False

    def of(self, index: int) -> int:
        return self.first << (index // PARTS_PER_SIZE if self.doubles else 0)

    def count(self, size: int) -> int:
        """In how many parts so many bytes come."""
        if not self.doubles:
            return -(-size // self.first)
        each, count = self.first, 0
        while size > each * PARTS_PER_SIZE:
            size, count, each = size - each * PARTS_PER_SIZE, count + PARTS_PER_SIZE, each * 2
        return count + -(-size // each)


def part_sizes(size: int, count: int) -> Sequence[PartSizes]:
    """At most TRIED ways, in whole MiB, to cut so many bytes into so many parts; the likely ones first."""
    if not 1 < count <= max(1, size):
        return []
    # ceil(size / each) == count, for whole MiB
    least, most = -(-size // count), (size - 1) // (count - 1)
    fitting = [PartSizes(each * MIB) for each in range(max(1, -(-least // MIB)), min(most // MIB, 1 << 20) + 1)]
    fitting.sort(key=lambda each: (each.first != USUAL_PART_BYTES, each.first & (each.first - 1) != 0, each.first))
    doubling = [PartSizes(USUAL_PART_BYTES, doubles=True)] if count > PARTS_PER_SIZE else []
    return [*(each for each in doubling if each.count(size) == count), *fitting][:TRIED]


class WholeDigest:
    """Sees all bytes of a blob of `size` bytes in their order."""

    def __init__(self, size: int, checksum: str, etag: str) -> None:
        """As BlobInfo has them: `checksum` is empty for a blob that came in parts, of which the `etag` tells."""
        self._whole = new_digester()
        self._checksum = checksum
        self._of_parts = "" if checksum else _digest_of_parts(etag)
        count = int(self._of_parts.partition("-")[2] or 0)
        self._cut = [_Cut(each) for each in part_sizes(size, count)]

    def update(self, data: Buffer) -> None:
        self._whole.update(data)
        for each in self._cut:
            each.update(data)

    @property
    def can_tell(self) -> bool:
        """Whether there is something that the bytes can be compared with."""
        return bool(self._checksum or self._cut)

    def hexdigest(self) -> str:
        """xxh3-128 of what was seen."""
        return self._whole.hexdigest()

    @property
    def is_right(self) -> bool | None:
        """Whether these are the bytes that were stored, when all were seen; None where that cannot be told."""
        if self._checksum:
            return self.hexdigest() == self._checksum
        return True if self._of_parts in [each.text() for each in self._cut] else None

    def check(self, subject: str, *, request_id: str = "") -> None:
        """Raises ChecksumMismatch where the bytes are wrong; the request with this id brought them."""
        if self.is_right is False:
            raise ChecksumMismatch(
                f"the bytes of {subject} have the xxh3-128 {self.hexdigest()}, but it was stored with {self._checksum}; "
                "do not use them, read it again",
                request_id=request_id,
            )

    @property
    def unsettled(self) -> str:
        """The xxh3-128 of what was seen, where the blob has a digest and nobody can tell whether these are its bytes."""
        return self.hexdigest() if self._of_parts and self.is_right is None else ""


def _digest_of_parts(etag: str) -> str:
    written = etag.strip('"')
    try:
        return written if written and is_of_parts(written) else ""
    except InvalidRequest:
        return ""


class _Cut:
    """The digest of the digests of parts, for one way to cut them."""

    def __init__(self, sizes: PartSizes) -> None:
        self._sizes = sizes
        self._digests: list[bytes] = []
        self._left = sizes.of(0)
        self._digester = new_digester()
        self._seen = 0

    def update(self, data: Buffer) -> None:
        with memoryview(data) as whole, whole.cast("B") as view:
            start = 0
            while start < len(view):
                with view[start : start + self._left] as piece:
                    self._digester.update(piece)
                    size = len(piece)
                start, self._seen, self._left = start + size, self._seen + size, self._left - size
                if not self._left:
                    self._end()

    def _end(self) -> None:
        self._digests.append(self._digester.digest())
        self._digester, self._seen = new_digester(), 0
        self._left = self._sizes.of(len(self._digests))

    def text(self) -> str:
        digests = [*self._digests, self._digester.digest()] if self._seen else self._digests
        return digest_text(digest(b"".join(digests)), len(digests))
