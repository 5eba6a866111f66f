"""Gets of whole blobs and ranges: no wrong byte ever comes out, and all memory comes back."""

from __future__ import annotations

import asyncio
import gc
from bisect import bisect_left, bisect_right
from functools import partial
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import BlobState
from ambry.checksum import BLOCK_SIZE
from ambry.errors import (
    AmbryError,
    BlobNotFound,
    DataCorrupt,
    Overloaded,
    RangeNotSatisfiable,
    Unavailable,
)
from ambry.format import composite as composite_format
from ambry.format.record import RecordKind
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from frontend.router.budget import Need
from frontend.router.composite import CHUNK_LISTED_BYTES
from frontend.router.download import Download
from frontend.router.get import open_blob, open_ranges, open_spans
from frontend.router.held_lists import HeldList
from frontend.router.reading import LEAST_BYTES, STALLED_S
from frontend.router.values import RangeSpec, Span
from tests.support import virtual_loop
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, FakeCluster, changed, chunks_of, make_cluster, some_id, some_request
from tests.support.fake_peers import corrupt, fails, held, slow
from tests.support.virtual_loop import settle, virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


def asked(cluster: FakeCluster) -> list[str]:
    return [call.peer for call in cluster.pool.calls(MessageType.GET)]


async def made(body: bytes, replicas: Any = ((3,),), **options: Any) -> tuple[FakeCluster, BlobId]:
    cluster = make_cluster(replicas, **options)
    result = await cluster.put(body)
    await settle()
    cluster.pool.journal.clear()
    return cluster, result.id


# --- ranges against the bytes ---

RANGES = st.one_of(
    st.none(),
    st.builds(RangeSpec, st.integers(0, 5 * CHUNK), st.none()),
    st.builds(RangeSpec, st.none(), st.integers(0, 5 * CHUNK)),
    st.tuples(st.integers(0, 5 * CHUNK), st.integers(0, 3 * CHUNK)).map(lambda p: RangeSpec(p[0], p[0] + p[1])),
    st.tuples(st.integers(0, 4), st.integers(-2, 2), st.integers(0, 4)).map(
        lambda p: RangeSpec(max(0, p[0] * CHUNK + p[1]), max(0, p[0] * CHUNK + p[1]) + p[2] * CHUNK)
    ),
)


def expected(body: bytes, wanted: RangeSpec | None) -> bytes | None:
    """What RFC 9110 section 14.1.2 says; None where the range cannot be satisfied."""
    if wanted is None:
        return body
    if wanted.first is None:
        return body[-wanted.last :] if wanted.last and body else None
    if wanted.first >= len(body):
        return None
    return body[wanted.first :] if wanted.last is None else body[wanted.first : wanted.last + 1]


@settings(max_examples=120)
@given(
    st.one_of(st.integers(0, 5 * CHUNK), st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 4 * CHUNK])),
    st.lists(RANGES, min_size=1, max_size=6),
    st.sampled_from([CHUNK, 2 * CHUNK, 8 * CHUNK]),
    st.sampled_from([CHUNK, 2 * CHUNK]),
)
def test_any_range_of_any_blob_gives_the_bytes_of_the_model(
    size: int, ranges: list[RangeSpec | None], chunk_size: int, unit: int
) -> None:
    async def check() -> None:
        body = content(11, size)
        cluster, blob_id = await made(body, chunk_size_bytes=chunk_size, read_unit_bytes=unit)
        for wanted in ranges:
            right = expected(body, wanted)
            if right is None:
                with pytest.raises(RangeNotSatisfiable) as caught:
                    await cluster.read(blob_id, wanted)
                assert caught.value.size == size
            else:
                assert await cluster.read(blob_id, wanted) == right
            assert cluster.budget.free == cluster.budget.size

    virtual_loop.run(check())


@virtual_time
async def test_many_ranges_are_one_download_whose_pieces_are_each_of_one() -> None:
    body = content(3, 7 * CHUNK + 5)
    cluster, blob_id = await made(body)
    ranges = [
        RangeSpec(5, 3 * CHUNK),
        RangeSpec(9 * CHUNK, None),
        RangeSpec(None, 7),
        RangeSpec(3 * CHUNK - 1, 3 * CHUNK),
    ]
    held_list = HeldList(cluster.context)
    download, resolved = await open_ranges(some_request(), cluster.context, blob_id, ranges, held_list=held_list)
    assert download.held == BLOCK_SIZE + download.listed
    # The batch holds the list of chunks as well, for what comes later.
    assert cluster.budget.size - cluster.budget.free == download.held + download.listed
    spans = [(5, 3 * CHUNK + 1), (len(body) - 7, len(body)), (3 * CHUNK - 1, 3 * CHUNK + 1)]
    assert [(span.first, span.end) for span in download.spans] == spans
    assert isinstance(resolved.pop(1), RangeNotSatisfiable), "the one that the blob does not have is told for itself"
    assert resolved == list(download.spans)
    pieces = [bytes(piece) async for piece in download.stream()]
    download.close()
    held_list.close()
    for first, end in spans:
        part = b""
        while len(part) < end - first:
            part += pieces.pop(0)
        assert part == body[first:end]
    assert not pieces
    assert cluster.budget.free == cluster.budget.size


@settings(max_examples=120)
@given(
    st.one_of(st.integers(0, 5 * CHUNK), st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 4 * CHUNK])),
    st.lists(RANGES, min_size=1, max_size=80),
    st.sampled_from([CHUNK, 2 * CHUNK, 8 * CHUNK]),
    st.sampled_from([CHUNK, 2 * CHUNK]),
)
def test_any_ranges_of_any_blob_are_one_download_of_their_bytes(
    size: int, ranges: list[RangeSpec | None], chunk_size: int, unit: int
) -> None:
    async def check() -> None:
        body = content(11, size)
        cluster, blob_id = await made(body, chunk_size_bytes=chunk_size, read_unit_bytes=unit)
        download, resolved = await open_ranges(some_request(), cluster.context, blob_id, ranges)
        right = [expected(body, wanted) for wanted in ranges]
        assert [
            None if isinstance(each, RangeNotSatisfiable) else body[each.first : each.end] for each in resolved
        ] == right
        ends = list(accumulate([len(each) for each in right if each is not None]))
        got = b""
        async for piece in download.stream():
            assert bisect_right(ends, len(got)) == bisect_left(ends, len(got) + len(piece)), "a piece is of one range"
            got += piece
        download.close()
        assert got == b"".join([each for each in right if each is not None])
        assert cluster.budget.free == cluster.budget.size

    virtual_loop.run(check())


@virtual_time
@pytest.mark.parametrize("chunk_size", [2 * CHUNK, 16 * CHUNK])
async def test_hundreds_of_ranges_ask_for_each_of_their_blocks_once_and_for_the_head_once(chunk_size: int) -> None:
    body = content(5, 8 * CHUNK)
    cluster, blob_id = await made(body, chunk_size_bytes=chunk_size)
    ranges = [RangeSpec(first, first + CHUNK // 64) for first in range(0, 8 * CHUNK, CHUNK // 32)]
    download, _ = await open_ranges(some_request(), cluster.context, blob_id, ranges)
    pieces = [bytes(piece) async for piece in download.stream()]
    download.close()
    assert pieces == [body[each.first : each.last + 1] for each in ranges if each.first is not None and each.last]
    assert len(asked(cluster)) <= len(ranges) + 2


@virtual_time
async def test_a_small_range_asks_for_no_more_than_its_bytes() -> None:
    cluster, blob_id = await made(content(1, 8 * CHUNK), chunk_size_bytes=16 * CHUNK)
    await cluster.read(blob_id, RangeSpec(3 * CHUNK + 5, 3 * CHUNK + 9))
    (call,) = cluster.pool.calls(MessageType.GET)
    assert (call.message.first, call.message.end) == (3 * CHUNK + 5, 3 * CHUNK + 10)


@virtual_time
async def test_an_empty_blob_is_read_and_its_ranges_only_when_asked_to_resolve_them() -> None:
    cluster, blob_id = await made(b"")
    assert await cluster.read(blob_id) == b""
    for wanted in (RangeSpec(0, None), RangeSpec(None, 5), RangeSpec(0, 0)):
        with pytest.raises(RangeNotSatisfiable):
            await cluster.read(blob_id, wanted)
        download = await open_spans(
            some_request(), cluster.context, blob_id, lambda head: [Span(0, head.properties.size)], likely=(wanted,)
        )
        assert [bytes(piece) async for piece in download.stream()] == []
        download.close()


@virtual_time
async def test_a_range_of_twenty_digits_less_one_is_only_not_satisfiable() -> None:
    cluster, blob_id = await made(b"hello")
    for first in (2**63, 10**19 - 1):
        with pytest.raises(RangeNotSatisfiable):
            await cluster.read(blob_id, RangeSpec(first, None))
    assert await cluster.read(blob_id, RangeSpec(None, 10**19 - 1)) == b"hello"
    assert await cluster.read(blob_id, RangeSpec(1, 10**19 - 1)) == b"ello"


# --- streams that break ---


async def stream_of(cluster: FakeCluster, blob_id: BlobId) -> tuple[bytes, BaseException | None]:
    """All that came before the end, and what ended it."""
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    data = b""
    try:
        async for piece in reader.stream():
            data += bytes(piece)
        return data, None
    except AmbryError as error:
        return data, error
    finally:
        reader.close()


@pytest.mark.parametrize("broken", [0, 1, 4, 6])
@pytest.mark.parametrize("how", ["forgotten", "deleted and forgotten", "state only", "unreadable", "corrupt"])
@virtual_time
async def test_a_chunk_that_cannot_be_read_breaks_the_stream_at_its_place_and_is_no_absence(
    broken: int, how: str
) -> None:
    body = content(1, 7 * CHUNK)
    cluster, blob_id = await made(body)
    raw = chunks_of(cluster, blob_id)[broken]
    for peer in cluster.pool:
        if how == "corrupt":
            peer.script(corrupt(), blob=raw)
        elif how == "unreadable":
            peer.script(fails(DataCorrupt("bad block")), blob=raw)
        else:
            peer.forget(raw)
            if how != "forgotten":
                peer.learn(raw, BlobState(0, how != "state only", 0))
    data, error = await stream_of(cluster, blob_id)
    assert isinstance(error, Unavailable), error
    assert not isinstance(error, BlobNotFound)
    assert data == body[: broken * CHUNK]
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_a_deleted_or_expired_chunk_of_a_living_blob_is_still_read() -> None:
    body = content(1, 3 * CHUNK)
    cluster, blob_id = await made(body)
    for raw in chunks_of(cluster, blob_id):
        for peer in cluster.pool:
            peer.learn(raw, BlobState(0, True, 0))
    assert await cluster.read(blob_id) == body


@virtual_time
async def test_a_chunk_shorter_than_its_composite_says_breaks_the_stream() -> None:
    body = content(1, 3 * CHUNK)
    cluster, blob_id = await made(body)
    raw = chunks_of(cluster, blob_id)[1]
    for peer in cluster.pool:
        peer.records[raw].payload = peer.records[raw].payload[:-1]
    data, error = await stream_of(cluster, blob_id)
    assert error is not None
    assert data == body[:CHUNK]
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_a_composite_that_does_not_add_up_is_not_served() -> None:
    cluster, blob_id = await made(content(1, 3 * CHUNK))
    for peer in cluster.pool:
        known = peer.records[blob_id.raw]
        whole = composite_format.decode(known.payload)
        less = changed(whole, chunks=whole.chunks[:2], total_size=2 * CHUNK)
        known.payload = composite_format.encode(less)
    with pytest.raises(DataCorrupt):
        await cluster.read(blob_id)


@virtual_time
async def test_a_chunk_in_a_partition_that_the_layout_lacks_breaks_the_stream_and_costs_no_memory() -> None:
    """Once the memory for a read that could not be begun was never given back."""
    cluster, blob_id = await made(content(1, 3 * CHUNK))
    lost_chunk = some_id(partition=99, kind=IdKind.CHUNK)
    for peer in cluster.pool:
        known = peer.records[blob_id.raw]
        whole = composite_format.decode(known.payload)
        chunks = (whole.chunks[0], changed(whole.chunks[1], id=lost_chunk.raw), whole.chunks[2])
        known.payload = composite_format.encode(changed(whole, chunks=chunks))
    _, error = await stream_of(cluster, blob_id)
    assert isinstance(error, Unavailable)
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_a_download_that_moves_on_has_the_whole_time_with_every_unit() -> None:
    """The deadline bounds a wait for us, not the length of a download: this one takes three minutes."""
    body = content(1, 9 * CHUNK)
    cluster, blob_id = await made(body, read_ahead=1)
    reader = await open_blob(cluster.request(), cluster.context, blob_id, wanted=None)
    data = b""
    async for piece in reader.stream():
        data += bytes(piece)
        await asyncio.sleep(20.5)
    reader.close()
    assert data == body
    assert now() >= 9 * 20


# --- memory ---


@virtual_time
async def test_read_ahead_is_bounded_by_its_number() -> None:
    cluster, blob_id = await made(content(1, 20 * CHUNK), read_ahead=3)
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    cluster.pool.journal.clear()
    stream = reader.stream()
    assert len(await anext(stream)) == CHUNK
    await settle()
    assert len(asked(cluster)) == 3
    assert reader.listed == 20 * CHUNK_LISTED_BYTES, "the list of chunks is held, too"
    assert cluster.budget.free == cluster.budget.size - reader.listed - 3 * CHUNK
    assert len(await anext(stream)) == CHUNK
    await settle()
    assert len(asked(cluster)) == 4
    reader.close()
    reader.close()
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_read_ahead_is_bounded_by_the_budget_and_one_unit_is_enough_to_go_on() -> None:
    cluster, blob_id = await made(content(1, 9 * CHUNK), budget=16 * CHUNK)
    needed = CHUNK + 9 * CHUNK_LISTED_BYTES
    await cluster.budget.take(cluster.budget.largest - needed, timeout_s=1)
    assert await cluster.read(blob_id) == content(1, 9 * CHUNK)
    assert cluster.budget.free == 2 * CHUNK + needed


@virtual_time
async def test_many_downloads_share_what_there_is_and_all_end() -> None:
    body = content(1, 9 * CHUNK)
    cluster, blob_id = await made(body, budget=8 * CHUNK)
    for peer in cluster.pool:
        peer.script(slow(0.01))
    reads = [asyncio.create_task(cluster.read(blob_id)) for _ in range(12)]
    assert await asyncio.gather(*reads) == [body] * 12
    assert cluster.budget.free == cluster.budget.size


@pytest.mark.parametrize("after", [0, 1, 3])
@virtual_time
async def test_closing_or_cancelling_a_read_returns_its_memory_and_hides_no_failure(after: int) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    cluster, blob_id = await made(content(1, 9 * CHUNK))
    raws = chunks_of(cluster, blob_id)
    for peer in cluster.pool:
        for raw in raws[after:]:
            peer.script(fails(DataCorrupt("bad block")), blob=raw)
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    with pytest.raises(Unavailable):
        async for _ in reader.stream():
            pass
    await settle()
    reader.close()
    assert cluster.budget.free == cluster.budget.size
    release = asyncio.Event()
    cluster, blob_id = await made(content(1, 9 * CHUNK))
    for peer in cluster.pool:
        peer.script(held(release), type=MessageType.GET)
    task = asyncio.create_task(cluster.read(blob_id))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    release.set()
    await asyncio.sleep(5)
    assert cluster.budget.free == cluster.budget.size
    gc.collect()
    assert complaints == []


@virtual_time
async def test_a_blob_of_one_unit_needs_one_request_and_holds_its_size_until_it_was_sent() -> None:
    """Answers of one unit were once in no account: 1,000 clients that did not take theirs held 1 GB."""
    cluster, blob_id = await made(content(1, CHUNK - 100))
    await cluster.budget.take(cluster.budget.largest, timeout_s=1)
    free = cluster.budget.free
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    assert len(reader.beginning) == reader.size and bytes(reader.beginning) == content(1, CHUNK - 100)
    assert len(asked(cluster)) == 1
    assert reader.head.properties.size == CHUNK - 100
    assert cluster.budget.free == free - (CHUNK - 100)
    reader.close()
    assert cluster.budget.free == free


@virtual_time
async def test_a_read_without_memory_is_refused_in_time() -> None:
    cluster, blob_id = await made(content(1, 9 * CHUNK), read_unit_bytes=2 * CHUNK, memory_wait_ms=100)
    await cluster.budget.take(cluster.budget.largest, timeout_s=1)
    with pytest.raises(Overloaded):
        await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    assert now() == pytest.approx(0.1, abs=0.01)
    assert cluster.budget.free == cluster.budget.size - cluster.budget.largest


@pytest.mark.parametrize("wanted", [None, RangeSpec(CHUNK // 2 + 1, None), RangeSpec(None, 7 * CHUNK)])
@pytest.mark.parametrize("chunk_size", [CHUNK, 16 * CHUNK])
@virtual_time
async def test_a_stream_that_has_begun_never_waits_for_memory(wanted: RangeSpec | None, chunk_size: int) -> None:
    """Once it stood in line with every unit, behind whoever had come meanwhile."""
    body = content(1, 9 * CHUNK)
    cluster, blob_id = await made(body, read_unit_bytes=4 * CHUNK, chunk_size_bytes=chunk_size, memory_wait_ms=100)
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=wanted)
    others = cluster.budget.free
    assert cluster.budget.try_take(others, Need.READY)
    data = b""
    async for piece in reader.stream():
        data += bytes(piece)
        others += cluster.budget.free
        assert cluster.budget.try_take(cluster.budget.free, Need.READY), "whatever it gives back is gone"
    assert data == expected(body, wanted)
    assert reader.held - reader.listed == LEAST_BYTES, "it got by with what was its own"
    reader.close()
    cluster.budget.give_back(others)
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_the_kind_in_the_id_decides_and_a_chunk_record_is_never_served_as_a_blob() -> None:
    cluster, blob_id = await made(content(1, 3 * CHUNK))
    assert {BlobId(raw).kind for raw in chunks_of(cluster, blob_id)} == {IdKind.CHUNK}
    known = cluster.peer(1).records[blob_id.raw]
    assert known.put is not None and known.put.kind == RecordKind.COMPOSITE


@virtual_time
async def test_what_was_read_ahead_is_dropped_for_others_and_read_again_byte_for_byte() -> None:
    body = content(1, 80 * CHUNK + 77)
    cluster, blob_id = await made(body, read_unit_bytes=4 * CHUNK, chunk_size_bytes=8 * CHUNK, budget=64 * CHUNK)
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    data, dropped = b"", 0
    async for piece in reader.stream():
        data += bytes(piece)
        await settle()
        await asyncio.sleep(1.5)
        # Others need what is left, and a little more than that.
        rest = cluster.budget.free - cluster.budget.size // 8
        assert cluster.budget.try_take(rest)
        held = reader.held - reader.listed
        if held >= len(piece) + CHUNK:
            dropped += 1
            taking = asyncio.create_task(cluster.context.reading.take(CHUNK, of=9 * CHUNK))
            await settle()
            assert taking.done() and reader.held - reader.listed == len(piece), (
                "what the client has in its hands is all that is left"
            )
            cluster.budget.give_back(CHUNK)
        cluster.budget.give_back(rest)
    reader.close()
    assert data == body and dropped > 5
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_a_crowd_that_does_not_read_is_ended_for_a_read_that_does() -> None:
    body = content(1, 30 * CHUNK)
    cluster, blob_id = await made(body, budget=32 * CHUNK, read_ahead=4)
    ended: list[int] = []
    crowd: list[Download] = []
    while cluster.budget.free - cluster.budget.size // 8 >= CHUNK + 30 * CHUNK_LISTED_BYTES:
        number = len(crowd)
        reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
        reader.abort = partial(ended.append, number)
        stream = reader.stream()
        await anext(stream)
        crowd.append(reader)
        await asyncio.sleep(STALLED_S)
    began = now()
    reading = asyncio.create_task(cluster.read(blob_id))
    while not reading.done():
        await asyncio.sleep(0.05)
        for number in ended:
            crowd[number].close()
        assert now() < began + 30
    assert await reading == body
    assert 0 < len(ended) < len(crowd), "no more than was needed"
    assert len(crowd) > 40, "each holds little"
    for reader in crowd:
        reader.close()
    assert cluster.budget.free == cluster.budget.size


@pytest.mark.parametrize("chunk_size", [CHUNK, 64 * CHUNK])
@virtual_time
async def test_when_memory_is_scarce_the_pieces_grow_with_what_the_client_has_taken(chunk_size: int) -> None:
    body = content(1, 40 * CHUNK)
    cluster, blob_id = await made(body, read_unit_bytes=8 * CHUNK, chunk_size_bytes=chunk_size, budget=128 * CHUNK)
    await cluster.budget.take(65 * CHUNK, timeout_s=1)
    reader = await open_blob(some_request(), cluster.context, blob_id, wanted=None)
    unsent = 0
    reader.unsent = lambda: unsent
    stream = reader.stream()
    data = b""
    for _ in range(4):
        data += await anext(stream)
        unsent = len(data)
        assert len(data) % LEAST_BYTES == 0
        assert reader.held - reader.listed == LEAST_BYTES, "it was told of nothing that its client took"
    unsent, sizes = 0, list[int]()
    async for piece in stream:
        data += bytes(piece)
        sizes.append(len(piece))
    assert data == body
    assert sizes[0] == LEAST_BYTES and max(sizes) == min(8 * CHUNK, chunk_size)
    reader.close()
    cluster.budget.give_back(65 * CHUNK)
    assert cluster.budget.free == cluster.budget.size
