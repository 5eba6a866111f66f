"""Frontends as far as it concerns keys of containers, over stores in files; for tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambry.clock import system_secret
from frontend.container import Container
from frontend.containers.changes import ContainerChanges
from frontend.containers.resolver import Containers
from frontend.containers.sync import ContainerSync
from frontend.encryption.changes import KeyChanges
from frontend.encryption.keyring import Keyring
from frontend.metadata.store import MetadataStore
from tests.support.fake_clock import SettableClock
from tests.support.http_frontend import ACCOUNTS
from tests.support.masters import TroubledProvider, master_keys
from tests.support.metadata_stores import CLUSTER, opened, sqlite_store

CACHE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One frontend. All of a datacenter share a provider and a clock."""

    containers: Containers
    sync: ContainerSync
    changes: ContainerChanges
    keyring: Keyring
    keys: KeyChanges
    provider: TroubledProvider
    store: MetadataStore
    clock: SettableClock

    async def container(self, name: str = "secret", **given: Any) -> Container:
        """One that is encrypted, in the account `default`; made, or changed where it is there."""
        record = self.containers.directory.accounts[1].container(name)
        which = {"containerName": name} if record is None else {"containerId": record.id}
        (saved,) = await self.changes.save_containers(1, [{**which, "encrypted": True, **given}])
        found = self.containers.known_id(1, saved.id)
        assert found is not None
        return found

    async def tick(self) -> None:
        await self.sync.tick()
        await self.keyring.tick()


def seat(store: MetadataStore, provider: TroubledProvider, clock: SettableClock) -> Seat:
    containers = Containers(ACCOUNTS)
    sync = ContainerSync(containers, store, clock=clock)
    keyring = Keyring(
        store,
        containers,
        [master_keys(provider, clock)],
        cluster=CLUSTER,
        clock=clock,
        chance=system_secret,
        cache_s=CACHE_S,
    )
    changes = ContainerChanges(containers, sync, store, clock=clock, geo=True, keys=keyring)
    keys = KeyChanges(keyring, containers, store, clock=clock, settled_s=CACHE_S)
    return Seat(
        containers=containers,
        sync=sync,
        changes=changes,
        keyring=keyring,
        keys=keys,
        provider=provider,
        store=store,
        clock=clock,
    )


@contextlib.asynccontextmanager
async def seats(path: Path, *datacenters: int) -> AsyncIterator[list[Seat]]:
    """A frontend in each of these datacenters; the same number again is another frontend there."""
    clock, provider = SettableClock(), TroubledProvider()
    async with contextlib.AsyncExitStack() as ending:
        found = []
        for datacenter in datacenters or (1,):
            file = sqlite_store(path / f"{datacenter}.sqlite", datacenter=datacenter, clock=clock)
            found.append(seat(await ending.enter_async_context(opened(file)), provider, clock))
            await found[-1].sync.tick()
        yield found
        for each in found:
            await each.keyring.close()


async def exchange(*some: Seat) -> None:
    """Every datacenter hears all that the others have written, and looks at it."""
    for one in some:
        for other in some:
            if one is not other:
                await other.store.merge((await one.store.log()).versions)
    for each in some:
        await each.tick()
