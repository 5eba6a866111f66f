"""Accounts and containers that another datacenter made a moment ago, or may have made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.errors import InvalidRequest, Unavailable
from frontend.containers.changes import ContainerChanges
from frontend.containers.elsewhere import ContainersElsewhere
from frontend.containers.resolver import Containers
from frontend.containers.sync import ContainerSync
from frontend.following.everywhere import Everywhere
from frontend.metadata.store import MetadataStore
from tests.support.following import StoreSource, follower_of
from tests.support.http_frontend import ACCOUNTS
from tests.support.metadata_stores import opened, sqlite_store

CLOCK = SystemClock()


@dataclass(frozen=True, kw_only=True)
class Datacenter:
    store: MetadataStore
    containers: Containers
    changes: ContainerChanges


def datacenter(store: MetadataStore) -> Datacenter:
    containers = Containers(ACCOUNTS)
    sync = ContainerSync(containers, store, clock=CLOCK)
    changes = ContainerChanges(containers, sync, store, clock=CLOCK, geo=True)
    return Datacenter(store=store, containers=containers, changes=changes)


@dataclass(frozen=True, kw_only=True)
class World:
    """`here` does not follow `there` by itself."""

    here: Datacenter
    there: Datacenter
    source: StoreSource

    def patience(self, within_s: float) -> None:
        everywhere = Everywhere(self.here.store, [self.source], within_s=within_s)
        self.here.containers.elsewhere = ContainersElsewhere(
            self.here.store, everywhere.newest, clock=CLOCK, within_s=within_s
        )

    async def follow(self) -> None:
        await follower_of(self.here.store, self.source, clock=CLOCK).tick()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as ending:
        stores = [
            await ending.enter_async_context(opened(sqlite_store(tmp_path / f"{each}", datacenter=each)))
            for each in (1, 2)
        ]
        made = World(here=datacenter(stores[0]), there=datacenter(stores[1]), source=StoreSource(stores[1]))
        made.patience(20.0)
        yield made


async def test_an_account_that_another_datacenter_made_is_waited_for(world: World) -> None:
    """It was said that there is none, until the follower came by."""
    [made] = await world.there.changes.save_accounts(
        [{"accountName": "team", "containers": [{"containerName": "models", "isPrivate": True}]}]
    )
    container = asyncio.ensure_future(world.here.containers.resolve("team", "models"))
    by_name = asyncio.ensure_future(world.here.containers.resolve_account("team"))
    by_id = asyncio.ensure_future(world.here.containers.resolve_account_id(made.id))
    asked: list[asyncio.Future[Any]] = [container, by_name, by_id]
    await asyncio.wait(asked, timeout=0.05)
    assert not any(each.done() for each in asked)
    await world.follow()
    await asyncio.wait(asked)
    assert (await container).settings.is_private
    assert await by_name == await by_id and (await by_name).id == made.id


async def test_a_container_that_another_datacenter_made_is_waited_for(world: World) -> None:
    await world.there.changes.save_containers(7, [{"containerName": "new"}])
    asked = asyncio.ensure_future(world.here.containers.resolve("ml", "new"))
    await asyncio.wait([asked], timeout=0.05)
    assert not asked.done()
    await world.follow()
    assert (await asked).container_name == "new"


async def test_what_is_known_elsewhere_and_does_not_come_is_503(world: World) -> None:
    await world.there.changes.save_accounts([{"accountName": "team"}])
    world.patience(0.05)
    for _ in range(2):
        with pytest.raises(Unavailable, match="known in another datacenter"):
            await world.here.containers.resolve_account("team")


async def test_what_nobody_has_is_none(world: World) -> None:
    for ask in (
        world.here.containers.resolve("nobody", "x"),
        world.here.containers.resolve("ml", "x"),
        world.here.containers.resolve_account_id(99),
        world.here.containers.resolve_account_id(1 << 40),
    ):
        with pytest.raises(InvalidRequest, match=r"there is no account|has no container"):
            await ask


@pytest.mark.parametrize("name", ["", "a/b", "x" * 65, "\udcff", "\0"])
async def test_what_can_be_no_name_is_asked_of_nobody(world: World, name: str) -> None:
    for ask in (world.here.containers.resolve_account(name), world.here.containers.resolve("ml", name)):
        with pytest.raises(InvalidRequest):
            await ask
    assert world.source.asked == 0


async def test_where_another_cannot_be_asked_nobody_can_tell(world: World) -> None:
    world.source.cut = True
    for ask in (world.here.containers.resolve("nobody", "x"), world.here.containers.resolve("ml", "x")):
        with pytest.raises(Unavailable, match="cannot be asked"):
            await ask
    assert (await world.here.containers.resolve("ml", "models")).container_id == 70
