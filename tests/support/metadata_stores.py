"""Metadata stores for tests: each engine made fresh, behind one way to open them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

from ambry.clock import Clock, SystemClock
from frontend.metadata.sqlite import SqliteStore
from frontend.metadata.sqlite_file import SqliteFile
from frontend.metadata.store import MetadataStore

CLUSTER = "test"


def sqlite_store(
    path: Path, *, datacenter: int = 1, clock: Clock | None = None, seed: int | None = None, timeout_s: float = 20.0
) -> SqliteStore:
    """A store that is not open yet, in a file that may be there."""
    source = random.Random(seed) if seed is not None else random.Random(random.SystemRandom().getrandbits(64))
    file = SqliteFile(path, cluster=CLUSTER, datacenter=datacenter, random_source=source)
    return SqliteStore(file, datacenter=datacenter, clock=clock or SystemClock(), timeout_s=timeout_s)


@contextlib.asynccontextmanager
async def opened(store: MetadataStore) -> AsyncIterator[MetadataStore]:
    await store.reach()
    try:
        yield store
    finally:
        await store.close()
