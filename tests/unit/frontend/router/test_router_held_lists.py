"""A request that reads many ranges of a large blob reads its list of chunks once, and gives all memory back."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from ambry.errors import Unavailable
from ambry.protocol.frame import MessageType
from frontend.router.budget import Need
from frontend.router.get import open_blob
from frontend.router.held_lists import HeldList
from frontend.router.values import RangeSpec
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster, some_request
from tests.support.fake_peers import fails
from tests.support.virtual_loop import settle, virtual_time

BODY = content(1, 6 * CHUNK)


def lists_read(cluster: FakeCluster, blob: bytes) -> int:
    return len([call for call in cluster.pool.calls(MessageType.GET) if call.message.id == blob])


@virtual_time
async def test_readers_of_one_blob_share_its_list() -> None:
    cluster = make_cluster()
    blob, other = (await cluster.put(BODY)).id, (await cluster.put(BODY[CHUNK:])).id
    await settle()
    cluster.pool.journal.clear()
    free = cluster.budget.free

    async def read(first: int) -> bytes:
        download = await open_blob(
            some_request(), cluster.context, blob, wanted=RangeSpec(first, first + CHUNK), held_list=held
        )
        with closing(download):
            return b"".join([bytes(piece) async for piece in download.stream()])

    with closing(HeldList(cluster.context)) as held:
        firsts = range(0, 5 * CHUNK, CHUNK // 2)
        assert await asyncio.gather(*map(read, firsts)) == [BODY[each : each + CHUNK + 1] for each in firsts]
        asked = lists_read(cluster, blob.raw)
        assert 1 <= asked <= 2, "as often as one read asks"
        whole = await held.read(some_request(), other, of=1)
        cluster.budget.give_back(whole.charged)
        assert await read(1) == BODY[1 : CHUNK + 2]
        assert lists_read(cluster, blob.raw) <= 2 * asked, "of one blob it holds the list"
    assert cluster.budget.free == free


@virtual_time
async def test_where_memory_is_short_nothing_is_held_while_it_is_waited_for() -> None:
    cluster = make_cluster()
    blob = (await cluster.put(BODY)).id
    await settle()
    free = cluster.budget.free
    with closing(HeldList(cluster.context)) as held:
        first = await held.read(some_request(), blob, of=1)
        taken = cluster.budget.free
        assert cluster.budget.try_take(taken, Need.READY)
        again = asyncio.create_task(held.read(some_request(), blob, of=1))
        await settle()
        assert not again.done() and cluster.budget.free == first.listed > 0
        cluster.budget.give_back(taken)
        for whole in (first, await again):
            cluster.budget.give_back(whole.charged)
    assert cluster.budget.free == free


@virtual_time
async def test_a_read_that_failed_is_of_no_other() -> None:
    cluster = make_cluster()
    blob = (await cluster.put(BODY)).id
    await settle()
    free = cluster.budget.free
    with closing(HeldList(cluster.context)) as held:
        for peer in cluster.pool:
            peer.script(fails(Unavailable("later")), blob=blob.raw, type=MessageType.GET)
        with pytest.raises(Unavailable):
            await held.read(some_request(), blob, of=1)
        for peer in cluster.pool:
            peer.heal()
        whole = await held.read(some_request(), blob, of=1)
        cluster.budget.give_back(whole.charged)
    assert cluster.budget.free == free
