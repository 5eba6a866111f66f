"""Upload sessions of one datacenter, in a real store and against peers that really store."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from ambry.blob import BlobProperties
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import MetadataStore
from frontend.rest.new_session import new_session
from frontend.router.values import DigestCheck, PutResult
from frontend.uploads.bound import BoundLives
from frontend.uploads.completion import WantedPart, complete
from frontend.uploads.janitor import UploadJanitor
from frontend.uploads.open_session import OpenSession
from frontend.uploads.parts import PartPut
from frontend.uploads.places import Places
from frontend.uploads.rows import UploadPart
from frontend.uploads.sessions import Sessions
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import FakeCluster, make_cluster, put_spec, some_container, stream
from tests.support.http_frontend import ACCOUNTS
from tests.support.memory_keys import MemoryKeys
from tests.support.metadata_stores import opened, sqlite_store

ID = b"i" * 16
MAX_S = 1_000
IDLE_S = 100.0


@dataclass(frozen=True, kw_only=True)
class World:
    cluster: FakeCluster
    store: MetadataStore
    sessions: Sessions
    clock: SettableClock

    async def begin(self, ttl_s: int | None = None, *, container: Container | None = None, name: str = "") -> None:
        """The session, in the cluster's container or in another one."""
        spec = put_spec(
            properties=BlobProperties(size=0, digest=b"", filename="model.bin"), metadata={"about": "planted"}
        )
        new = await new_session(
            self.cluster.context, container or self.container, spec, ttl_s=ttl_s, now_ms=self.clock.wall_ms(), name=name
        )
        await self.sessions.begin(replace(new, id=ID), container or self.container, "")

    async def begin_plain(self) -> None:
        """The session, from before its container was encrypted."""
        await self.begin(container=some_container())

    @property
    def container(self) -> Container:
        container = self.cluster.request().container
        assert container is not None
        return container

    @property
    def keys(self) -> MemoryKeys:
        keys = self.cluster.context.keys
        assert isinstance(keys, MemoryKeys)
        return keys

    async def found(self) -> OpenSession:
        return await self.sessions.find(ID)

    async def part(self, number: int, body: bytes, verify: DigestCheck | None = None) -> UploadPart:
        put = PartPut(
            self.cluster.request(),
            self.cluster.context,
            self.sessions,
            await self.found(),
            size_max=1 << 40,
            max_s=MAX_S,
            verify=verify,
        )
        return await put.run(number, stream([body]), size=len(body))

    async def complete(
        self, *wanted: WantedPart, verify: DigestCheck | None = None, size_max: int = 1 << 40
    ) -> PutResult:
        return await complete(
            self.cluster.request(),
            self.cluster.context,
            self.sessions,
            await self.found(),
            wanted=wanted or None,
            size_max=size_max,
            verify=verify,
        )

    def janitor(self, owner: bytes = b"j" * 16) -> UploadJanitor:
        leases = Leases(self.store, clock=self.clock, owner=owner)
        containers = Containers(ACCOUNTS)
        bound = BoundLives(self.store, self.cluster.context, clock=self.clock)
        return UploadJanitor(
            self.sessions, self.cluster.context, containers, leases, bound, clock=self.clock, max_s=MAX_S
        )

    async def rows(self) -> int:
        return len(await self.store.locals(LocalSpace.PART))

    def living(self) -> set[bytes]:
        """Ids of all records that data nodes would serve."""
        return self.cluster.pool.visible()


@contextlib.asynccontextmanager
async def upload_world(
    directory: Path, *, encrypted: bool, sessions_max: int = 100, sessions_bytes_max: int = 1 << 20
) -> AsyncIterator[World]:
    clock = SettableClock()
    cluster = make_cluster(((3,),) * 4, clock=clock, keys=MemoryKeys() if encrypted else None)
    async with opened(sqlite_store(directory / "meta.sqlite", clock=clock)) as store:
        places = Places(store, random_source=random.Random(2), sessions_max=sessions_max, bytes_max=sessions_bytes_max)
        sessions = Sessions(
            store, cluster.context.keys, places, clock=clock, random_source=random.Random(1), idle_s=IDLE_S
        )
        yield World(cluster=cluster, store=store, sessions=sessions, clock=clock)
