"""Gets against peers that really store: whom they ask, whom they believe, and that no wrong byte ever comes out."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import BlobState
from ambry.errors import (
    AmbryError,
    BlobDeleted,
    BlobExpired,
    BlobNotFound,
    DataCorrupt,
    RangeNotSatisfiable,
    Unavailable,
)
from ambry.format import composite as composite_format
from ambry.format.record import RecordKind
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import GetReply
from frontend.router.get import RangeSpec
from tests.support import virtual_loop
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, FakeCluster, changed, make_cluster, some_id, some_request
from tests.support.fake_peers import Fault, absent, corrupt, cut_short, fails, held, lost, silent, slow
from tests.support.virtual_loop import settle, virtual_time

WORLD = ((3, 3, 3),)
HEDGE_S = 0.25


def now() -> float:
    return asyncio.get_running_loop().time()


def asked(cluster: FakeCluster) -> list[str]:
    return [call.peer for call in cluster.pool.calls(MessageType.GET)]


def spread(cluster: FakeCluster, datacenters: tuple[int, ...] = (1, 2, 3)) -> None:
    """What replication does: every peer of these datacenters gets every record that anybody has."""
    for source in list(cluster.pool):
        for raw, known in list(source.records.items()):
            for peer in cluster.pool:
                if peer.node.datacenter_id in datacenters and known.put is not None:
                    peer.records.setdefault(raw, changed_copy(known))


def changed_copy(known: Any) -> Any:
    return type(known)(state=known.state, put=known.put, payload=known.payload)


def foreign(cluster: FakeCluster, blob_id: BlobId, origin: int) -> BlobId:
    """The same blob as if it came from another datacenter: its records go there and nowhere else."""
    moved = BlobId.make(
        kind=blob_id.kind,
        datacenter=origin,
        account=blob_id.account,
        container=blob_id.container,
        partition=blob_id.partition,
        uuid=blob_id.key,
    )
    known = next(peer.records[blob_id.raw] for peer in cluster.pool if blob_id.raw in peer.records)
    for peer in cluster.pool:
        peer.forget(blob_id.raw)
    for peer in cluster.peers(origin):
        peer.records[moved.raw] = changed_copy(known)
    return moved


async def made(body: bytes, replicas: Any = ((3,),), **options: Any) -> tuple[FakeCluster, BlobId]:
    cluster = make_cluster(replicas, **options)
    result = await cluster.put(body)
    await settle()
    cluster.pool.journal.clear()
    return cluster, result.id


# --- whom it asks ---


@virtual_time
async def test_one_well_local_replica_is_asked_and_nobody_else() -> None:
    for seed in range(20):
        cluster, blob_id = await made(b"hello", WORLD, seed=seed)
        assert await cluster.read(blob_id) == b"hello"
        assert len(asked(cluster)) == 1 and asked(cluster)[0].startswith("dc1")


@virtual_time
async def test_all_local_replicas_share_the_reads() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    for _ in range(60):
        await cluster.read(blob_id)
    assert {name: asked(cluster).count(name) > 8 for name in set(asked(cluster))} == {
        "dc1-n1": True,
        "dc1-n2": True,
        "dc1-n3": True,
    }


@virtual_time
async def test_a_blob_of_another_origin_is_looked_for_here_then_there_then_elsewhere() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    blob_id = foreign(cluster, blob_id, 3)
    for peer in cluster.peers(3):
        peer.script(lost())
    with pytest.raises(Unavailable):
        await cluster.read(blob_id)
    assert [name[:3] for name in asked(cluster)] == ["dc1"] * 3 + ["dc3"] * 3 + ["dc2"] * 3
    cluster.pool.journal.clear()
    for peer in cluster.peers(3):
        peer.heal()
    assert await cluster.read(blob_id) == b"hello"
    assert [name[:3] for name in asked(cluster)] == ["dc1"] * 3 + ["dc3"]


@virtual_time
async def test_an_unwell_replica_is_asked_after_its_siblings_and_before_the_other_datacenters() -> None:
    for seed in range(10):
        cluster, blob_id = await made(b"hello", WORLD, seed=seed)
        cluster.peer(2).well = False
        for number in (1, 3):
            cluster.peer(number).script(lost())
        assert await cluster.read(blob_id) == b"hello"
        assert len(asked(cluster)) == 3
        assert asked(cluster)[2] == "dc1-n2"


@virtual_time
async def test_a_silent_replica_holds_nobody_up_longer_than_the_hedge() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    names = ["dc1-n1", "dc1-n2", "dc1-n3"]
    for name in names[:2]:
        cluster.pool[name].script(silent())
    for _ in range(20):
        before, calls = now(), len(asked(cluster))
        assert await cluster.read(blob_id) == b"hello"
        count = len(asked(cluster)) - calls
        assert now() - before == pytest.approx((count - 1) * HEDGE_S, abs=0.01)
        for peer in cluster.pool:
            peer.health.record_probe(True)
    assert max(asked(cluster).count(name) for name in names) > 5


@virtual_time
async def test_the_slow_answer_still_counts_when_it_is_the_first_good_one() -> None:
    cluster, blob_id = await made(b"hello", ((2,),))
    first, second = cluster.peers()
    for peer in (first, second):
        peer.script(slow(0.4))
    assert await cluster.read(blob_id) == b"hello"
    assert now() == pytest.approx(0.4, abs=0.01)
    assert len(asked(cluster)) == 2


@virtual_time
async def test_after_an_answer_nobody_further_is_asked() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    await cluster.read(blob_id)
    await asyncio.sleep(30)
    assert len(asked(cluster)) == 1


@virtual_time
async def test_the_deadline_holds_over_all_replicas_together() -> None:
    cluster, blob_id = await made(b"hello", WORLD, get_timeout_ms=2000)
    for peer in cluster.pool:
        peer.script(silent())
    with pytest.raises(Unavailable, match="did not answer in time") as caught:
        await cluster.read(blob_id)
    assert not isinstance(caught.value, BlobNotFound)
    assert now() == pytest.approx(2.0, abs=0.1)


# --- whom it believes ---


@pytest.mark.parametrize(
    "fault", [corrupt(), cut_short(), cut_short(1 << 20), fails(DataCorrupt("bad block")), lost(), absent()]
)
@pytest.mark.parametrize("size", [1, 100, CHUNK])
@virtual_time
async def test_a_bad_answer_goes_to_the_next_replica(fault: Fault, size: int) -> None:
    body = content(1, size)
    for good in (1, 2, 3):
        cluster, blob_id = await made(body)
        for number in {1, 2, 3} - {good}:
            cluster.peer(number).script(fault)
        if fault.error is not None and isinstance(fault.error, BlobNotFound):
            continue
        for seed in range(3):
            cluster.context.random_source.seed(seed)
            assert await cluster.read(blob_id) == body


@virtual_time
async def test_a_body_from_the_wrong_place_is_refused() -> None:
    cluster, blob_id = await made(content(1, 3 * CHUNK), chunk_size_bytes=4 * CHUNK)

    def shifted(message: Any, body: bytes) -> tuple[Any, bytes]:
        assert isinstance(message, GetReply)
        return changed(message, start=message.start + 1), body

    for peer in cluster.pool:
        peer.script(Fault(change=shifted))
    with pytest.raises(Unavailable, match="asked for bytes"):
        await cluster.read(blob_id)


@virtual_time
async def test_all_copies_corrupt_is_unavailable_and_never_not_found() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    spread(cluster)
    for peer in cluster.pool:
        peer.script(fails(DataCorrupt("bad block")))
    with pytest.raises(Unavailable) as caught:
        await cluster.read(blob_id)
    assert caught.value.retriable and "bad block" in caught.value.message


@virtual_time
async def test_two_local_copies_corrupt_the_other_datacenter_serves() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    spread(cluster, (1, 2))
    for peer in cluster.peers(1):
        peer.script(corrupt())
    assert await cluster.read(blob_id) == b"hello"


# --- 404, 410, 503 ---


@virtual_time
async def test_404_needs_two_local_replicas_that_have_the_authority() -> None:
    cluster = make_cluster(WORLD)
    with pytest.raises(BlobNotFound) as caught:
        await cluster.read(some_id())
    assert type(caught.value) is BlobNotFound
    assert len(asked(cluster)) == 2
    cluster.peer(1).serving = False
    with pytest.raises(BlobNotFound):
        await cluster.read(some_id())
    cluster.peer(2).serving = False
    with pytest.raises(Unavailable):
        await cluster.read(some_id())


@pytest.mark.parametrize("reachable", [0, 1, 2, 3])
@virtual_time
async def test_404_of_a_foreign_blob_needs_its_origin(reachable: int) -> None:
    cluster = make_cluster(WORLD)
    for number in range(reachable + 1, 4):
        cluster.peer(number, 2).connected = False
    with pytest.raises(BlobNotFound if reachable >= 2 else Unavailable):
        await cluster.read(some_id(datacenter=2))


@virtual_time
async def test_a_foreign_partition_of_which_neither_we_nor_the_origin_hold_a_replica_is_never_404() -> None:
    cluster = make_cluster(((0, 0, 3), (3, 3, 3)))
    for peer in cluster.peers(3):
        peer.connected = False
    with pytest.raises(Unavailable):
        await cluster.read(some_id(datacenter=2))


@virtual_time
async def test_a_partition_that_the_layout_lacks_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="not in this frontend's layout"):
        await make_cluster().read(some_id(partition=99))


@virtual_time
async def test_gone_needs_two_and_a_living_answer_beats_one_stale_deletion() -> None:
    for stale in (1, 2, 3):
        cluster, blob_id = await made(b"hello")
        cluster.peer(stale).learn(blob_id.raw, BlobState(0, True, 0))
        others = [peer for peer in cluster.pool if peer is not cluster.peer(stale)]
        for peer in others:
            peer.learn(blob_id.raw, BlobState(1, False, 0))
        for _ in range(8):
            assert await cluster.read(blob_id) == b"hello"


@pytest.mark.parametrize("knows", [(1, 2), (1, 3), (2, 3), (1, 2, 3)])
@virtual_time
async def test_a_deleted_blob_is_410_once_one_of_them_was_heard_first(knows: tuple[int, ...]) -> None:
    cluster, blob_id = await made(b"hello")
    for number in knows:
        cluster.peer(number).learn(blob_id.raw, BlobState(0, True, 0))
    outcomes: set[str] = set()
    for _ in range(12):
        try:
            await cluster.read(blob_id)
            outcomes.add("read")
        except BlobDeleted:
            outcomes.add("deleted")
    assert outcomes == ({"deleted"} if len(knows) == 3 else {"deleted", "read"})
    assert await cluster.read(blob_id, any_state=True) == b"hello"


@virtual_time
async def test_a_living_answer_does_not_count_after_a_deletion_of_the_same_life_was_heard() -> None:
    cluster, blob_id = await made(b"hello")
    cluster.peer(1).learn(blob_id.raw, BlobState(0, True, 0))
    for number in (2, 3):
        cluster.peer(number).well = False
    with pytest.raises(BlobDeleted):
        await cluster.read(blob_id)
    assert asked(cluster)[0] == "dc1-n1" and len(asked(cluster)) == 2


@virtual_time
async def test_an_expired_blob_is_410_and_a_longer_life_known_elsewhere_is_200() -> None:
    cluster = make_cluster()
    result = await cluster.put(b"hello", expires_at_ms=1_700_000_000_000)
    await settle()
    with pytest.raises(BlobExpired):
        await cluster.read(result.id)
    for number in (2, 3):
        cluster.peer(number).learn(result.id.raw, BlobState(0, False, 1_800_000_000_000))
    for _ in range(8):
        assert await cluster.read(result.id) == b"hello"


@virtual_time
async def test_a_record_of_which_only_the_state_is_known_cannot_be_read_and_is_no_bug() -> None:
    """Once this was a 500: the empty head was decoded."""
    cluster = make_cluster()
    blob_id = some_id()
    for peer in cluster.pool:
        peer.learn(blob_id.raw, BlobState(0, True, 0))
    for kind in (IdKind.SIMPLE, IdKind.COMPOSITE):
        blob_id = some_id(kind=kind)
        for peer in cluster.pool:
            peer.learn(blob_id.raw, BlobState(0, True, 0))
        with pytest.raises(Unavailable, match="only its state is known"):
            await cluster.read(blob_id, any_state=True)
        with pytest.raises(Unavailable, match="only its state is known"):
            await cluster.router.info(some_request(), blob_id, any_state=True)
        with pytest.raises(BlobDeleted):
            await cluster.read(blob_id)


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


@settings(max_examples=120, deadline=None)
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
        assert await cluster.read(blob_id, wanted, resolve_empty=True) == b""


@virtual_time
async def test_a_range_of_twenty_digits_less_one_is_only_not_satisfiable() -> None:
    cluster, blob_id = await made(b"hello")
    for first in (2**63, 10**19 - 1):
        with pytest.raises(RangeNotSatisfiable):
            await cluster.read(blob_id, RangeSpec(first, None))
    assert await cluster.read(blob_id, RangeSpec(None, 10**19 - 1)) == b"hello"
    assert await cluster.read(blob_id, RangeSpec(1, 10**19 - 1)) == b"ello"


# --- streams that break ---


def chunk_ids(cluster: FakeCluster, blob_id: BlobId) -> list[bytes]:
    payload = next(peer.records[blob_id.raw].payload for peer in cluster.pool if blob_id.raw in peer.records)
    return [chunk.id for chunk in composite_format.decode(payload).chunks]


async def stream_of(cluster: FakeCluster, blob_id: BlobId) -> tuple[bytes, BaseException | None]:
    """All that came before the end, and what ended it."""
    reader = await cluster.router.open(some_request(), blob_id, wanted=None)
    data = bytes(reader.head)
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
    raw = chunk_ids(cluster, blob_id)[broken]
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
    for raw in chunk_ids(cluster, blob_id):
        for peer in cluster.pool:
            peer.learn(raw, BlobState(0, True, 0))
    assert await cluster.read(blob_id) == body


@virtual_time
async def test_a_chunk_shorter_than_its_composite_says_breaks_the_stream() -> None:
    body = content(1, 3 * CHUNK)
    cluster, blob_id = await made(body)
    raw = chunk_ids(cluster, blob_id)[1]
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


# --- memory ---


@virtual_time
async def test_read_ahead_is_bounded_by_its_number() -> None:
    cluster, blob_id = await made(content(1, 20 * CHUNK), read_ahead=3)
    reader = await cluster.router.open(some_request(), blob_id, wanted=None)
    cluster.pool.journal.clear()
    stream = reader.stream()
    assert len(await anext(stream)) == CHUNK
    await settle()
    assert len(asked(cluster)) == 3
    assert cluster.budget.free == cluster.budget.size - 3 * CHUNK
    assert len(await anext(stream)) == CHUNK
    await settle()
    assert len(asked(cluster)) == 4
    reader.close()
    reader.close()
    assert cluster.budget.free == cluster.budget.size


@virtual_time
async def test_read_ahead_is_bounded_by_the_budget_and_one_unit_is_enough_to_go_on() -> None:
    cluster, blob_id = await made(content(1, 9 * CHUNK), budget=16 * CHUNK)
    await cluster.budget.take(15 * CHUNK)
    assert await cluster.read(blob_id) == content(1, 9 * CHUNK)
    assert cluster.budget.free == CHUNK


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
    raws = chunk_ids(cluster, blob_id)
    for peer in cluster.pool:
        for raw in raws[after:]:
            peer.script(fails(DataCorrupt("bad block")), blob=raw)
    reader = await cluster.router.open(some_request(), blob_id, wanted=None)
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
async def test_a_blob_of_one_unit_needs_one_request_and_no_budget() -> None:
    cluster, blob_id = await made(content(1, CHUNK))
    await cluster.budget.take(cluster.budget.size)
    reader = await cluster.router.open(some_request(), blob_id, wanted=None)
    assert reader.complete and bytes(reader.head) == content(1, CHUNK)
    assert len(asked(cluster)) == 1
    assert reader.info.size == CHUNK


@virtual_time
async def test_the_kind_in_the_id_decides_and_a_chunk_record_is_never_served_as_a_blob() -> None:
    cluster, blob_id = await made(content(1, 3 * CHUNK))
    assert {BlobId(raw).kind for raw in chunk_ids(cluster, blob_id)} == {IdKind.CHUNK}
    known = cluster.peer(1).records[blob_id.raw]
    assert known.put is not None and known.put.kind == RecordKind.COMPOSITE
