"""Open upload sessions are bounded, and a session that ends gives its place back, once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ambry.errors import QuotaExceeded
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalPut
from frontend.rest.new_session import new_session
from frontend.uploads.open_session import OpenSession
from frontend.uploads.places import STRIPES, OpenAmount, Places, decode_count
from frontend.uploads.rows import SessionState, count_prefix, session_key
from frontend.uploads.sessions import Sessions
from tests.support.fake_cluster import put_spec, some_container
from tests.support.upload_world import IDLE_S, World, upload_world

SESSIONS_MAX = 8
KEYS = [f"key{number}" for number in range(8)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with upload_world(tmp_path, encrypted=False, sessions_max=SESSIONS_MAX) as made:
        yield made


async def begin(world: World, owner: str = "", *, metadata: dict[str, str] | None = None, id: int = 1) -> OpenSession:
    container = some_container(id=id)
    now_ms = world.clock.wall_ms()
    new = await new_session(
        world.cluster.context, container, put_spec(metadata=metadata or {}), ttl_s=None, now_ms=now_ms
    )
    return await world.sessions.begin(new, container, owner)


async def counted(world: World, id: int = 1) -> OpenAmount:
    by = (await world.sessions.places.all()).get(some_container(id=id).scope, {})
    return sum(by.values(), OpenAmount())


async def test_no_more_are_open_than_a_container_has_room_for_and_another_one_has_its_own(world: World) -> None:
    """900 sessions with 8 KB of metadata each were begun in a container with a quota of one byte."""
    begun = [await begin(world, key) for key in KEYS]
    with pytest.raises(QuotaExceeded, match="8 uploads in parts are open in the container default/default") as refused:
        await begin(world, "key9")
    assert refused.value.retry_after_s == 60
    await begin(world, "key9", id=2)
    for number, state in ((0, SessionState.ABORTED), (1, SessionState.DONE)):
        await world.sessions.finish(begun[number], state)
        assert await begin(world, "key9")
        with pytest.raises(QuotaExceeded):
            await begin(world, "key10")


async def test_one_key_leaves_room_for_others(world: World) -> None:
    for _ in range(2):
        await begin(world, "greedy")
    with pytest.raises(QuotaExceeded, match="of the key greedy in the container default/default, which may be 2"):
        await begin(world, "greedy")
    assert await begin(world, "other")
    assert [await begin(world) for _ in range(SESSIONS_MAX - 3)], "where no keys are asked for nobody is told apart"


async def test_what_was_said_of_the_blobs_is_bounded_too(tmp_path: Path) -> None:
    said = {"about": "x" * 20_000}
    async with upload_world(tmp_path, encrypted=False, sessions_bytes_max=100_000) as world:
        begun = [await begin(world, key, metadata=said) for key in KEYS[:4]]
        assert 80_000 < (await counted(world)).bytes < 100_000
        with pytest.raises(QuotaExceeded, match="of 100000 bytes"):
            await begin(world, KEYS[4], metadata=said)
        with pytest.raises(QuotaExceeded, match=f"of the key {KEYS[0]}"):
            await begin(world, KEYS[0], metadata={"about": "x" * 6_000})
        assert await begin(world, KEYS[4])
        await world.sessions.finish(begun[0], SessionState.ABORTED)
        assert await begin(world, KEYS[4], metadata={"about": "x" * 18_000})


async def test_an_end_that_is_repeated_or_done_by_two_gives_one_place_back(world: World) -> None:
    first, second = await begin(world), await begin(world)
    await asyncio.gather(*(world.sessions.finish(first, SessionState.DONE) for _ in range(4)))
    assert (await counted(world)).sessions == 1
    ended = await world.sessions.find(first.id)
    await world.sessions.finish(ended, SessionState.DONE)
    assert (await counted(world)).sessions == 1
    await world.sessions.finish(second, SessionState.ABORTED)
    assert await counted(world) == OpenAmount()


@pytest.mark.parametrize("processes", [1, 3])
async def test_many_who_begin_at_once_pass_the_bound_by_no_more_than_the_stripes(world: World, processes: int) -> None:
    places = [
        Places(world.store, random_source=random.Random(seed), sessions_max=40, bytes_max=1 << 30)
        for seed in range(processes)
    ]
    seats = [
        Sessions(
            world.store,
            world.cluster.context.keys,
            each,
            clock=world.clock,
            random_source=random.Random(seed),
            idle_s=IDLE_S,
        )
        for seed, each in enumerate(places)
    ]
    container = some_container()

    async def one(number: int) -> OpenSession | None:
        new = await new_session(world.cluster.context, container, put_spec(), ttl_s=None, now_ms=0)
        try:
            return await seats[number % processes].begin(new, container, "")
        except QuotaExceeded:
            return None

    begun = [each for each in await asyncio.gather(*map(one, range(200))) if each is not None]
    assert 40 <= len(begun) < 40 + STRIPES
    assert (await counted(world)).sessions == len(begun)
    await asyncio.gather(*(world.sessions.finish(each, SessionState.ABORTED) for each in begun))
    assert await counted(world) == OpenAmount()


async def test_of_a_session_that_ended_next_to_nothing_stays(world: World) -> None:
    """What an aborted one had said stood there for seven days more."""
    for state, most in ((SessionState.ABORTED, 250), (SessionState.DONE, 300)):
        found = await begin(world, metadata={"about": "x" * 8_000})
        await world.sessions.finish(found, state)
        row = await world.store.local(LocalSpace.SESSION, session_key(found.id))
        assert row is not None and len(row.value) < most


async def test_the_janitor_counts_what_an_earlier_release_left_wrong_and_nothing_that_changes(world: World) -> None:
    kept, gone = await begin(world, "a"), await begin(world, "b")
    right = (await world.sessions.places.all())[some_container().scope]
    # An earlier release ends a session and knows of no places.
    ended = replace(gone, session=replace(gone.session, place=None))
    await world.sessions.finish(ended, SessionState.ABORTED)
    assert (await counted(world)).sessions == 2
    await world.janitor().tick()
    assert await world.sessions.places.all() == {some_container().scope: {"a": right["a"]}}
    for row in await world.store.locals(LocalSpace.SESSION, prefix=count_prefix()):
        decode_count(row.value)
        await world.store.write([LocalPut(LocalSpace.SESSION, row.key, b"torn")])
    await world.janitor().tick()
    assert await world.sessions.places.all() == {some_container().scope: {"a": right["a"]}}
    counting = await world.sessions.places.counting()
    counting.see(kept.session)
    await world.sessions.finish(kept, SessionState.ABORTED)
    await counting.end()
    assert (await counted(world)).sessions == 0, "it ended while it was counted"


async def test_sessions_that_are_idle_give_their_places_back(world: World) -> None:
    for key in KEYS:
        await begin(world, key)
    world.clock.advance(IDLE_S + 1)
    await world.janitor().tick()
    assert (await counted(world)).sessions == 0
    assert await begin(world, KEYS[0])
