from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ambry.checksum import BLOCK_SIZE
from ambry.errors import DataCorrupt, Overloaded, RangeNotSatisfiable
from ambry.format import composite as composite_format
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.router.budget import SMALL_BYTES
from frontend.router.composite import CHUNK_LISTED_BYTES, chunk_list, read_composite
from frontend.router.get import open_blob
from frontend.router.reading import ENDED_AFTER_S, RELIEVE_EVERY_S
from frontend.router.values import RangeSpec
from tests.support.content import content
from tests.support.fake_cluster import FakeCluster, changed, make_cluster, some_request
from tests.support.fake_peers import Fault, held
from tests.support.virtual_loop import settle, virtual_time

FEW, MANY = 9, 1500
"""Chunks whose list has less than a block, and more."""


async def made(chunks: int, **options: Any) -> tuple[FakeCluster, BlobId]:
    """A cluster with one blob of so many chunks of 1 KiB."""
    cluster = make_cluster(chunk_size_bytes=1024, put_attempts=1, **options)
    blob_id = (await cluster.put(content(1, chunks * 1024))).id
    await settle()
    cluster.pool.journal.clear()
    return cluster, blob_id


@pytest.mark.parametrize("chunks", [FEW, MANY])
@virtual_time
async def test_the_list_of_chunks_is_charged_before_it_is_here(chunks: int) -> None:
    """It was read first and charged then: 84 KB here, 32 MiB for the largest blob, in no account while a read opened."""
    cluster, blob_id = await made(chunks)
    free = cluster.budget.free
    release = asyncio.Event()
    for peer in cluster.pool:
        peer.script(held(release), type=MessageType.GET)
    reading = asyncio.create_task(read_composite(some_request(), cluster.context, blob_id, of=1))
    await settle()
    assert cluster.budget.free == free - BLOCK_SIZE, "what it asks for first"
    release.set()
    whole = await reading
    payload = composite_format.HEADER_SIZE + chunks * composite_format.ENTRY_SIZE
    assert whole.listed == chunks * CHUNK_LISTED_BYTES
    assert whole.charged == whole.listed + max(BLOCK_SIZE, payload)
    assert cluster.budget.free == free - whole.charged
    asked = [(call.message.first, call.message.end) for call in cluster.pool.calls(MessageType.GET)]
    assert asked == [(0, BLOCK_SIZE)] if chunks == FEW else asked == [(0, BLOCK_SIZE), (0, payload)]


@pytest.mark.parametrize("chunks", [FEW, MANY])
@virtual_time
async def test_an_open_blob_holds_its_list_and_one_block_and_gives_all_back(chunks: int) -> None:
    cluster, blob_id = await made(chunks)
    free = cluster.budget.free
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=RangeSpec(1500, 2500))
    assert cluster.budget.free == free - BLOCK_SIZE - chunks * CHUNK_LISTED_BYTES
    reader.close()
    assert cluster.budget.free == free
    with pytest.raises(RangeNotSatisfiable):
        await open_blob(some_request(), cluster.context, blob_id, wanted=RangeSpec(chunks * 1024, None))


@pytest.mark.parametrize("chunks", [FEW, MANY])
@virtual_time
async def test_a_list_of_chunks_is_charged_until_it_is_closed(chunks: int) -> None:
    """It was charged only while it was read: whoever was told of it slowly held it, and its text, in no account."""
    cluster, blob_id = await made(chunks)
    free = cluster.budget.free
    listed = await chunk_list(some_request(), cluster.context, blob_id)
    assert len(listed.chunks) == chunks
    assert cluster.budget.free == free - BLOCK_SIZE - chunks * CHUNK_LISTED_BYTES
    listed.close()
    listed.close()
    assert cluster.budget.free == free


@virtual_time
async def test_a_list_that_its_client_does_not_take_makes_way_for_others() -> None:
    cluster, blob_id = await made(MANY)
    listed = await chunk_list(some_request(), cluster.context, blob_id)
    listed.handed_at = asyncio.get_running_loop().time()
    listed.abort = listed.close  # what follows when its connection breaks
    reading = cluster.context.reading
    taken = reading.budget.largest - listed.held
    await reading.take(taken, of=taken)
    await reading.take(BLOCK_SIZE + SMALL_BYTES, of=BLOCK_SIZE + SMALL_BYTES)
    assert listed.held == 0
    assert asyncio.get_running_loop().time() == pytest.approx(ENDED_AFTER_S, abs=2 * RELIEVE_EVERY_S)


@virtual_time
async def test_a_list_for_which_there_is_no_memory_is_refused_in_time_and_nothing_stays_taken() -> None:
    cluster, blob_id = await made(MANY, memory_wait_ms=100)
    taken = cluster.budget.largest - 2 * BLOCK_SIZE
    await cluster.budget.take(taken, timeout_s=1)
    with pytest.raises(Overloaded):
        await read_composite(some_request(), cluster.context, blob_id, of=1)
    assert asyncio.get_running_loop().time() == pytest.approx(0.1, abs=0.01)
    assert cluster.budget.free == cluster.budget.size - taken


@virtual_time
async def test_a_list_that_does_not_add_up_is_corrupt_and_gives_its_memory_back() -> None:
    cluster, blob_id = await made(FEW)
    for peer in cluster.pool:
        peer.script(Fault(change=lambda reply, body: (changed(reply, properties=b"\x01\x80"), body)))
    with pytest.raises(DataCorrupt):
        await read_composite(some_request(), cluster.context, blob_id, of=1)
    assert cluster.budget.free == cluster.budget.size
