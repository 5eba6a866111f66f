"""What is asked for ahead of a client is handed on as it comes, verified, and goes on from another replica."""

from __future__ import annotations

import asyncio

import pytest

from ambry.checksum import BLOCK_SIZE, Buffer
from ambry.errors import InvariantBroken, PeerConnectionLost, Unavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.router.ahead import PIECE_LEAST, PIECE_MAX, Ahead
from frontend.router.answers import Found
from frontend.router.get import open_blob
from frontend.router.plan import ReadUnit
from frontend.router.quorum_read import Fetch
from tests.support.content import content
from tests.support.fake_cluster import FakeCluster, make_cluster, some_request
from tests.support.fake_peers import Fault, cut_short
from tests.support.memory_keys import MemoryKeys
from tests.support.virtual_loop import settle, virtual_time

SIZE = 40 * BLOCK_SIZE + 77
BODY = content(1, SIZE)


async def made(keys: MemoryKeys | None = None) -> tuple[FakeCluster, BlobId]:
    cluster = make_cluster(
        ((3,),), chunk_size_bytes=64 * BLOCK_SIZE, read_unit_bytes=16 * BLOCK_SIZE, budget=32 << 20, keys=keys
    )
    result = await cluster.put(BODY)
    await settle()
    cluster.pool.journal.clear()
    return cluster, result.id


def ahead(cluster: FakeCluster, blob_id: BlobId, first: int = 0, end: int = SIZE) -> Ahead:
    return Ahead(some_request(), cluster.context, ReadUnit(blob_id.raw, first, end))


async def piece_of(unit: Ahead) -> bytes:
    piece = await asyncio.wait_for(unit.next_piece(), 60)
    assert piece is not None
    unit.given += len(piece)
    return bytes(piece)


@pytest.mark.parametrize(("first", "end"), [(0, SIZE), (5, SIZE), (BLOCK_SIZE, 20 * BLOCK_SIZE - 3), (7, 99)])
@virtual_time
async def test_all_of_a_unit_comes_in_order_in_pieces_of_a_bounded_size(first: int, end: int) -> None:
    cluster, blob_id = await made()
    unit = ahead(cluster, blob_id, first, end)
    got = b""
    while len(got) < end - first:
        piece = await piece_of(unit)
        assert len(piece) <= PIECE_MAX
        got += piece
        assert unit.rest == ReadUnit(blob_id.raw, first + len(got), end)
    assert got == BODY[first:end]


@virtual_time
async def test_what_has_come_is_handed_on_whatever_becomes_of_the_rest() -> None:
    cluster, blob_id = await made()
    for peer in cluster.pool:
        peer.script(Fault(error=PeerConnectionLost("cut"), parts=8))
    unit = ahead(cluster, blob_id)
    assert await piece_of(unit) == BODY[: 8 * BLOCK_SIZE]
    await settle()
    with pytest.raises(Unavailable, match="cut"):
        await piece_of(unit)


@virtual_time
async def test_less_than_is_worth_handing_on_is_waited_for() -> None:
    cluster, blob_id = await made()
    parts = PIECE_LEAST // BLOCK_SIZE - 1
    for peer in cluster.pool:
        peer.script(Fault(error=PeerConnectionLost("cut"), parts=parts), times=1)
    unit = ahead(cluster, blob_id)
    waiting = asyncio.ensure_future(unit.next_piece())
    with pytest.raises(Unavailable, match="cut"):
        await waiting


async def read_while_two_break_off(cluster: FakeCluster, blob_id: BlobId, blocks: int) -> bytes:
    """All of a blob, while two of three peers break off each answer behind so many blocks."""
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    for peer in list(cluster.pool)[:2]:
        peer.script(Fault(error=PeerConnectionLost("cut"), parts=blocks), type=MessageType.GET)
    got = b"".join([bytes(piece) async for piece in reader.stream()])
    reader.close()
    return got


@pytest.mark.parametrize("blocks", range(4, 16, 3))
@virtual_time
async def test_a_download_goes_on_from_another_replica_behind_what_its_client_has(blocks: int) -> None:
    """It read ahead a unit of which a part had been handed on; every byte comes once, whoever breaks off where."""
    cluster, blob_id = await made()
    assert await read_while_two_break_off(cluster, blob_id, blocks) == BODY
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_a_unit_whose_beginning_is_with_a_client_is_dropped_and_read_again_behind_that() -> None:
    cluster, blob_id = await made()
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    got: list[Buffer] = []
    drops = 0
    async for piece in reader.stream():
        got.append(bytes(piece))
        await settle()
        held = reader.held
        drops += reader.drop_ahead()
        assert len(piece) <= reader.held <= held
    reader.close()
    assert drops > 1
    assert b"".join(got) == BODY
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_a_record_that_is_shorter_than_what_lists_it_is_a_bug_and_ends_nothing_early() -> None:
    cluster, blob_id = await made()
    unit = ahead(cluster, blob_id, SIZE - 10, SIZE + 10)
    with pytest.raises(InvariantBroken, match="shorter"):
        await unit.next_piece()
    for peer in cluster.pool:
        peer.script(cut_short(20 * BLOCK_SIZE))
    unit = ahead(cluster, blob_id)
    with pytest.raises(Unavailable, match="asked for bytes"):
        while True:
            await piece_of(unit)


def stretches(cluster: FakeCluster) -> list[int]:
    return [call.message.end - call.message.first for call in cluster.pool.calls(MessageType.GET)]


@virtual_time
async def test_a_stream_that_has_the_memory_asks_for_long_stretches() -> None:
    cluster, blob_id = await made()
    assert await cluster.read(blob_id) == BODY
    assert stretches(cluster) == [16 * BLOCK_SIZE, SIZE - 16 * BLOCK_SIZE]


# --- of encrypted blobs ---


@pytest.mark.parametrize(("first", "end"), [(0, SIZE), (5, SIZE), (BLOCK_SIZE, 20 * BLOCK_SIZE - 3), (7, 99)])
@virtual_time
async def test_a_sealed_unit_is_opened_as_it_comes(first: int, end: int) -> None:
    cluster, blob_id = await made(MemoryKeys())
    unit = ahead(cluster, blob_id, first, end)
    got = b""
    while len(got) < end - first:
        got += await piece_of(unit)
    assert got == BODY[first:end]


@pytest.mark.parametrize("blocks", range(4, 16, 3))
@virtual_time
async def test_a_sealed_download_goes_on_from_another_replica(blocks: int) -> None:
    cluster, blob_id = await made(MemoryKeys())
    assert await read_while_two_break_off(cluster, blob_id, blocks) == BODY


@virtual_time
async def test_a_sealed_answer_that_came_damaged_is_opened_anew_when_it_comes_again() -> None:
    """What had been opened of the damaged one was taken for open in the next: its client would have got encrypted bytes."""
    cluster, blob_id = await made(MemoryKeys())
    for peer in cluster.pool:
        peer.script(Fault(corrupt=True), type=MessageType.GET, times=1)
    came: list[bytes] = []
    end = 16 * BLOCK_SIZE
    fetch = Fetch(
        some_request(), cluster.context, blob_id, first=0, end=end, on_part=lambda part: came.append(bytes(part))
    )
    outcome = await fetch.start()
    assert isinstance(outcome, Found) and bytes(outcome.data) == BODY[:end]
    assert sum(len(part) == BLOCK_SIZE for part in came) == 2  # it came twice, from its beginning on
    assert all(part == BODY[: len(part)] for part in came)
