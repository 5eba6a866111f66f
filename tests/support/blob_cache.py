"""A cache of blobs on this machine, as tests make one and look at it."""

from __future__ import annotations

import os
from pathlib import Path

from ambry.client.cache import BlobCache
from ambry.clock import SystemClock, system_random
from ambry.ids import BlobId, IdKind, uuid7
from tests.support.stub_frontend import hexdigest


def cache_of(directory: Path, max_bytes: int = 1 << 30) -> BlobCache:
    return BlobCache(directory, max_bytes=max_bytes, clock=SystemClock())


def used_long_ago(path: Path, seconds: int) -> None:
    now = SystemClock().wall_ms() * 1_000_000
    os.utime(path, ns=(now - seconds * 10**9, now - seconds * 10**9))


def new_id() -> BlobId:
    raw = uuid7(SystemClock().wall_ms(), system_random())
    return BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=raw)


def files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def kept_in(cache: BlobCache, data: bytes) -> BlobId:
    """A blob that is in the cache now."""
    blob = new_id()
    arrival = cache.claim(blob)
    assert arrival is not None
    arrival.target.write_bytes(data)
    arrival.admit(hexdigest(data))
    arrival.release()
    return blob


def flipped(path: Path) -> None:
    """A bit of the file, as a disk may have it."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    rewritten(path, bytes(data))


def rewritten(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
