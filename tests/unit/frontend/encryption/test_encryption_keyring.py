"""Keys of containers are open for as long as they may be, and nobody goes on without one (contract F35)."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from ambry.errors import EncryptionKeyDeleted, InvalidRequest, KeyMismatch, KeysUnavailable
from frontend.container import Container
from frontend.containers.changes import ContainerChanges
from frontend.encryption.key_rows import encode, register_key
from frontend.encryption.opened import OpenKey
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from tests.support.keyrings import CACHE_S, Seat, exchange, seats

DATA, ABOUT = b"d" * 32, b"blob"


def serves(key: OpenKey | None) -> bool:
    return key is not None and key.unwrap(key.wrap(DATA, ABOUT), ABOUT) == DATA


async def writes(seat: Seat, container: Container) -> bool:
    """As an upload asks: for what is known, and where nothing is, for what can be had."""
    return serves(seat.keyring.current(container) or await seat.keyring.current_soon(container))


async def test_a_container_that_is_encrypted_has_its_key_at_once(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1) as [one, other]:
        container = await one.container()
        assert await writes(one, container)
        assert one.keyring.current(container) is one.keyring.find(container.scope, 1 << 16 | 1)
        await other.tick()
        assert other.keyring.current(container) is None
        theirs = await other.keyring.current_soon(container)
        ours = await one.keyring.current_soon(container)
        assert theirs.unwrap(ours.wrap(DATA, ABOUT), ABOUT) == DATA


async def test_a_data_key_opens_where_it_was_wrapped_for_alone(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        key = await one.keyring.current_soon(await one.container("first"))
        another = await one.keyring.current_soon(await one.container("second"))
        wrapped = key.wrap(DATA, ABOUT)
        assert wrapped == key.wrap(DATA, ABOUT) and DATA not in wrapped
        for bad in (b"", wrapped[:20], wrapped[:-1], bytes([wrapped[0] ^ 1]) + wrapped[1:]):
            with pytest.raises(KeyMismatch, match=r"container's key 1\.1"):
                key.unwrap(bad, ABOUT)
        with pytest.raises(KeyMismatch):
            key.unwrap(wrapped, b"another blob")
        with pytest.raises(KeyMismatch):
            another.unwrap(wrapped, ABOUT)


async def test_a_container_cannot_be_encrypted_without_a_provider_or_while_it_is_away(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        without = ContainerChanges(one.containers, one.sync, one.store, clock=one.clock, geo=True)
        with pytest.raises(InvalidRequest, match="not told who keeps master keys"):
            await without.save_containers(1, [{"containerName": "secret", "encrypted": True}])
        with pytest.raises(InvalidRequest, match="not told who keeps master keys"):
            await without.save_accounts([
                {"accountName": "team", "containers": [{"containerName": "secret", "encrypted": True}]}
            ])  # fmt: skip
        one.provider.away = True
        with pytest.raises(KeysUnavailable, match="nobody is there"):
            await one.container()
        assert one.containers.known("default", "secret") is None


async def test_while_the_provider_is_away_keys_serve_to_their_limit_and_then_nobody_is_served(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        key = await one.keyring.current_soon(container)
        one.provider.away = True
        for _ in range(11):
            one.clock.advance(CACHE_S / 12)
            await one.tick()
            assert await writes(one, container) and serves(one.keyring.find(container.scope, key.version))
        one.clock.advance(CACHE_S / 12)
        assert one.keyring.current(container) is one.keyring.find(container.scope, key.version) is None
        await one.tick()
        assert one.keyring.open_count == 0
        with pytest.raises(KeysUnavailable, match=r"1\.1 of the container default/secret .*nobody is there") as refused:
            await one.keyring.current_soon(container)
        assert refused.value.status == 503 and refused.value.retry_after_s == 5.0
        with pytest.raises(KeysUnavailable):
            await one.keyring.find_soon(container.scope, key.version)
        one.provider.away = False
        one.clock.advance(6)
        assert serves(await one.keyring.find_soon(container.scope, key.version))


async def test_a_key_that_is_used_is_opened_again_in_time_and_one_that_is_not_goes(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        used, idle = await one.container("used"), await one.container("idle")
        for container in (used, idle):
            await one.keyring.current_soon(container)
        for _ in range(10):
            one.clock.advance(CACHE_S / 5)
            await one.tick()
            assert await writes(one, used)
        assert one.keyring.open_count == 1
        assert one.keyring.current(idle) is None


async def test_the_wall_clock_decides_nothing(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        await one.keyring.current_soon(container)
        one.clock.wall += 10 * 365 * 86_400_000
        await one.tick()
        assert await writes(one, container)
        one.clock.wall -= 20 * 365 * 86_400_000
        one.clock.seconds += CACHE_S
        assert one.keyring.current(container) is None


async def test_a_wrong_master_key_opens_nothing_and_makes_nothing_readable(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1) as [one, other]:
        container = await one.container()
        await other.tick()
        other.provider.other = True
        with pytest.raises(KeysUnavailable, match="another one than what wrapped it"):
            await other.keyring.current_soon(container)
        # Whoever has it open goes on to its limit.
        await one.keyring.current_soon(container)
        one.clock.advance(CACHE_S * 0.9)
        await one.tick()
        assert await writes(one, container)


async def test_a_version_of_the_master_key_that_is_gone_is_said(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1) as [one, other]:
        container = await one.container()
        await other.tick()
        other.provider.versions = ["2"]
        with pytest.raises(KeysUnavailable, match="no version 1 of the master key any more, only 2"):
            await other.keyring.current_soon(container)


async def test_a_slow_provider_is_asked_once_for_all_who_wait(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1) as [one, other]:
        container = await one.container()
        await other.tick()
        before = len(one.provider.asked)
        other.provider.hanging = True
        waiting = [asyncio.create_task(other.keyring.current_soon(container)) for _ in range(50)]
        await other.provider.called.wait()
        waiting[0].cancel()
        other.provider.released.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert len({id(key) for key in found[1:]}) == 1
        assert one.provider.asked[before:] == ["unwrap"]


async def test_two_frontends_that_make_the_first_key_at_once_make_one(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 1) as [one, other]:
        container = await one.container(encrypted=False)
        keys = await asyncio.gather(one.keyring.current_soon(container), other.keyring.current_soon(container))
        assert keys[0].version == keys[1].version
        assert keys[0].unwrap(keys[1].wrap(DATA, ABOUT), ABOUT) == DATA


async def test_datacenters_that_are_cut_apart_make_keys_of_their_own_and_both_open_everywhere(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 2) as [one, two]:
        container = await one.container(encrypted=False)
        await exchange(one, two)
        first, second = await one.keyring.current_soon(container), await two.keyring.current_soon(container)
        assert (first.version, second.version) == (1 << 16 | 1, 1 << 16 | 2)
        with pytest.raises(KeysUnavailable, match=r"its key 1\.2 is not in the metadata of any datacenter"):
            await one.keyring.find_soon(container.scope, second.version)
        await exchange(one, two)
        here = await one.keyring.find_soon(container.scope, second.version)
        assert here.unwrap(second.wrap(DATA, ABOUT), ABOUT) == DATA
        assert (await one.keyring.current_soon(container)).version == second.version


async def test_a_key_that_has_not_come_yet_is_asked_of_the_others(tmp_path: Path) -> None:
    async with seats(tmp_path, 1, 2) as [one, two]:
        container = await one.container()
        two.keyring.elsewhere = one.store.get
        key = await two.keyring.find_soon(container.scope, 1 << 16 | 1)
        assert serves(key)


async def test_a_key_put_in_the_place_of_another_does_not_open(tmp_path: Path) -> None:
    """Whoever can write to the metadata moves a key that they know to another container."""
    async with seats(tmp_path) as [one]:
        theirs, ours = await one.container("theirs"), await one.container("ours")
        [row] = await one.keyring.rows(theirs.scope)
        assert not hasattr(row.key, "at_ms")
        one.keyring.forget(ours.scope, row.version)
        put = Put(Space.CONTAINER_KEY, ours.scope, register_key(row.version), encode(row.key))
        await one.store.write([put])
        with pytest.raises(KeysUnavailable, match="another one than what wrapped it"):
            await one.keyring.find_soon(ours.scope, row.version)


async def test_a_row_that_cannot_be_read_is_no_key(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        one.keyring.forget(container.scope, 1 << 16 | 1)
        await one.store.write([
            Put(Space.CONTAINER_KEY, container.scope, register_key(1 << 16 | 1), b"\0\xc1half")
        ])  # fmt: skip
        with pytest.raises(KeysUnavailable, match="cannot be read"):
            await one.keyring.current_soon(container)


async def test_without_its_metadata_a_frontend_goes_on_with_the_keys_that_it_has(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        await one.keyring.current_soon(container)
        holding = sqlite3.connect(tmp_path / "1.sqlite", isolation_level=None)
        await one.store.close()
        one.clock.advance(CACHE_S * 0.9)
        await one.keyring.tick()
        assert serves(one.keyring.current(container))
        one.clock.advance(CACHE_S * 0.2)
        assert one.keyring.current(container) is None
        with pytest.raises(KeysUnavailable):
            await one.keyring.current_soon(container)
        holding.close()


async def test_nothing_is_held_after_the_end(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        await one.keyring.current_soon(container)
        await one.keyring.close()
        assert one.keyring.open_count == 0 and one.keyring.current(container) is None


async def test_no_key_is_in_what_is_shown_of_one(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        key = await one.keyring.current_soon(container)
        [row] = await one.keyring.rows(container.scope)
        secret = await one.keyring.open(container.scope, row)
        for shown in (repr(key), repr(one.keyring), repr(row), str(vars(one.keyring))):
            assert secret.hex() not in shown and repr(secret)[2:-1] not in shown
        raw = (tmp_path / "1.sqlite").read_bytes() + (tmp_path / "1.sqlite-wal").read_bytes()
        assert secret not in raw


async def test_a_deleted_key_is_said_to_be_gone_for_ever(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = await one.container()
        key = await one.keyring.current_soon(container)
        await one.container(status="INACTIVE")
        await one.keys.delete(container, None, by="k")
        with pytest.raises(EncryptionKeyDeleted, match="unreadable for ever") as gone:
            await one.keyring.find_soon(container.scope, key.version)
        assert gone.value.status == 410
