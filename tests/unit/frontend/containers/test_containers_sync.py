from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from frontend.containers.registers import Kept, container_puts, told_puts
from frontend.containers.sync import ContainerSync
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Put
from tests.support.metadata_stores import opened, sqlite_store
from tests.unit.frontend.containers.test_containers_changes import seat, seats


class Counting:
    """How often each call of a store was made."""

    def __init__(self, store: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in ("head", "list"):
            monkeypatch.setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name: str, call: object) -> object:
        async def counted(*given: object, **named: object) -> object:
            self.calls.append(name)
            return await call(*given, **named)  # type: ignore[operator]

        return counted


async def test_looking_costs_one_call_while_nothing_changes_and_two_for_what_is_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seats(tmp_path) as [one]:
        await one.account(accountName="team")
        await one.sync.tick()
        counting = Counting(one.store, monkeypatch)
        await one.sync.tick()
        assert counting.calls == ["head"]
        await one.store.write([Put(Space.NAME, 1, b"a name of a blob", b"x")])
        counting.calls.clear()
        directory = one.containers.directory
        await one.sync.tick()
        assert counting.calls == ["head", "list"] and one.containers.directory is directory


async def test_only_the_account_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with seats(tmp_path, 2) as [one, other]:
        made = [await one.account(accountName=f"team{number}") for number in range(10)]
        await other.sync.tick()
        await one.container(made[3].id, containerName="models")
        counting = Counting(other.store, monkeypatch)
        await other.sync.tick()
        assert counting.calls == ["head", "list", "list", "list"]
        assert other.containers.known("team3", "models") is not None


async def test_an_account_of_more_containers_than_a_page_has_is_read_whole(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        for start in (0, 400, 800):
            puts = [
                put
                for number in range(start, start + 400)
                for put in container_puts(7, 70_000 + number, f"c{number}", {}, Kept(), 1, now_ms=0)
            ]
            await one.store.write([*puts, *told_puts([7], 1)])
        await one.sync.refresh()
        assert len(one.containers.directory.accounts[7].containers) == 1201


async def test_who_asks_while_others_are_answered_hears_of_what_was_written_before_he_asked(tmp_path: Path) -> None:
    async with seats(tmp_path, 2) as [one, other]:
        for number in range(20):
            looking = [asyncio.create_task(other.sync.refresh()) for _ in range(3)]
            await asyncio.sleep(0)
            name = f"c{number}"
            await one.container(7, containerName=name)
            await other.sync.refresh()
            assert other.containers.known("ml", name) is not None
            await asyncio.gather(*looking)


async def test_a_store_that_was_put_back_from_a_backup_is_read_again(tmp_path: Path) -> None:
    async with (
        opened(sqlite_store(tmp_path / "one.sqlite")) as store,
        opened(sqlite_store(tmp_path / "two.sqlite")) as old,
    ):
        one, two = seat(store), seat(old)
        await one.account(accountName="lost")
        await two.account(accountName="kept")
        moved = ContainerSync(one.containers, store, clock=one.clock)
        await moved.refresh()
        assert one.containers.directory.account("lost") is not None
        moved._store = old
        await moved.refresh()
        directory = one.containers.directory
        assert directory.account("kept") is not None and directory.account("lost") is None
