"""A change in a container is written by the rules that hold in that moment, whoever set them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.errors import AccessDenied, Unavailable
from frontend.container import Container
from frontend.containers.changes import ContainerChanges
from frontend.containers.resolver import Containers
from frontend.containers.standing import StandingRules
from frontend.containers.sync import ContainerSync
from frontend.metadata.spaces import Space
from frontend.metadata.store import Conflict, Expect, MetadataStore, Put, Require, Version
from tests.support.http_frontend import ACCOUNTS
from tests.support.metadata_stores import opened, sqlite_store


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One frontend of the datacenter."""

    store: MetadataStore
    containers: Containers
    changes: ContainerChanges
    rules: StandingRules

    async def change(self, **settings: Any) -> None:
        await self.changes.save_containers(1, [{"containerId": 1, **settings}])


@contextlib.asynccontextmanager
async def seat(path: Path) -> AsyncIterator[Seat]:
    async with opened(sqlite_store(path)) as store:
        clock = SystemClock()
        containers = Containers(ACCOUNTS)
        sync = ContainerSync(containers, store, clock=clock)
        changes = ContainerChanges(containers, sync, store, clock=clock, geo=False)
        yield Seat(store=store, containers=containers, changes=changes, rules=StandingRules(containers, datacenter=1))


async def test_what_is_written_is_bound_to_the_rules_that_were_looked_at(tmp_path: Path) -> None:
    async with seat(tmp_path / "meta") as one, seat(tmp_path / "meta") as two:
        seen: list[str] = []

        async def write(now: Container, require: Require) -> list[Version]:
            seen.append(now.settings.description)
            if len(seen) == 2:
                await two.change(description="third")
            return await one.store.write([Put(Space.NAME, now.scope, b"n", b"v"), require])

        await two.change(description="second")
        [version] = await one.rules.write(one.containers.default, write)
        assert seen == ["", "second", "third"]
        assert await one.store.get(Space.NAME, version.scope, b"n") == version


async def test_nothing_is_written_in_a_container_that_was_switched_off(tmp_path: Path) -> None:
    async with seat(tmp_path / "meta") as one, seat(tmp_path / "meta") as two:
        await two.changes.save_accounts([{"accountId": 1, "status": "INACTIVE"}])

        async def write(now: Container, require: Require) -> None:
            await one.store.write([Put(Space.NAME, now.scope, b"n", b"v"), require])

        with pytest.raises(AccessDenied):
            await one.rules.write(one.containers.default, write)
        assert await one.store.get(Space.NAME, one.containers.default.scope, b"n") is None


async def test_a_conflict_about_anything_else_is_for_whoever_writes(tmp_path: Path) -> None:
    async with seat(tmp_path / "meta") as one:
        absent = Require(Space.NAME, 5, b"n", Expect.PRESENT)

        async def write(_now: Container, require: Require) -> None:
            await one.store.write([absent, require])

        with pytest.raises(Conflict) as refused:
            await one.rules.write(one.containers.default, write)
        assert refused.value.change == absent


async def test_rules_that_change_all_the_time_are_said_to(tmp_path: Path) -> None:
    async with seat(tmp_path / "meta") as one, seat(tmp_path / "meta") as two:
        tries = 0

        async def write(now: Container, require: Require) -> None:
            nonlocal tries
            tries += 1
            await two.change(description=str(tries))
            await one.store.write([Put(Space.NAME, now.scope, b"n", b"v"), require])

        with pytest.raises(Unavailable, match="changes all the time"):
            await one.rules.write(one.containers.default, write)
        assert tries == 8
