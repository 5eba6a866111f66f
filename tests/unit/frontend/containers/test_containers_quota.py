"""Quotas: whatever frontends do at the same time, no more is put than there is room for (contract F40)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambry.errors import MetadataUnavailable, QuotaExceeded, Unavailable
from ambry.rest.accounts import AccountSettings
from frontend.container import Container
from frontend.containers import quota
from frontend.containers.quota import Hold, Quotas
from frontend.containers.quota_bounds import account_number
from frontend.containers.quota_rows import NOTHING, QuotaAmount, QuotaCount, count_key, decode_count
from frontend.http.body import ClientGone
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import MetadataStore
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import some_container
from tests.support.metadata_stores import opened, sqlite_store

KIB = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """The quotas of one frontend."""

    quotas: Quotas
    store: MetadataStore
    clock: SettableClock

    async def put(
        self, container: Container, size: int | None, pieces: tuple[int, ...] = (), *, fails: bool = False
    ) -> bool:
        """Whether an upload was stored; `size` None is one of which the pieces come one after the other."""
        try:
            async with Hold(self.quotas, container, size) as hold:
                await asyncio.sleep(0)
                async for _ in hold.over(body(pieces)):
                    await asyncio.sleep(0)
                if fails:
                    raise ClientGone
        except (QuotaExceeded, ClientGone):
            return False
        return True

    async def count(self, container: Container) -> QuotaCount:
        row = await self.store.local(LocalSpace.USAGE, count_key(container.scope))
        assert row is not None
        return decode_count(row.value)

    async def idle(self) -> None:
        """Time passes in which nobody wants anything."""
        self.clock.advance(quota.IDLE_S)
        await self.quotas.tick()


async def body(pieces: tuple[int, ...]) -> AsyncIterator[bytes | None]:
    for size in pieces:
        yield b"a" * size
        yield None


@contextlib.asynccontextmanager
async def seats(
    path: Path, count: int = 1, *, had: Mapping[int, QuotaAmount] | None = None
) -> AsyncIterator[list[Seat]]:
    async def counted() -> Mapping[int, QuotaAmount]:
        return had or {}

    async with contextlib.AsyncExitStack() as ending:
        made = []
        for number in range(count):
            clock = SettableClock()
            store = await ending.enter_async_context(opened(sqlite_store(path / "m.sqlite", clock=clock)))
            quotas = Quotas(store, counted, clock=clock, random_source=random.Random(number))
            made.append(Seat(quotas=quotas, store=store, clock=clock))
        yield made


async def test_what_fits_is_put_and_the_rest_is_refused_with_a_sentence(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = some_container(quota_bytes=100, quota_blobs=3)
        assert await one.put(container, 60)
        with pytest.raises(
            QuotaExceeded, match=r"60 of 100 bytes and 1 of 3 blobs of its quota.*41 bytes more"
        ) as caught:
            async with Hold(one.quotas, container, 41):
                pass
        assert caught.value.retry_after_s == quota.RETRY_AFTER_S
        assert await one.put(container, 40)
        assert not await one.put(container, 1)
        assert await one.put(container, 0)
        assert not await one.put(container, 0), "that would be a fourth blob"
        assert (await one.count(container)).used == QuotaAmount(100, 3)


async def test_what_the_container_had_before_it_had_a_quota_counts(tmp_path: Path) -> None:
    container = some_container(quota_bytes=100)
    async with seats(tmp_path, had={container.scope: QuotaAmount(90, 7)}) as [one]:
        assert not await one.put(container, 11)
        assert await one.put(container, 10)


async def test_an_upload_of_unknown_size_takes_each_piece_before_it_is_written(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = some_container(quota_bytes=100)
        assert await one.put(container, None, (40, 40))
        assert not await one.put(container, None, (10, 11))
        assert await one.put(container, None, (10, 10)), "what failed gave back what it took"


async def test_what_fails_gives_back_what_it_took(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = some_container(quota_bytes=100, quota_blobs=1)
        for _ in range(5):
            assert not await one.put(container, 100, fails=True)
        assert await one.put(container, 100)


@pytest.mark.parametrize("seed", range(4))
async def test_frontends_that_put_at_the_same_time_never_put_more_than_there_is_room_for(
    tmp_path: Path, seed: int
) -> None:
    source = random.Random(seed)
    most = QuotaAmount(source.randrange(50 * KIB, 400 * KIB), source.randrange(30, 120))
    container = some_container(quota_bytes=most.bytes, quota_blobs=most.blobs)
    async with seats(tmp_path, 3) as every:
        put = NOTHING

        async def client(seat: Seat, source: random.Random) -> None:
            nonlocal put
            for _ in range(40):
                size = source.randrange(8 * KIB)
                known = source.random() < 0.5
                fails = source.random() < 0.2
                if await seat.put(
                    container, size if known else None, () if known else (size // 2, size - size // 2), fails=fails
                ):
                    put += QuotaAmount(size, 1)
                    assert most.covers(put)
                if source.random() < 0.05:
                    await seat.idle()

        clients = [client(seat, random.Random(source.random())) for seat in every for _ in range(4)]
        await asyncio.gather(*clients)
        for seat in every:
            await seat.idle()
        assert (await every[0].count(container)).used == put, "nothing is lost and nothing is counted twice"
        left = most - put
        assert left.bytes < 8 * KIB or not left.blobs, "and nearly all of it can be had"


async def test_uploads_share_what_was_taken_and_seldom_ask_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seats(tmp_path) as [one]:
        container = some_container(quota_bytes=1 << 40)
        writes = 0
        write = one.store.write

        async def counted(*given: object) -> object:
            nonlocal writes
            writes += 1
            return await write(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(one.store, "write", counted)
        assert all([await one.put(container, 4 * KIB) for _ in range(1000)])
        assert writes == 2  # the first count, and one grant


async def test_what_nobody_wants_is_given_back_for_others(tmp_path: Path) -> None:
    async with seats(tmp_path, 2) as [one, other]:
        container = some_container(quota_bytes=1000)
        assert await one.put(container, 100)
        held = (await one.count(container)).used.bytes - 100
        assert 0 < held <= 900 // quota.SHARE
        assert not await other.put(container, 900)
        await one.idle()
        assert await other.put(container, 900)


async def test_the_end_of_a_process_gives_back_too(tmp_path: Path) -> None:
    async with seats(tmp_path) as [one]:
        container = some_container(quota_bytes=1000)
        assert await one.put(container, 100)
        await one.quotas.close()
        assert (await one.count(container)).used == QuotaAmount(100, 1)
        assert await one.store.locals(LocalSpace.USAGE, prefix=b"g") == []


async def test_one_that_slept_for_long_hands_out_nothing_of_what_it_had(tmp_path: Path) -> None:
    """SIGSTOP, or a store that was away: what it holds may be counted no more, and be others'."""
    async with seats(tmp_path) as [one]:
        container = some_container(quota_bytes=1000)
        assert await one.put(container, 100)
        before = (await one.count(container)).used
        one.clock.advance(quota.GRANT_LIFE_S + 1)
        assert await one.put(container, 50)
        assert (await one.count(container)).used.bytes >= before.bytes + 50


async def test_while_the_store_is_away_what_was_taken_is_used_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seats(tmp_path) as [one]:
        container = some_container(quota_bytes=1000)
        assert await one.put(container, 1)

        async def away(*_: object) -> None:
            raise MetadataUnavailable("no such luck")

        monkeypatch.setattr(one.store, "local", away)
        monkeypatch.setattr(one.store, "write", away)
        assert await one.put(container, 100)
        with pytest.raises(Unavailable):
            await one.put(container, 100)
        monkeypatch.undo()
        assert await one.put(container, 100)


async def test_where_the_data_nodes_cannot_tell_what_there_is_nothing_is_put(tmp_path: Path) -> None:
    async def counted() -> Mapping[int, QuotaAmount]:
        raise Unavailable("partition 3 is away")

    async with opened(sqlite_store(tmp_path / "m.sqlite")) as store:
        quotas = Quotas(store, counted, clock=SettableClock(), random_source=random.Random(1))
        with pytest.raises(Unavailable, match="partition 3"):
            async with Hold(quotas, some_container(quota_bytes=5), 1):
                pass


async def test_a_container_without_a_quota_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with seats(tmp_path) as [one]:
        monkeypatch.setattr(one.store, "local", None)
        assert await one.put(some_container(), 1 << 40)
        source = body((5,))
        assert Hold(one.quotas, some_container(), None).over(source) is source
        assert Hold(one.quotas, some_container(quota_bytes=5), 5).over(source) is source


async def test_containers_share_the_quota_of_their_account_and_keep_to_their_own(tmp_path: Path) -> None:
    account = AccountSettings(quota_bytes=100)
    bounded, free = some_container(id=1, account=account, quota_bytes=30), some_container(id=2, account=account)
    async with seats(tmp_path, had={2 << 32 | 1: QuotaAmount(1_000, 1), free.scope: QuotaAmount(20, 1)}) as [one]:
        assert await one.put(bounded, 30)
        assert not await one.put(bounded, 1)
        with pytest.raises(QuotaExceeded, match=r"the account default has 50 of 100 bytes"):
            async with Hold(one.quotas, free, 51):
                pass
        assert await one.put(free, 50)
        assert not await one.put(free, 1)


async def test_what_finds_no_room_in_the_account_takes_none_of_the_container(tmp_path: Path) -> None:
    container = some_container(account=AccountSettings(quota_blobs=1), quota_blobs=5)
    async with seats(tmp_path) as [one]:
        assert await one.put(container, 1)
        for _ in range(10):
            assert not await one.put(container, 1)
        await one.idle()
        assert (await one.count(container)).used == QuotaAmount(1, 1)


async def test_frontends_that_race_in_containers_of_one_account_never_pass_its_quota(tmp_path: Path) -> None:
    """Contract F40: sixty uploads at once, at three frontends, into four containers, of which half fit."""
    account = AccountSettings(quota_bytes=30 * KIB)
    containers = [some_container(id=number, account=account) for number in (1, 2, 3, 4)]
    async with seats(tmp_path, 3) as made:
        puts = [
            made[number % 3].put(containers[number % 4], KIB if number % 2 else None, (512, 512))
            for number in range(60)
        ]
        stored = sum(await asyncio.gather(*puts))
        for seat in made:
            await seat.idle()
        row = await made[0].store.local(LocalSpace.USAGE, count_key(account_number(1)))
        assert row is not None
        assert stored * KIB == decode_count(row.value).used.bytes <= 30 * KIB
        refilled = 0
        while await made[0].put(containers[0], KIB):
            refilled += 1
        assert stored + refilled == 30, "and all of it can be used"
