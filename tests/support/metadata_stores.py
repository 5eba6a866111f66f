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
    path: Path,
    *,
    datacenter: int = 1,
    clock: Clock | None = None,
    seed: int | None = None,
    timeout_s: float = 20.0,
    cluster: str = CLUSTER,
) -> SqliteStore:
    """A store that is not open yet, in a file that may be there."""
    source = random.Random(seed) if seed is not None else random.Random(random.SystemRandom().getrandbits(64))
    file = SqliteFile(path, cluster=cluster, datacenter=datacenter, random_source=source)
    return SqliteStore(file, datacenter=datacenter, clock=clock or SystemClock(), timeout_s=timeout_s)


def postgres_store(
    url: str,
    *,
    datacenter: int = 1,
    clock: Clock | None = None,
    cluster: str = CLUSTER,
    timeout_s: float = 20.0,
) -> MetadataStore:
    """A store that is not open yet, in a database that may have it. asyncpg must be there."""
    from frontend.metadata.postgres import PostgresStore
    from frontend.metadata.postgres_server import PostgresServer

    server = PostgresServer(
        url, cluster=cluster, datacenter=datacenter, random_source=random.Random(), timeout_s=timeout_s
    )
    return PostgresStore(
        server, datacenter=datacenter, clock=clock or SystemClock(), timeout_s=timeout_s, connections=4
    )


@contextlib.asynccontextmanager
async def opened(store: MetadataStore) -> AsyncIterator[MetadataStore]:
    await store.reach()
    try:
        yield store
    finally:
        await store.close()
