"""What the bytes of a blob in the cache were when it came: one line in a file beside it.

xxh3-128 <hexadecimal> <size>
xxh3-128 <hexadecimal> <size> sha256 <hexadecimal>      where somebody asked for it by that
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from ambry.client.whole_digest import WholeDigest
from ambry.errors import ChecksumMismatch
from ambry.ids import BlobId

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BlobSum:
    """Two are equal where the bytes are, whether or not their SHA-256 is known."""

    digest: str
    size: int
    sha256: str = field(default="", compare=False)
    """Empty where nobody asked."""

    @property
    def line(self) -> str:
        return f"xxh3-128 {self.digest} {self.size}{f' sha256 {self.sha256}' if self.sha256 else ''}\n"

    def check(self, blob: BlobId, sha256: str) -> None:
        """Raises ChecksumMismatch for another SHA-256 than the one that is asked for; nothing is where that is empty."""
        if sha256 and self.sha256 != sha256:
            raise ChecksumMismatch(f"blob {blob} has the SHA-256 {self.sha256}, and {sha256} was asked for")


def parse_sum(line: str) -> BlobSum:
    """Raises ValueError for what is none."""
    match line.split():
        case ["xxh3-128", digest, size]:
            return BlobSum(digest, int(size))
        case ["xxh3-128", digest, size, "sha256", sha256]:
            return BlobSum(digest, int(size), sha256)
        case _:
            raise ValueError("this is not what the bytes of a blob are")


def sum_of(path: Path, digest: WholeDigest | None = None, *, with_sha256: bool = False) -> BlobSum:
    """One pass over a file, which `digest` sees too. Raises OSError."""
    seen, size = digest or WholeDigest(0, "", ""), 0
    sha256 = hashlib.sha256() if with_sha256 else None
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as handle:
        while count := handle.readinto(buffer):
            seen.update(buffer[:count])
            if sha256 is not None:
                sha256.update(buffer[:count])
            size += count
    return BlobSum(seen.hexdigest(), size, "" if sha256 is None else sha256.hexdigest())
