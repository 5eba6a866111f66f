"""Keys of containers are rotated, wrapped anew, and deleted for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ambry.errors import EncryptionKeyDeleted, InvalidRequest, KeyNotFound, KeysUnavailable, RetentionLocked
from frontend.encryption.key_rows import COUNT_MAX, DeletedKey, WrappedKey, shown
from frontend.metadata.spaces import Space
from frontend.metadata.store import Version
from tests.support.keyrings import CACHE_S, Seat, exchange, seats

DATA, ABOUT = b"d" * 32, b"blob"


async def stored(seat: Seat, scope: int) -> list[WrappedKey]:
    return [row.key for row in await seat.keyring.rows(scope) if isinstance(row.key, WrappedKey)]


async def test_a_rotated_key_is_current_everywhere_and_the_one_before_opens_on(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1) as [one, other]:
        container = await one.container()
        await other.tick()
        before = await other.keyring.current_soon(container)
        wrapped = before.wrap(DATA, ABOUT)
        made = await one.keys.rotate(container)
        assert shown(made.version) == "2.1"
        assert (await one.keyring.current_soon(container)).version == made.version
        await other.tick()
        assert other.keyring.current(container) is None
        assert (await other.keyring.current_soon(container)).version == made.version
        assert (await one.keyring.find_soon(container.scope, before.version)).unwrap(wrapped, ABOUT) == DATA


async def test_rotations_at_once_make_one_key_each_or_share_it(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1) as [one, other]:
        container = await one.container()
        await other.tick()
        made = await asyncio.gather(one.keys.rotate(container), other.keys.rotate(container))
        versions = [row.version >> 16 for row in await one.keys.all(container)]
        assert versions in ([1, 2], [1, 2, 3])
        assert max(row.version >> 16 for row in made) == versions[-1]


async def test_a_store_that_was_put_back_makes_no_key_in_the_place_of_one_that_others_know(tmp_path: Path) -> None:
    """It did not know of its newest key: another one of that version would have replaced it in every datacenter."""
    async with seats(tmp_path, 1, 2) as [one, two]:
        container = await one.container()
        backup = (await one.store.log()).versions
        await one.keys.rotate(container)
        lost = (await one.keyring.current_soon(container)).wrap(DATA, ABOUT)
        await exchange(one, two)
        (tmp_path / "back").mkdir()
        async with seats(tmp_path / "back", 1) as [back]:
            back.provider.versions = one.provider.versions
            await back.store.merge(backup)

            async def ask(space: Space, scope: int, key: bytes) -> Version | None:
                found = await two.store.get(space, scope, key)
                await back.store.merge([] if found is None else [found])
                return found

            back.keyring.elsewhere = ask
            await back.tick()
            # That of before was found, and is the newer one that was asked for.
            assert shown((await back.keys.rotate(container)).version) == "2.1"
            key = await back.keyring.find_soon(container.scope, 2 << 16 | 1)
            assert key.unwrap(lost, ABOUT) == DATA


async def test_a_store_that_was_put_back_to_before_the_first_key_makes_no_other_first_one(tmp_path: Path) -> None:
    """It did not ask where it knew of no key: all that the first one had sealed was lost, in every datacenter."""
    async with seats(tmp_path, 1, 2) as [one, two]:
        container = await one.container()
        sealed = (await one.keyring.current_soon(container)).wrap(DATA, ABOUT)
        await exchange(one, two)
        (tmp_path / "back").mkdir()
        async with seats(tmp_path / "back", 1) as [back]:
            back.provider.versions = one.provider.versions

            async def ask(space: Space, scope: int, key: bytes) -> Version | None:
                found = await two.store.get(space, scope, key)
                await back.store.merge([] if found is None else [found])
                return found

            back.keyring.elsewhere = ask
            key = await back.keyring.current_soon(container)
            assert key.unwrap(sealed, ABOUT) == DATA


async def test_a_container_without_keys_is_not_rotated(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container(encrypted=False)
        with pytest.raises(InvalidRequest, match="is not encrypted: it has no key"):
            await one.keys.rotate(container)


async def test_what_was_sealed_stays_readable_where_encryption_is_switched_off(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        key = await one.keyring.current_soon(await one.container())
        container = await one.container(encrypted=False)
        assert not container.settings.encrypted
        assert await one.keyring.find_soon(container.scope, key.version) is not None
        assert (await one.keys.rotate(container)).version > key.version


async def test_keys_are_wrapped_anew_in_steps_and_nothing_of_the_old_text_is_left(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        containers = [await one.container(f"c{number}") for number in range(5)]
        for container in containers:
            await one.keys.rotate(container)
        sealed = (await one.keyring.current_soon(containers[3])).wrap(DATA, ABOUT)
        old = [key.wrapped.text for container in containers for key in await stored(one, container.scope)]
        one.provider.versions = ["1", "2"]
        after, done, steps = None, 0, 0
        while True:
            step = await one.keys.rewrap(after, 4)
            done, steps, after = done + step.done, steps + 1, step.next
            assert (step.version, step.failed) == ("2", ())
            if after is None:
                break
        assert (done, steps) == (10, 3)
        again = await one.keys.rewrap(None, 1000)
        assert (again.done, again.already, again.next) == (0, 10, None)
        one.provider.versions = ["2"]
        await one.keyring.close()
        key = await one.keyring.current_soon(containers[3])
        assert key.unwrap(sealed, ABOUT) == DATA
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert [text for text in old if text in files] == []


async def test_what_cannot_be_wrapped_anew_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        await one.container("first")
        one.provider.versions = ["2"]
        await one.container("second")
        one.provider.versions = ["2", "3"]
        step = await one.keys.rewrap(None, 10)
        assert (step.done, step.next) == (1, None)
        [why] = step.failed
        assert "no version 1 of the master key any more" in why and "default/first" in why
        one.provider.away = True
        with pytest.raises(KeysUnavailable):
            await one.keys.rewrap(None, 10)
        with pytest.raises(InvalidRequest):
            await one.keys.rewrap(None, 0)


async def test_the_keys_of_a_container_go_for_ever_everywhere(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1, 2) as [one, other, far]:
        container = await one.container()
        await one.keys.rotate(container)
        keys = [await one.keyring.find_soon(container.scope, count << 16 | 1) for count in (1, 2)]
        old = [key.wrapped.text for key in await stored(one, container.scope)]
        await exchange(one, far)
        await other.tick()
        for seat in (other, far):
            await seat.keyring.current_soon(container)
        with pytest.raises(InvalidRequest, match="is in use: set its status to INACTIVE first"):
            await one.keys.delete(container, None, by="k")
        await one.container(status="INACTIVE")
        assert [shown(version) for version in await one.keys.delete(container, None, by="k")] == ["1.1", "2.1"]
        await other.tick()
        await exchange(one, far)
        for seat in (one, other, far):
            assert seat.keyring.open_count == 0
            for key in keys:
                assert seat.keyring.find(container.scope, key.version) is None
                with pytest.raises(EncryptionKeyDeleted, match="unreadable for ever"):
                    await seat.keyring.find_soon(container.scope, key.version)
            rows = await seat.keys.all(container)
            assert [row.key for row in rows] == [DeletedKey(one.clock.wall_ms(), "k")] * 2
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert [text for text in old if text in files] == []
        # Switched on again, it is written with a key that never was.
        container = await one.container(status="ACTIVE")
        assert shown((await one.keyring.current_soon(container)).version) == "3.1"


async def test_a_deletion_wins_over_a_datacenter_that_wraps_anew_later(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 2) as [one, two]:
        container = await one.container()
        await exchange(one, two)
        await one.container(status="INACTIVE")
        await one.keys.delete(container, None, by="k")
        two.clock.advance(60)
        two.provider.versions = ["1", "2"]
        assert (await two.keys.rewrap(None, 10)).done == 1
        await exchange(one, two)
        for seat in (one, two):
            assert [row.key for row in await seat.keys.all(container) if isinstance(row.key, WrappedKey)] == []
            for version in (await seat.store.log()).versions:
                if version.space == Space.CONTAINER_KEY:
                    assert not version.value or version.value[:1] == b"\1"


async def test_an_old_key_goes_when_nobody_can_write_with_it_any_more(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        with pytest.raises(InvalidRequest, match=r"1\.1 is the key with which .* is written: rotate it first"):
            await one.keys.delete(container, 1 << 16 | 1, by="k")
        with pytest.raises(KeyNotFound, match=r"never had a key 7\.1"):
            await one.keys.delete(container, 7 << 16 | 1, by="k")
        await one.keys.rotate(container)
        one.clock.advance(CACHE_S - 60)
        with pytest.raises(InvalidRequest, match=r"may write with 1\.1 for 60 s more"):
            await one.keys.delete(container, 1 << 16 | 1, by="k")
        one.clock.advance(60)
        assert await one.keys.delete(container, 1 << 16 | 1, by="k") == [1 << 16 | 1]
        assert await one.keys.delete(container, 1 << 16 | 1, by="another") == [1 << 16 | 1]
        rows = await one.keys.all(container)
        assert isinstance(rows[0].key, DeletedKey) and rows[0].key.by == "k" and isinstance(rows[1].key, WrappedKey)


async def test_the_keys_of_a_locked_container_are_not_deleted(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container(retentionLockUntil=one.clock.wall_ms() + 1000, status="INACTIVE")
        with pytest.raises(RetentionLocked):
            await one.keys.delete(container, None, by="k")
        one.clock.advance(2)
        assert len(await one.keys.delete(container, None, by="k")) == 1


def test_numbers_of_keys_fit_what_stands_in_records() -> None:
    assert (COUNT_MAX << 16 | 0xFFFF).bit_length() == 32
