"""Strict reads: a delete that was acknowledged is seen by every read that begins later, whichever replicas know of it."""

from __future__ import annotations

import asyncio
from itertools import combinations

import msgspec
import pytest

from ambry.errors import BlobDeleted, ReplicaUnavailable, Unavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.request import RequestContext
from frontend.router import update
from frontend.router.composite import chunk_list
from frontend.router.get import open_blob
from frontend.router.quorum_read import read_head
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster, some_container
from tests.support.fake_peers import absent, fails, lost, silent


def strict(cluster: FakeCluster) -> RequestContext:
    request = cluster.request()
    request.container = some_container(strict_reads=True)
    return request


async def read(cluster: FakeCluster, blob_id: BlobId) -> bytes:
    download = await open_blob(strict(cluster), cluster.context, blob_id, wanted=None)
    try:
        return b"".join([bytes(piece) async for piece in download.stream()])
    finally:
        download.close()


async def deleted_where(cluster: FakeCluster, blob_id: BlobId, knows: tuple[int, ...]) -> None:
    """Acknowledge a delete that only these replicas have heard of."""
    for index in {1, 2, 3} - set(knows):
        cluster.peer(index).script(lost(), type=MessageType.UPDATE)
    await update.delete(cluster.request(), cluster.context, blob_id)
    for peer in cluster.peers():
        peer.heal()


@pytest.mark.parametrize("size", [10, 3 * CHUNK])
@pytest.mark.parametrize("knows", list(combinations((1, 2, 3), 2)))
async def test_a_delete_that_two_of_three_know_is_seen_by_every_read(size: int, knows: tuple[int, ...]) -> None:
    cluster = make_cluster(((3,),))
    free = cluster.budget.free
    blob_id = (await cluster.put(b"a" * size)).id
    assert await read(cluster, blob_id) == b"a" * size
    await deleted_where(cluster, blob_id, knows)
    for _ in range(10):
        with pytest.raises(BlobDeleted):
            await read(cluster, blob_id)
        with pytest.raises(BlobDeleted):
            await read_head(strict(cluster), cluster.context, blob_id)
        with pytest.raises(BlobDeleted):
            await chunk_list(strict(cluster), cluster.context, blob_id)
    assert cluster.budget.free == free


async def test_without_strict_reads_the_replica_that_has_not_heard_of_it_may_answer() -> None:
    cluster = make_cluster(((3,),))
    blob_id = (await cluster.put(b"a")).id
    await deleted_where(cluster, blob_id, (2, 3))
    cluster.peer(2).script(silent())
    cluster.peer(3).script(silent())
    assert await cluster.read(blob_id) == b"a"


async def test_a_read_that_nobody_can_confirm_is_503_and_says_why() -> None:
    cluster = make_cluster(((3,),))
    free = cluster.budget.free
    blob_id = (await cluster.put(b"a")).id
    for index in (2, 3):
        cluster.peer(index).script(fails(ReplicaUnavailable("it is rebuilding")))
    with pytest.raises(Unavailable, match=r"strict reads: 1 more replicas.*it is rebuilding"):
        await read(cluster, blob_id)
    assert cluster.budget.free == free


async def test_one_that_does_not_answer_keeps_nobody_waiting() -> None:
    cluster = make_cluster(((3,),))
    blob_id = (await cluster.put(b"a")).id
    cluster.peer(2).script(silent(), type=MessageType.GET)
    async with asyncio.timeout(5):
        assert await read(cluster, blob_id) == b"a"
    assert all(peer.open_calls == 0 for peer in cluster.peers())


async def test_a_replica_that_never_heard_of_the_blob_confirms_too() -> None:
    cluster = make_cluster(((3,),))
    blob_id = (await cluster.put(b"a")).id
    cluster.peer(2).script(absent())
    cluster.peer(3).script(lost())
    assert await read(cluster, blob_id) == b"a"


async def test_what_was_asked_for_in_any_state_needs_no_confirmation() -> None:
    cluster = make_cluster(((3,),))
    blob_id = (await cluster.put(b"a")).id
    await deleted_where(cluster, blob_id, (1, 2))
    head = await read_head(strict(cluster), cluster.context, blob_id, any_state=True)
    assert msgspec.structs.asdict(head)["id"] == blob_id
