"""Accounts and containers are made and changed: by one frontend, by several at once, and in datacenters cut apart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import (
    AccountNotFound,
    AlreadyExists,
    AmbryError,
    ContainerNotFound,
    InvalidRequest,
    RetentionLocked,
    Unavailable,
    UpdateConflict,
)
from ambry.rest.accounts import AccountStatus
from frontend.containers.changes import ContainerChanges
from frontend.containers.directory import AccountRecord, ContainerRecord
from frontend.containers.registers import account_scope, new_id, told_puts
from frontend.containers.resolver import Containers
from frontend.containers.sync import ContainerSync
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Put
from tests.support.fake_clock import SettableClock
from tests.support.http_frontend import ACCOUNTS
from tests.support.metadata_stores import opened, sqlite_store

NOW = 1_700_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One frontend, as far as it concerns accounts."""

    containers: Containers
    sync: ContainerSync
    changes: ContainerChanges
    store: MetadataStore
    clock: SettableClock

    async def account(self, **given: Any) -> AccountRecord:
        return (await self.changes.save_accounts([given]))[0]

    async def container(self, account: int, **given: Any) -> ContainerRecord:
        return (await self.changes.save_containers(account, [given]))[0]


def seat(store: MetadataStore, *, geo: bool = True) -> Seat:
    clock = SettableClock(NOW)
    containers = Containers(ACCOUNTS)
    sync = ContainerSync(containers, store, clock=clock)
    changes = ContainerChanges(containers, sync, store, clock=clock, geo=geo)
    return Seat(containers=containers, sync=sync, changes=changes, store=store, clock=clock)


@contextlib.asynccontextmanager
async def seats(path: Path, count: int = 1, *, datacenter: int = 1) -> AsyncIterator[list[Seat]]:
    """Frontends of one datacenter, each with its own connection to the store."""
    async with contextlib.AsyncExitStack() as ending:
        file = path / f"{datacenter}.sqlite"
        stores = [
            await ending.enter_async_context(opened(sqlite_store(file, datacenter=datacenter))) for _ in range(count)
        ]
        yield [seat(store) for store in stores]


async def test_what_is_made_has_an_id_of_its_own_and_is_found_by_name_and_id(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        account = await one.account(accountName="team", containers=[{"containerName": "models", "cacheable": False}])
        [container] = account.containers.values()
        assert account.id > 65_535 and container.id > 65_535
        assert (account.snapshot_version, container.snapshot_version) == (1, 1)
        found = one.containers.known("team", "models")
        assert found is not None and found is one.containers.known_id(account.id, container.id)
        assert not found.settings.cacheable and found.certain


async def test_a_change_is_live_on_every_frontend_after_one_look(tmp_path: Path) -> None:
    async with seats(tmp_path, 2) as [one, other]:
        account = await one.account(accountName="team", containers=[{"containerName": "models"}])
        await other.sync.tick()
        assert other.containers.known("team", "models") is not None
        [container] = account.containers.values()
        await one.container(account.id, containerId=container.id, strictReads=True)
        await other.sync.tick()
        found = other.containers.known("team", "models")
        assert found is not None and found.settings.strict_reads
        await one.account(accountId=account.id, status="INACTIVE")
        await other.sync.tick()
        found = other.containers.known("team", "models")
        assert found is not None and not found.active


async def test_an_unknown_name_is_looked_for_in_the_store_at_once(tmp_path: Path) -> None:
    async with seats(tmp_path, 2) as [one, other]:
        await one.account(accountName="team", containers=[{"containerName": "models"}])
        assert str(await other.containers.resolve("team", "models")) == "team/models"


async def test_a_change_keeps_what_it_does_not_mention_and_counts_up(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        first = await one.container(7, containerName="new", ttlRequired=True, description="a")
        again = await one.container(7, containerId=first.id, description="b", snapshotVersion=1)
        assert (again.settings.ttl_required, again.settings.description, again.snapshot_version) == (True, "b", 2)
        assert again.modified_ms >= first.modified_ms > 0


async def test_a_change_of_what_was_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    async with seats(tmp_path, 2) as [one, other]:
        made = await one.container(7, containerName="new")
        await other.container(7, containerId=made.id, description="theirs", snapshotVersion=1)
        with pytest.raises(UpdateConflict, match="snapshotVersion 2"):
            await one.container(7, containerId=made.id, description="mine", snapshotVersion=1)
        account = await one.account(accountName="team")
        await other.account(accountId=account.id, status="INACTIVE")
        with pytest.raises(UpdateConflict):
            await one.account(accountId=account.id, status="ACTIVE", snapshotVersion=1)


async def test_of_changes_to_one_version_that_race_one_wins_and_nothing_is_lost_without_versions(
    tmp_path: Path,
) -> None:
    async with seats(tmp_path, 4) as every:
        made = await every[0].container(7, containerName="new")
        bound = [
            each.container(7, containerId=made.id, description=str(n), snapshotVersion=1)
            for n, each in enumerate(every)
        ]
        outcomes = await asyncio.gather(*bound, return_exceptions=True)
        assert sum(isinstance(outcome, ContainerRecord) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, UpdateConflict) for outcome in outcomes) == 3
        free = [each.container(7, containerId=made.id, description=str(n)) for n, each in enumerate(every)]
        await asyncio.gather(*free)
        await every[0].sync.refresh()
        assert every[0].containers.directory.accounts[7].containers[made.id].snapshot_version == 6


async def test_of_frontends_that_make_one_name_at_once_one_does(tmp_path: Path) -> None:
    async with seats(tmp_path, 4) as every:
        outcomes = await asyncio.gather(*(each.account(accountName="team") for each in every), return_exceptions=True)
        assert sum(isinstance(outcome, AccountRecord) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == 3


async def test_what_the_configuration_names_keeps_its_ids_and_names_and_takes_settings(tmp_path: Path) -> None:
    async with seats(tmp_path, 2) as [one, other]:
        changed = await one.container(1, containerId=1, cacheable=False, snapshotVersion=0)
        assert (changed.id, changed.name, changed.snapshot_version) == (1, "default", 1)
        await one.account(accountId=7, aclInheritedByContainer=True)
        await other.sync.tick()
        assert not other.containers.default.settings.cacheable
        assert other.containers.known("ml", "models") is other.containers.known_id(7, 70) is not None
        assert other.containers.directory.accounts[7].settings.acl_inherited_by_container


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"containerId": 70, "containerName": "other"}, InvalidRequest, "containerName is 'models' and stays so"),
        ({"containerId": 70, "encrypted": True}, InvalidRequest, "not told who keeps master keys"),
        ({"containerId": 70, "parentAccountId": 8}, InvalidRequest, "parentAccountId"),
        ({"containerId": 71}, ContainerNotFound, "no container with the id 71"),
        ({"containerId": "70"}, InvalidRequest, "containerId is a number"),
        ({"containerName": "models"}, AlreadyExists, "say its containerId 70"),
        ({"containerName": "a/b"}, InvalidRequest, "containerName"),
        ({}, InvalidRequest, "containerName"),
        ({"containerName": "new", "snapshotVersion": 4}, UpdateConflict, "snapshotVersion 0"),
        ({"containerName": "new", "accessControlAllowOrigin": "x"}, InvalidRequest, "lists origins"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, given: dict[str, Any], error: type[AmbryError], said: str
) -> None:
    async with seats(tmp_path) as [one]:
        before = await one.store.head()
        with pytest.raises(error, match=said):
            await one.changes.save_containers(7, [{"containerName": "fine"}, given])
        assert await one.store.head() == before


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"accountId": 70_000, "accountName": "team"}, AccountNotFound, "no account with the id 70000"),
        ({"accountName": "ml"}, AlreadyExists, "say its accountId 7"),
        ({"accountId": 7, "accountName": "other"}, InvalidRequest, "stays so"),
        ({"accountId": 7, "containers": 5}, InvalidRequest, "containers is a list"),
        ({"accountId": 7, "containers": [5]}, InvalidRequest, "containers is a list"),
        ({"accountId": 7, "snapshotVersion": "x"}, UpdateConflict, "'x'"),
        ({"accountName": "team", "status": "GONE"}, InvalidRequest, "status"),
    ],
)
async def test_an_account_that_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, given: dict[str, Any], error: type[AmbryError], said: str
) -> None:
    async with seats(tmp_path) as [one]:
        before = await one.store.head()
        with pytest.raises(error, match=said):
            await one.changes.save_accounts([{"accountName": "fine"}, given])
        assert await one.store.head() == before


async def test_one_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        with pytest.raises(InvalidRequest, match="twice"):
            await one.changes.save_containers(7, [{"containerId": 70}, {"containerId": 70}])
        with pytest.raises(InvalidRequest, match="list of 1 to"):
            await one.changes.save_containers(7, [])


async def test_where_there_is_one_datacenter_no_container_is_geo(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "m.sqlite")) as store:
        with pytest.raises(InvalidRequest, match="second datacenter"):
            await seat(store, geo=False).container(7, containerName="new", defaultDurability="geo")


# --- locks ---


async def test_a_lock_is_made_longer_and_never_shorter_until_it_is_over(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        made = await one.container(7, containerName="new", retentionLockUntil=NOW + 1000)
        for until in (0, NOW, NOW + 999):
            with pytest.raises(RetentionLocked, match="never shorter"):
                await one.container(7, containerId=made.id, retentionLockUntil=until)
        longer = await one.container(7, containerId=made.id, retentionLockUntil=NOW + 2000)
        assert longer.settings.retention_lock_until == NOW + 2000
        await one.container(7, containerId=made.id, description="something else stays possible")
        one.clock.wall = NOW + 2000
        free = await one.container(7, containerId=made.id, retentionLockUntil=0)
        assert free.settings.retention_lock_until == 0


async def test_the_longest_of_locks_made_in_datacenters_cut_apart_holds(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one], seats(tmp_path, datacenter=2) as [far]:
        made = await one.container(7, containerName="new", retentionLockUntil=NOW + 5000)
        await far.container(7, containerName="new", retentionLockUntil=NOW + 1000)
        await merge_both(one, far)
        for each in (one, far):
            settings = each.containers.directory.accounts[7].containers[made.id].settings
            assert settings.retention_lock_until == NOW + 5000


# --- datacenters ---


async def merge_both(one: Seat, far: Seat) -> None:
    """Each hears all that the other has."""
    of_one, of_far = await one.store.log(), await far.store.log()
    await one.store.merge(of_far.versions)
    await far.store.merge(of_one.versions)
    await one.sync.refresh()
    await far.sync.refresh()


async def test_the_same_account_made_in_datacenters_cut_apart_is_one_and_merges_field_by_field(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one], seats(tmp_path, datacenter=2) as [far]:
        here = await one.account(accountName="team", containers=[{"containerName": "models", "cacheable": False}])
        there = await far.account(accountName="team", containers=[{"containerName": "models", "strictReads": True}])
        assert here.id == there.id
        await merge_both(one, far)
        accounts = [each.containers.directory.accounts[here.id] for each in (one, far)]
        assert accounts[0] == accounts[1]
        [container] = accounts[0].containers.values()
        assert (container.settings.cacheable, container.settings.strict_reads) == (False, True)
        assert (accounts[0].snapshot_version, container.snapshot_version) == (2, 2)


async def test_a_change_bound_to_a_version_from_before_a_merge_is_refused(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one], seats(tmp_path, datacenter=2) as [far]:
        await one.container(7, containerName="new")
        await far.container(7, containerName="new", description="theirs")
        await merge_both(one, far)
        id = new_id("new", [])
        with pytest.raises(UpdateConflict, match="snapshotVersion 2"):
            await one.container(7, containerId=id, description="mine", snapshotVersion=1)


# --- the store is away ---


async def test_until_the_store_was_asked_nobody_knows_whether_a_container_is_locked(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "m.sqlite")) as store:
        one = seat(store)
        with pytest.raises(Unavailable, match="not known here yet"):
            one.containers.default.check_unlocked(NOW)
        assert one.sync.staleness_s is None
        await one.sync.tick()
        one.containers.default.check_unlocked(NOW)
        assert one.sync.staleness_s == 0


async def test_what_was_last_seen_stays_while_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seats(tmp_path) as [one]:
        await one.account(accountName="team", containers=[{"containerName": "models", "isPrivate": True}])

        async def away() -> None:
            raise Unavailable("no such luck")

        monkeypatch.setattr(one.store, "head", away)
        one.clock.advance(30)
        assert await one.sync.tick() > 0
        found = await one.containers.resolve("team", "models")
        assert found.settings.is_private and one.sync.staleness_s == 30
        with pytest.raises(Unavailable, match="no such luck"):
            await one.containers.resolve("team", "other")
        with pytest.raises(Unavailable):
            await one.account(accountName="more")
        monkeypatch.undo()
        assert await one.sync.tick() > 0
        assert one.sync.staleness_s == 0


async def test_settings_of_a_later_release_switch_a_container_off(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        made = await one.container(7, containerName="new", description="kept")
        key = made.id.to_bytes(4, "big")
        await one.store.write(
            [
                Put(Space.CONTAINER, account_scope(7), key + b"namedBlobMode", b'"SOMETIMES"'),
                Put(Space.CONTAINER, account_scope(7), key + b"somethingNew", b"5"),
                *told_puts([7], 1),
            ]
        )
        await one.sync.refresh()
        assert one.containers.directory.accounts[7].containers[made.id].settings.status is AccountStatus.INACTIVE
