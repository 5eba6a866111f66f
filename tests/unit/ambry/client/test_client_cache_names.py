"""Names that a machine remembers for when it is offline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambry import BlobId
from ambry.client.cache import BlobCache
from ambry.client.cache_names import NAMES_MAX
from ambry.clock import SystemClock, system_random
from ambry.ids import IdKind, uuid7


def new_id() -> BlobId:
    raw = uuid7(SystemClock().wall_ms(), system_random())
    return BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=raw)


def used_long_ago(path: Path, seconds: int) -> None:
    then = SystemClock().wall_ms() * 1_000_000 - seconds * 10**9
    os.utime(path, ns=(then, then))


def test_names_are_remembered_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NAMES_MAX == 10_000
    monkeypatch.setattr("ambry.client.cache_names.NAMES_MAX", 3)
    cache = BlobCache(tmp_path, max_bytes=1, clock=SystemClock()).names
    ids = [new_id() for _ in range(5)]
    assert cache.recall("a 0") is None
    for number, blob in enumerate(ids):
        cache.remember(f"a {number}", blob)
        used_long_ago(
            next(iter(sorted((tmp_path / "names").iterdir(), key=lambda path: -path.stat().st_mtime))), 9 - number
        )
    assert [cache.recall(f"a {number}") for number in range(5)] == [None, None, *ids[2:]]
    cache.remember("a 2", ids[0])
    assert cache.recall("a 2") == ids[0]
    for path in (tmp_path / "names").iterdir():
        path.write_text("{}")
    assert cache.recall("a 2") is None
