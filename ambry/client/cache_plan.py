"""What a cache of blobs lets go of, and how its bound is written. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ambry.errors import InvalidRequest, TooLarge
from ambry.ids import BlobId

_SIZE = re.compile(r"(\d+)(?:\.(\d{1,3}))?\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedBlob:
    """A blob that is kept: its bytes on the disk, and when it was last asked for, in nanoseconds since 1970."""

    id: BlobId
    size: int
    used_ns: int


def to_evict(
    held: Iterable[CachedBlob], *, arriving: int, max_bytes: int, keep: BlobId | None = None
) -> list[CachedBlob]:
    """Which go so that `arriving` bytes fit beside those that stay, the least recently used first; never `keep`.

    All of them but that one, where not even that is enough.
    """
    oldest = sorted(held, key=lambda each: (each.used_ns, str(each.id)))
    excess = sum(each.size for each in oldest) + arriving - max_bytes
    gone: list[CachedBlob] = []
    for each in oldest:
        if excess <= 0:
            break
        if each.id == keep:
            continue
        gone.append(each)
        excess -= each.size
    return gone


def check_fits(blob: BlobId, size: int, max_bytes: int) -> None:
    """Raises TooLarge for a blob that the cache cannot hold, were it alone there."""
    if size > max_bytes:
        raise TooLarge(
            f"blob {blob} has {size} bytes, and the cache may hold {max_bytes}: get_file writes it elsewhere, and "
            "AMBRY_CACHE_MAX (CacheConfig(max_bytes=)) makes the cache larger"
        )


def parse_size(text: str) -> int:
    """Bytes, or a number of them with K, M, G or T behind it (1024 each): `512M`, `1.5 GiB`. Raises InvalidRequest."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(f"{text!r} is not a size; use bytes, 512K, 8M, 1.5G or 2T")
    whole, fraction, unit = found[1], found[2] or "", _UNITS[found[3].upper()]
    return int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
