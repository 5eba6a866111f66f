"""A follower takes another datacenter's log page by page, and loses nothing whatever happens between two of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from frontend import metrics
from frontend.following.follower import LEASE_S, NOTE_EVERY_S, PAUSE_MAX_S
from frontend.following.wire import cursor_key
from frontend.metadata import sqlite
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import KEY_BYTES_MAX, SPACE_MAX, VALUE_BYTES_MAX, MetadataStore, Put, Stamp, Version
from tests.support.fake_clock import OwnClock, SettableClock
from tests.support.following import SCOPE, StoreSource, everything, follower_of, living, stores
from tests.support.metadata_stores import sqlite_store


async def put(store: MetadataStore, key: bytes, value: bytes | None) -> None:
    await store.write([Put(Space.NAME, SCOPE, key, value)])


async def test_what_another_datacenter_has_comes_page_by_page(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        follower = follower_of(here, StoreSource(there, limit=2), clock=clock)
        for number in range(5):
            await put(there, b"%d" % number, b"v")
        assert await follower.tick() == 0.0
        assert (follower.merged, follower.behind_versions) == (2, 3)
        await follower.tick()
        await follower.tick()
        assert (follower.merged, follower.behind_versions) == (5, 0)
        assert await living(here) == await living(there)


async def test_one_that_comes_after_a_kill_goes_on_where_the_last_page_ended(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        source = StoreSource(there, limit=2)
        for number in range(4):
            await put(there, b"%d" % number, b"v")
        killed = follower_of(here, source, clock=clock, owner=b"a" * 16)
        await killed.tick()
        heir = follower_of(here, source, clock=clock, owner=b"b" * 16)
        wait_s = await heir.tick()
        assert wait_s > 0
        assert not heir.leading
        assert heir.behind_s() is None
        clock.advance(LEASE_S)
        await heir.tick()
        assert heir.leading
        assert heir.merged == 2
        assert await everything(here) == await everything(there)


async def test_one_that_stops_in_order_lets_another_follow_at_once(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        source = StoreSource(there)
        first, second = (follower_of(here, source, clock=clock, owner=name * 16) for name in (b"a", b"b"))
        await first.tick()
        await first.stop()
        await second.tick()
        assert second.leading


async def test_who_follows_no_more_says_nothing_of_it(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        source = StoreSource(there)
        first, second = (follower_of(here, source, clock=clock, owner=name * 16) for name in (b"a", b"b"))
        await first.tick()
        source.cut = True
        await first.tick()
        assert first.describe()["error"]
        clock.advance(LEASE_S)
        await second.tick()
        await first.tick()
        told = first.describe()
        assert (told["follows"], told["error"], told["behind_versions"], told["behind_s"]) == (False, "", None, None)


async def test_what_comes_back_from_us_is_not_written_again(tmp_path: Path) -> None:
    """Each change comes back once from every datacenter that follows us; a cursor for each would double what disks sync."""
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        forth, back = (
            follower_of(there, StoreSource(here), clock=clock),
            follower_of(here, StoreSource(there), clock=clock),
        )
        await put(here, b"a", b"1")
        await forth.tick()
        await back.tick()
        noted = await here.local(LocalSpace.CURSOR, cursor_key(2))
        await put(here, b"b", b"1")
        await forth.tick()
        await back.tick()
        assert back.merged == 0
        assert await here.local(LocalSpace.CURSOR, cursor_key(2)) == noted
        clock.advance(NOTE_EVERY_S)
        await put(here, b"c", b"1")
        await forth.tick()
        await back.tick()
        assert await here.local(LocalSpace.CURSOR, cursor_key(2)) != noted


async def test_it_waits_longer_and_longer_while_nobody_answers_and_says_how_far_behind_it_may_be(
    tmp_path: Path,
) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        source = StoreSource(there)
        follower = follower_of(here, source, clock=clock)
        await follower.tick()
        assert follower.behind_s() == 0.0
        source.cut = True
        waits = [await follower.tick() for _ in range(12)]
        assert waits[0] < waits[-1] <= 1.5 * PAUSE_MAX_S
        assert "cut off" in follower.describe()["error"]
        clock.advance(60)
        assert follower.behind_s() == pytest.approx(60)
        source.cut = False
        assert await follower.tick() == 0.0
        assert follower.behind_s() == 0.0
        assert follower.describe()["error"] == ""


async def test_a_page_that_the_own_store_refuses_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        await put(there, b"a", b"1")
        follower = follower_of(here, StoreSource(there), clock=clock)
        with monkeypatch.context() as patch:

            async def refuse(*_args: object, **_more: object) -> int:
                raise InvalidRequest("not now")

            patch.setattr(here, "merge", refuse)
            with pytest.raises(InvalidRequest):
                await follower.tick()
        await follower.tick()
        assert await everything(here) == await everything(there)


async def test_a_store_put_back_from_a_backup_gets_its_own_lost_versions_again(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        forth = follower_of(there, StoreSource(here), clock=clock)
        back = follower_of(here, StoreSource(there), clock=clock)
        await put(here, b"kept", b"1")
        await forth.tick()
        await back.tick()
        await here.close()
        backup = tmp_path / "backup.sqlite"
        shutil.copy(tmp_path / "dc1.sqlite", backup)
        here = sqlite_store(tmp_path / "dc1.sqlite", datacenter=1, clock=clock)
        await put(here, b"lost", b"2")
        await put(here, b"kept", None)
        forth = follower_of(there, StoreSource(here), clock=clock)
        clock.advance(LEASE_S)
        await forth.tick()
        await here.close()
        for name in ("dc1.sqlite-wal", "dc1.sqlite-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        shutil.copy(backup, tmp_path / "dc1.sqlite")
        here = sqlite_store(tmp_path / "dc1.sqlite", datacenter=1, clock=clock)
        try:
            await put(here, b"since", b"3")
            clock.advance(LEASE_S)
            back = follower_of(here, StoreSource(there), clock=clock)
            forth = follower_of(there, StoreSource(here), clock=clock)
            for _ in range(3):
                await back.tick()
                await forth.tick()
            assert await living(here) == {b"lost": b"2", b"since": b"3"}
            assert await everything(here) == await everything(there)
        finally:
            await here.close()


@pytest.mark.parametrize("owner", [1, 2])
async def test_a_log_that_fits_a_cursor_again_but_not_what_was_before_it_is_read_anew(
    tmp_path: Path, owner: int
) -> None:
    """Two versions were lost with a disk. One was written since, and a reader had one of the lost ones fetched: it stands at
    its old number, where the cursor of the other datacenter stands, which took the log for the same and missed the new one."""
    clock = SettableClock()
    async with stores(tmp_path, [clock] * 3) as (here, there, third):
        await put(here, b"kept", b"1")
        await here.close()
        backup = tmp_path / "backup.sqlite"
        shutil.copy(tmp_path / "dc1.sqlite", backup)
        here = sqlite_store(tmp_path / "dc1.sqlite", datacenter=1, clock=clock)
        made = here if owner == 1 else third
        lost = [(await made.write([Put(Space.NAME, SCOPE, key, b"2")]))[0] for key in (b"lost", b"found")]
        await here.merge(lost)
        forth = follower_of(there, StoreSource(here), clock=clock)
        await forth.tick()
        assert await everything(here) == await everything(there)
        await here.close()
        for name in ("dc1.sqlite-wal", "dc1.sqlite-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        shutil.copy(backup, tmp_path / "dc1.sqlite")
        here = sqlite_store(tmp_path / "dc1.sqlite", datacenter=1, clock=clock)
        try:
            clock.advance(LEASE_S)
            await put(here, b"since", b"3")
            await here.merge([lost[1]])
            back = follower_of(here, StoreSource(there), clock=clock)
            forth = follower_of(there, StoreSource(here), clock=clock, owner=b"p" * 16)
            for _ in range(3):
                await back.tick()
                await forth.tick()
            assert (await living(there))[b"since"] == b"3"
            assert await everything(here) == await everything(there)
        finally:
            await here.close()


async def test_a_clock_a_year_ahead_in_one_datacenter_harms_no_order_in_the_others(tmp_path: Path) -> None:
    shared = SettableClock()
    clocks = [OwnClock(shared) for _ in range(3)]
    clocks[0].ahead_ms = 365 * 86_400_000
    async with stores(tmp_path, clocks) as (ahead, second, third):
        await put(ahead, b"x", b"from the future")
        for store, source in ((second, ahead), (third, ahead)):
            await follower_of(store, StoreSource(source), clock=shared).tick()
        for value in (b"1", b"2", b"3"):
            await put(second, b"x", value)
            await put(second, b"own", value)
        await follower_of(third, StoreSource(second), clock=shared).tick()
        await follower_of(ahead, StoreSource(third), clock=shared).tick()
        for store in (ahead, second, third):
            assert await living(store) == {b"x": b"3", b"own": b"3"}
            values = [version.value for version in await store.history(Space.NAME, SCOPE, b"own")]
            assert values == [b"3", b"2", b"1"]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.integers(0, 2), st.sampled_from([b"a", b"b"]), st.sampled_from([None, b"1", b"2"])
        ),
        st.tuples(st.just("follow"), st.integers(0, 2), st.integers(0, 2), st.none()),
        st.tuples(st.just("cut"), st.integers(0, 2), st.integers(0, 2), st.none()),
        st.tuples(st.just("kill"), st.integers(0, 2), st.integers(0, 2), st.none()),
        st.tuples(st.just("clock"), st.integers(0, 2), st.integers(-100_000, 100_000), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
async def test_datacenters_that_are_cut_apart_at_random_are_equal_when_they_are_whole_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int | bytes, bytes | None]]
) -> None:
    shared = SettableClock()
    clocks = [OwnClock(shared) for _ in range(3)]
    async with stores(tmp_path_factory.mktemp("stores"), clocks) as found:
        pairs = [(here, there) for here in range(3) for there in range(3) if here != there]
        sources = {pair: StoreSource(found[pair[1]], limit=2) for pair in pairs}
        followers = {pair: follower_of(found[pair[0]], sources[pair], clock=shared) for pair in pairs}
        made = 0
        for what, place, other, value in steps:
            shared.advance(0.001)
            if what == "put":
                assert isinstance(other, bytes)
                await put(found[place], other, value)
                made += 1
                continue
            assert isinstance(other, int)
            pair = (place, other)
            if what == "clock":
                clocks[place].ahead_ms = other
            elif place == other:
                continue
            elif what == "cut":
                sources[pair].cut = not sources[pair].cut
            elif what == "kill":
                followers[pair] = follower_of(found[place], sources[pair], clock=shared)
            else:
                await followers[pair].tick()
        for source in sources.values():
            source.cut = False
        while True:
            before = [await store.head() for store in found]
            for follower in followers.values():
                await follower.tick()
            if [await store.head() for store in found] == before:
                break
        states = [await everything(store) for store in found]
        assert states[0] == states[1] == states[2]
        assert len(states[0]) == made
        listed = [await living(store) for store in found]
        assert listed[0] == listed[1] == listed[2]


IMPOSSIBLE = {
    "key": Version(Space.NAME, SCOPE, b"k" * (KEY_BYTES_MAX + 1), Stamp(9, 2), b"v", 0),
    "value": Version(Space.NAME, SCOPE, b"k", Stamp(9, 2), b"v" * (VALUE_BYTES_MAX + 1), 0),
    "datacenter": Version(Space.NAME, SCOPE, b"k", Stamp(9, 1 << 16), b"v", 0),
    "space": Version(SPACE_MAX + 1, SCOPE, b"k", Stamp(9, 2), b"v", 0),
}


@pytest.mark.parametrize("beyond", IMPOSSIBLE)
async def test_a_version_that_no_store_can_hold_keeps_none_of_those_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beyond: str
) -> None:
    clock = SettableClock()
    passed = metrics.UNREADABLE.labels("follow_dc2")
    before = passed.value
    async with stores(tmp_path, [clock, clock]) as (here, there):
        await put(there, b"a", b"1")
        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "check_merge", lambda _versions: None)
            await there.merge([IMPOSSIBLE[beyond]])
        follower = follower_of(here, StoreSource(there, limit=2), clock=clock)
        await follower.tick()
        assert follower.merged == 1
        await put(there, b"b", b"2")
        await follower.tick()
        assert (follower.merged, follower.behind_versions, follower.error) == (2, 0, "")
        assert await living(here) == {b"a": b"1", b"b": b"2"}
    assert passed.value - before == 1


async def test_what_only_a_later_release_knows_is_taken_as_it_is(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        await there.merge([Version(SPACE_MAX, SCOPE, b"k", Stamp(9, 2), b"\xff of another kind", 0)])
        await follower_of(here, StoreSource(there), clock=clock).tick()
        assert await everything(here) == await everything(there)
