"""Puts against peers that really store: what is visible when, what is left behind, what is charged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from ambry.blob import NEVER_MS, BlobProperties, BlobState
from ambry.checksum import digest
from ambry.durability import Durability
from ambry.errors import (
    AmbryError,
    ChecksumMismatch,
    InsufficientStorage,
    InvalidRequest,
    QuorumNotReached,
    ReplicaUnavailable,
    RequestTimeout,
)
from ambry.format import composite as composite_format
from ambry.format.properties import decode_metadata, decode_properties
from ambry.format.record import RecordKind
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import PutRequest
from frontend.router.put import PutOperation
from tests.support.content import content
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import CHUNK, FakeCluster, accept, make_cluster, put_spec, some_request, stream
from tests.support.fake_peers import fails, held, lost, silent, slow
from tests.support.virtual_loop import settle, virtual_time

BUDGET = 16 << 20
SPREAD = ((3,),) * 4


def kinds(cluster: FakeCluster) -> Counter[RecordKind]:
    """The kinds of the records that were put, each id once."""
    seen = {call.message.id: RecordKind(call.message.kind) for call in cluster.pool.calls(MessageType.PUT)}
    return Counter(seen.values())


def payload_of(cluster: FakeCluster, raw: bytes) -> bytes:
    """The payload of a record that at least two peers hold alike."""
    copies = [peer.records[raw].payload for peer in cluster.pool if raw in peer.records and peer.records[raw].put]
    assert len(copies) >= 2 and len(set(copies)) == 1
    return copies[0]


def stored(cluster: FakeCluster, blob_id: BlobId) -> bytes:
    """A blob put together from the peers' records, without the router."""
    payload = payload_of(cluster, blob_id.raw)
    if blob_id.kind is IdKind.SIMPLE:
        return payload
    whole = composite_format.decode(payload)
    parts = [payload_of(cluster, chunk.id) for chunk in whole.chunks]
    assert [digest(part) for part in parts] == [chunk.digest for chunk in whole.chunks]
    return b"".join(parts)


async def raises_and_leaves_nothing(
    cluster: FakeCluster, expected: type[BaseException], body: Any, *, verify: Any = accept, size: int | None = None
) -> None:
    """A put that must fail: nothing visible at any peer once it is over, and all memory back."""
    with pytest.raises(expected):
        await PutOperation(some_request(), cluster.context, put_spec(), verify).run(body, size=size, size_max=1 << 40)
    assert cluster.budget.free == BUDGET
    await asyncio.sleep(60)
    assert cluster.pool.visible() == set()


# --- one record or many ---


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        (0, 0),
        (1, 0),
        (CHUNK - 1, 0),
        (CHUNK, 0),
        (CHUNK + 1, 2),
        (2 * CHUNK - 1, 2),
        (2 * CHUNK, 2),
        (2 * CHUNK + 1, 3),
        (7 * CHUNK + 77, 8),
    ],
)
@pytest.mark.parametrize("piece", [CHUNK * 16, CHUNK, 10_007])
@virtual_time
async def test_a_body_of_one_chunk_is_one_record_and_a_longer_one_a_composite(
    size: int, chunks: int, piece: int
) -> None:
    cluster = make_cluster(SPREAD)
    body = content(3, size)
    result = await cluster.put(body, [body[start : start + piece] for start in range(0, size, piece)])
    assert (result.size, result.digest) == (size, digest(body))
    assert result.id.kind is (IdKind.COMPOSITE if chunks else IdKind.SIMPLE)
    expected = Counter({RecordKind.CHUNK: chunks, RecordKind.COMPOSITE: 1}) if chunks else Counter({RecordKind.BLOB: 1})
    assert kinds(cluster) == expected
    assert stored(cluster, result.id) == body
    assert cluster.budget.free == BUDGET
    assert cluster.pool.calls(MessageType.UPDATE) == []


@virtual_time
async def test_the_records_say_all_that_was_asked_for() -> None:
    cluster = make_cluster(SPREAD)
    properties = BlobProperties(size=0, digest=b"", content_type="image/png", owner_id="o", filename="f", private=True)
    body = content(4, 3 * CHUNK)
    result = await cluster.put(
        body, properties=properties, metadata={"k": "v"}, expires_at_ms=1_800_000_000_000, durability=Durability.MEMORY
    )
    puts = [call.message for call in cluster.pool.calls(MessageType.PUT)]
    assert {put.sync for put in puts} == {False}
    # A chunk lives while its blob lives, whose time may grow: only the head of the blob expires.
    expiries = {(RecordKind(put.kind), put.expires_at_ms) for put in puts}
    assert expiries == {(RecordKind.CHUNK, NEVER_MS), (RecordKind.COMPOSITE, 1_800_000_000_000)}
    assert {put.created_at_ms for put in puts} == {result.created_at_ms}
    heads = [put for put in puts if put.kind == RecordKind.COMPOSITE]
    assert len(heads) == 3
    head = decode_properties(heads[0].properties)
    assert (head.size, head.digest, head.content_type, head.owner_id, head.filename, head.private, head.parent) == (
        len(body), digest(body), "image/png", "o", "f", True, b"",
    )  # fmt: skip
    assert decode_metadata(heads[0].metadata) == {"k": "v"}
    for put in puts:
        if put.kind == RecordKind.CHUNK:
            chunk = decode_properties(put.properties)
            assert (chunk.parent, chunk.size, put.metadata) == (result.id.raw, CHUNK, b"")
            assert BlobId(put.id).kind is IdKind.CHUNK
    indexes = {decode_properties(put.properties).chunk_index for put in puts if put.kind == RecordKind.CHUNK}
    assert indexes == {0, 1, 2}


@pytest.mark.parametrize(
    ("durability", "sync", "remote"),
    [(Durability.MEMORY, False, 0), (Durability.DISK, True, 0), (Durability.GEO, True, 1)],
)
@virtual_time
async def test_durability_decides_whether_replicas_sync_and_another_datacenter_confirms(
    durability: Durability, sync: bool, remote: int
) -> None:
    cluster = make_cluster(((3, 3),))
    result = await cluster.put(b"x", durability=durability)
    assert {call.message.sync for call in cluster.pool.calls(MessageType.PUT)} == {sync}
    assert sum(result.id.raw in peer.records for peer in cluster.peers(2)) == remote


# --- nobody sees half a blob ---


@virtual_time
async def test_the_composite_is_written_when_every_chunk_is_confirmed_and_not_before() -> None:
    cluster = make_cluster(SPREAD)
    for number, peer in enumerate(cluster.pool):
        peer.script(slow(0.5 + number / 10), record_kind=RecordKind.CHUNK)
    body = content(5, 9 * CHUNK)
    putting = asyncio.create_task(cluster.put(body))
    while not putting.done():
        await asyncio.sleep(0.01)
        composites = {call.message.id for call in cluster.pool.calls(MessageType.PUT) if call.message.kind == 2}
        durable = Counter(
            raw for peer in cluster.pool for raw, known in peer.records.items() if known.put and known.put.kind == 3
        )
        if composites:
            assert sum(count >= 2 for count in durable.values()) == 9
    order = [call.message.kind for call in cluster.pool.calls(MessageType.PUT)]
    assert order == [RecordKind.CHUNK] * 27 + [RecordKind.COMPOSITE] * 3
    result = await putting
    last = [call.message.id for call in cluster.pool.calls(MessageType.PUT)][-3:]
    assert set(last) == {result.id.raw}


@virtual_time
async def test_at_most_four_chunks_are_on_their_way() -> None:
    cluster = make_cluster(SPREAD, write_parallelism=4)
    release = asyncio.Event()
    for peer in cluster.pool:
        peer.script(held(release))
    putting = asyncio.create_task(cluster.put(content(6, 20 * CHUNK)))
    await settle(500)
    assert kinds(cluster) == {RecordKind.CHUNK: 4}
    release.set()
    assert (await putting).size == 20 * CHUNK


@virtual_time
async def test_uploads_wait_for_memory_and_never_take_more() -> None:
    cluster = make_cluster(SPREAD, budget=2 * CHUNK)
    least = 2 * CHUNK
    putting = [asyncio.create_task(cluster.put(content(number, 5 * CHUNK))) for number in range(5)]
    while not all(task.done() for task in putting):
        await asyncio.sleep(0)
        least = min(least, cluster.budget.free)
        assert cluster.budget.free >= 0
    assert least < CHUNK, "the uploads never came near what there is"
    assert cluster.budget.free == 2 * CHUNK
    for number, task in enumerate(putting):
        assert stored(cluster, task.result().id) == content(number, 5 * CHUNK)


# --- slipping ---


@pytest.mark.parametrize("error", [ReplicaUnavailable("fenced"), InsufficientStorage("disk full")])
@pytest.mark.parametrize("applies", [False, True])
@virtual_time
async def test_a_failed_record_goes_to_another_partition_under_a_new_id_and_the_old_one_is_buried(
    error: AmbryError, applies: bool
) -> None:
    cluster = make_cluster(SPREAD)
    for number in (1, 2):
        cluster.peer(number).script(fails(error, applies=applies), type=MessageType.PUT, times=1)
    result = await cluster.put(b"hello", expires_at_ms=1_800_000_000_000)
    await settle()
    ids = list(dict.fromkeys(call.message.id for call in cluster.pool.calls(MessageType.PUT)))
    assert len(ids) == 2
    old, new = (BlobId(raw) for raw in ids)
    assert new == result.id
    assert old.partition != new.partition
    assert old.key != new.key
    assert cluster.pool.visible() == {new.raw}
    for peer in cluster.pool:
        assert peer.records[old.raw].state == BlobState(0, True, 1_800_000_000_000)
    assert stored(cluster, result.id) == b"hello"


@virtual_time
async def test_every_attempt_goes_to_a_partition_of_its_own_and_then_it_fails() -> None:
    cluster = make_cluster(SPREAD, put_attempts=3)
    for number in (1, 2):
        cluster.peer(number).script(fails(ReplicaUnavailable("fenced"), applies=True), type=MessageType.PUT)
    await raises_and_leaves_nothing(cluster, QuorumNotReached, stream([b"x"]))
    tried = [BlobId(raw).partition for raw in {call.message.id for call in cluster.pool.calls(MessageType.PUT)}]
    assert len(tried) == len(set(tried)) == 3


@virtual_time
async def test_fewer_partitions_than_attempts_tell_the_failure_and_not_that_there_is_no_partition() -> None:
    cluster = make_cluster(((3,),), put_attempts=3)
    for number in (1, 2):
        cluster.peer(number).script(lost(applies=True), type=MessageType.PUT)
    await raises_and_leaves_nothing(cluster, QuorumNotReached, stream([b"x"]))
    assert len({call.message.id for call in cluster.pool.calls(MessageType.PUT)}) == 1


@virtual_time
async def test_a_datacenter_without_partitions_has_no_room() -> None:
    cluster = make_cluster(((0, 3),))
    await raises_and_leaves_nothing(cluster, InsufficientStorage, stream([b"x"]))


@virtual_time
async def test_one_chunk_that_slips_leaves_the_blob_whole() -> None:
    cluster = make_cluster(SPREAD)
    for number in (2, 3):
        cluster.peer(number).script(lost(applies=True), record_kind=RecordKind.CHUNK, times=1)
    body = content(8, 6 * CHUNK)
    result = await cluster.put(body)
    assert stored(cluster, result.id) == body
    await settle()
    listed = {chunk.id for chunk in composite_format.decode(payload_of(cluster, result.id.raw)).chunks}
    assert cluster.pool.visible() == {result.id.raw, *listed}
    assert await cluster.read(result.id) == body


# --- the composite record ---


@virtual_time
async def test_a_composite_record_is_repeated_on_its_own_partition_because_its_chunks_name_it() -> None:
    cluster = make_cluster(SPREAD)
    for number in (1, 3):
        cluster.peer(number).script(lost(applies=True), record_kind=RecordKind.COMPOSITE, times=2)
    body = content(9, 3 * CHUNK)
    result = await cluster.put(body)
    puts = [call for call in cluster.pool.calls(MessageType.PUT) if call.message.kind == RecordKind.COMPOSITE]
    assert {call.message.id for call in puts} == {result.id.raw}
    assert len(puts) == 9
    assert stored(cluster, result.id) == body
    assert cluster.pool.calls(MessageType.UPDATE) == []


@pytest.mark.parametrize("applies", [False, True])
@virtual_time
async def test_a_composite_that_cannot_be_written_takes_its_chunks_with_it(applies: bool) -> None:
    cluster = make_cluster(SPREAD, put_attempts=3)
    for number in (1, 2):
        cluster.peer(number).script(lost(applies=applies), record_kind=RecordKind.COMPOSITE)
    await raises_and_leaves_nothing(cluster, QuorumNotReached, stream([content(1, 5 * CHUNK)]))
    composites = [call for call in cluster.pool.calls(MessageType.PUT) if call.message.kind == RecordKind.COMPOSITE]
    assert len({call.message.id for call in composites}) == 1
    assert len(composites) == 9


@virtual_time
async def test_no_room_for_the_composite_is_told_at_once() -> None:
    cluster = make_cluster(SPREAD)
    for number in (1, 2):
        cluster.peer(number).script(fails(InsufficientStorage("full")), record_kind=RecordKind.COMPOSITE)
    await raises_and_leaves_nothing(cluster, InsufficientStorage, stream([content(1, 5 * CHUNK)]))


@virtual_time
async def test_a_chunk_that_fails_for_good_ends_the_upload_without_reading_the_rest() -> None:
    cluster = make_cluster(SPREAD, put_attempts=2)
    pulled = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield bytes(CHUNK)

    for number in (1, 2):
        cluster.peer(number).script(lost(applies=True), record_kind=RecordKind.CHUNK)
    await raises_and_leaves_nothing(cluster, QuorumNotReached, endless())
    assert pulled < 20


# --- verify ---


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 4 * CHUNK])
@virtual_time
async def test_a_refused_digest_leaves_nothing_visible_and_buries_the_chunks(size: int) -> None:
    cluster = make_cluster(SPREAD)
    body = content(2, size)
    asked: list[tuple[bytes, bool]] = []

    async def verify(whole: bytes) -> None:
        written = {RecordKind(call.message.kind) for call in cluster.pool.calls(MessageType.PUT)}
        asked.append((whole, bool(written - {RecordKind.CHUNK})))
        raise ChecksumMismatch("no")

    await raises_and_leaves_nothing(cluster, ChecksumMismatch, stream([body]), verify=verify)
    assert asked == [(digest(body), False)], "asked once, before anything that a reader could see"
    put = {call.message.id for call in cluster.pool.calls(MessageType.PUT)}
    buried = {call.message.id for call in cluster.pool.calls(MessageType.UPDATE) if call.message.state.deleted}
    assert put <= buried
    assert len(put) == (-(-size // CHUNK) if size > CHUNK else 0)


# --- bodies that end badly ---


@pytest.mark.parametrize("got", [1, CHUNK - 1, CHUNK, CHUNK + 5, 5 * CHUNK])
@pytest.mark.parametrize("how", ["raises", "short"])
@virtual_time
async def test_a_body_that_breaks_off_leaves_nothing_and_gives_all_memory_back(got: int, how: str) -> None:
    """The first chunk's memory was once kept for ever when the body broke inside it."""
    cluster = make_cluster(SPREAD)

    async def body() -> AsyncIterator[bytes]:
        yield content(1, got)
        if how == "raises":
            raise ConnectionResetError("gone")

    expected = ConnectionResetError if how == "raises" else InvalidRequest
    await raises_and_leaves_nothing(cluster, expected, body(), size=10 * CHUNK)


@pytest.mark.parametrize("got", [0, 1, CHUNK, CHUNK + 5, 5 * CHUNK, 9 * CHUNK])
@virtual_time
async def test_cancelled_while_the_body_comes_in_everything_is_returned_and_discarded(got: int) -> None:
    cluster = make_cluster(SPREAD)

    async def body() -> AsyncIterator[bytes]:
        if got:
            yield content(1, got)
        await asyncio.Event().wait()

    task = asyncio.create_task(raises_and_leaves_nothing(cluster, asyncio.CancelledError, body()))
    await settle(300)
    task.cancel()
    await task


@pytest.mark.parametrize("size", [1, CHUNK, 3 * CHUNK, 9 * CHUNK])
@virtual_time
async def test_cancelled_while_records_are_written_nothing_stays_behind(size: int) -> None:
    cluster = make_cluster(SPREAD)
    for peer in cluster.pool:
        peer.script(slow(1.0), type=MessageType.PUT)
    for cancel_at in (0.5, 1.0, 1.5, 2.5):
        task = asyncio.create_task(cluster.put(content(1, size)))
        await asyncio.sleep(cancel_at)
        if task.done():
            break
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert cluster.budget.free == BUDGET
        await asyncio.sleep(60)
        assert cluster.pool.visible() == set(), cancel_at


@virtual_time
async def test_tombstones_are_best_effort_and_nobody_waits_for_them() -> None:
    cluster = make_cluster(SPREAD)
    for peer in cluster.pool:
        peer.script(silent(), type=MessageType.UPDATE)

    async def refuse(_digest: bytes) -> None:
        raise ChecksumMismatch("no")

    with pytest.raises(ChecksumMismatch):
        operation = PutOperation(some_request(), cluster.context, put_spec(), refuse)
        await operation.run(stream([content(1, 3 * CHUNK)]), size=None, size_max=1 << 40)
    assert asyncio.get_running_loop().time() == pytest.approx(0, abs=0.01)


@virtual_time
async def test_ids_are_never_used_twice() -> None:
    cluster = make_cluster(SPREAD)
    for _ in range(30):
        await cluster.put(content(1, 2 * CHUNK + 1))
    content_of: dict[bytes, bytes] = {}
    for call in cluster.pool.calls(MessageType.PUT):
        assert isinstance(call.message, PutRequest)
        assert content_of.setdefault(call.message.id, call.body) == call.body
    assert len(content_of) == 30 * 4
    assert {call.message.expires_at_ms for call in cluster.pool.calls(MessageType.PUT)} == {NEVER_MS}


# --- replicas that do not answer ---


def now() -> float:
    return asyncio.get_running_loop().time()


def pause(cluster: FakeCluster, numbers: tuple[int, ...], *, noticed: bool) -> None:
    """Peers that stop answering; `noticed` when probes have missed them already."""
    for number in numbers:
        cluster.peer(number).script(silent())
        cluster.peer(number).health.record_probe(not noticed)


@pytest.mark.parametrize("size", [5, 3 * CHUNK])
@virtual_time
async def test_with_two_of_three_paused_a_put_is_answered_in_seconds_and_leaves_nothing(size: int) -> None:
    """Once it tried three partitions on the same three nodes, ten seconds each."""
    cluster = make_cluster(SPREAD)
    pause(cluster, (1, 2), noticed=True)
    with pytest.raises(QuorumNotReached, match="may or may not have happened"):
        await cluster.put(content(1, size))
    assert now() <= 2.0
    assert cluster.budget.free == BUDGET
    await asyncio.sleep(60)
    assert cluster.pool.visible() == set()


@virtual_time
async def test_a_put_slips_away_from_paused_nodes_to_a_partition_whose_nodes_answer() -> None:
    cluster = make_cluster(((2,), (5,)))
    pause(cluster, (1, 2), noticed=False)
    cluster.context.random_source.seed(3)
    for _ in range(6):
        began = now()
        result = await cluster.put(b"hello")
        assert result.id.partition == 1
        assert now() - began <= 10.1, "half of its time for the first"


@virtual_time
async def test_a_put_to_silent_replicas_that_answer_probes_ends_with_its_deadline() -> None:
    cluster = make_cluster(SPREAD)
    pause(cluster, (1, 2, 3), noticed=False)
    with pytest.raises(QuorumNotReached):
        await cluster.put(b"hello")
    assert now() <= 20.0 + 0.01


@virtual_time
async def test_an_upload_that_moves_on_has_the_whole_time_with_every_chunk() -> None:
    """The deadline bounds a wait for us, not the length of an upload: this one takes a minute and a half."""
    cluster = make_cluster(SPREAD)
    body = content(1, 6 * CHUNK)

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(body), CHUNK):
            await asyncio.sleep(15)
            yield body[start : start + CHUNK]

    for peer in cluster.pool:
        peer.script(slow(4.0))
    operation = PutOperation(cluster.request(), cluster.context, put_spec(), accept)
    result = await operation.run(slowly(), size=None, size_max=1 << 40)
    assert stored(cluster, result.id) == body
    assert now() >= 90


# --- how long an upload may take ---

DAY_S = 86_400


def passing(cluster: FakeCluster, body: bytes, happens: Callable[[], None]) -> Iterator[bytes]:
    """A body of several chunks; something happens before its last byte."""
    yield body[:-1]
    happens()
    yield body[-1:]


def clock_of(cluster: FakeCluster) -> SettableClock:
    clock = cluster.context.clock
    assert isinstance(clock, SettableClock)
    return clock


@virtual_time
async def test_an_upload_that_takes_longer_than_chunks_are_kept_is_refused() -> None:
    """A frontend nine days behind had its blob acknowledged whose chunks the sweep had taken for abandoned."""
    cluster = make_cluster(SPREAD, upload_max_s=DAY_S)
    clock = clock_of(cluster)
    body = content(3, 3 * CHUNK)

    def a_day() -> None:
        clock.seconds += DAY_S + 1

    with pytest.raises(RequestTimeout, match=r"upload_max_s.*nothing was stored"):
        await cluster.put(body, passing(cluster, body, a_day))
    await settle()
    assert RecordKind.COMPOSITE not in kinds(cluster)
    given_up = {call.message.id for call in cluster.pool.calls(MessageType.UPDATE)}
    assert {call.message.id for call in cluster.pool.calls(MessageType.PUT)} <= given_up


@pytest.mark.parametrize("days", [-2, 2])
@virtual_time
async def test_a_clock_that_is_put_right_meanwhile_ends_no_upload(days: int) -> None:
    """One that data nodes set right by two days was taken to have run for two days, and thrown away."""
    cluster = make_cluster(SPREAD, upload_max_s=DAY_S)
    body = content(3, 3 * CHUNK)

    def put_right() -> None:
        clock_of(cluster).wall += days * DAY_S * 1000

    result = await cluster.put(body, passing(cluster, body, put_right))
    assert stored(cluster, result.id) == body
    assert cluster.pool.calls(MessageType.PRESENCE), "it may as well have been suspended"


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("suspended", [False, True])
@virtual_time
async def test_an_upload_whose_chunks_were_given_up_meanwhile_is_refused_whatever_the_settings(
    suspended: bool, forgotten: bool
) -> None:
    """Buried on one replica already, or so long ago that nobody knows them any more."""
    cluster = make_cluster(SPREAD)
    clock = clock_of(cluster)
    body = content(3, 3 * CHUNK)

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:-1]
        await settle()
        clock.wall += 60_000
        clock.seconds += 0 if suspended else 60  # the monotonic clock of a suspended machine stands still
        for peer in cluster.pool if forgotten else [next(peer for peer in cluster.pool if peer.records)]:
            for raw, known in list(peer.records.items()):
                known.state = BlobState(0, True, NEVER_MS)
                if forgotten:
                    del peer.records[raw]
        yield body[-1:]

    operation = PutOperation(cluster.request(), cluster.context, put_spec(), accept)
    with pytest.raises(RequestTimeout, match="gave chunks of it up"):
        await operation.run(pieces(), size=None, size_max=1 << 40)
    await settle()
    composites = {call.message.id for call in cluster.pool.calls(MessageType.PUT) if call.message.kind == 2}
    assert composites <= {call.message.id for call in cluster.pool.calls(MessageType.UPDATE)}


@pytest.mark.parametrize(("took_s", "asked"), [(1, False), (DAY_S - 1, True)])
@virtual_time
async def test_only_an_upload_that_took_its_time_asks_about_its_chunks(took_s: int, asked: bool) -> None:
    cluster = make_cluster(SPREAD)
    body = content(3, 3 * CHUNK)
    result = await cluster.put(body, passing(cluster, body, lambda: clock_of(cluster).advance(took_s)))
    assert stored(cluster, result.id) == body
    assert bool(cluster.pool.calls(MessageType.PRESENCE)) is asked


@pytest.mark.parametrize("rest", [b"", b"the rest"])
async def test_what_came_of_an_upload_is_written_when_it_stalls_and_others_want_its_memory(rest: bytes) -> None:
    """70 uploads that stalled after 1 MB each kept all the memory for uploads as long as they were waited for."""
    cluster = make_cluster()
    began = content(1, 40_000)
    free: list[int] = []

    async def body() -> AsyncIterator[bytes | None]:
        yield began
        yield None
        await settle()
        free.append(cluster.budget.free)
        yield None
        if rest:
            yield rest

    operation = PutOperation(cluster.request(), cluster.context, put_spec(), accept)
    result = await operation.run(body(), size=None, size_max=1 << 40)
    assert free == [cluster.budget.size], "while it is waited for it holds nothing"
    assert await cluster.read(result.id) == began + rest
    assert cluster.budget.free == cluster.budget.size


# --- who hears of an id before it is used ---


@pytest.mark.parametrize("size", [10, 3 * CHUNK])
@virtual_time
async def test_the_id_of_a_blob_is_announced_before_anything_is_sent_under_it(size: int) -> None:
    cluster = make_cluster(SPREAD)
    heard: list[BlobId] = []

    async def announce(blob_id: BlobId) -> None:
        await asyncio.sleep(1)
        assert not cluster.pool.calls(MessageType.PUT)
        heard.append(blob_id)

    body = content(1, size)
    operation = PutOperation(cluster.request(), cluster.context, put_spec(), accept, announce)
    result = await operation.run(stream([body]), size=size, size_max=1 << 40)
    assert heard == [result.id]
    assert stored(cluster, result.id) == body


@pytest.mark.parametrize("size", [10, 3 * CHUNK])
@virtual_time
async def test_a_put_whose_id_cannot_be_announced_sends_nothing(size: int) -> None:
    cluster = make_cluster(SPREAD)

    async def refuse(_blob_id: BlobId) -> None:
        raise ReplicaUnavailable("nobody writes it down")

    operation = PutOperation(cluster.request(), cluster.context, put_spec(), accept, refuse)
    with pytest.raises(ReplicaUnavailable):
        await operation.run(stream([content(1, size)]), size=size, size_max=1 << 40)
    assert not cluster.pool.calls(MessageType.PUT)
    assert cluster.budget.free == BUDGET


@virtual_time
async def test_a_put_that_slips_to_another_partition_announces_that_id_too() -> None:
    cluster = make_cluster(SPREAD)
    for number in (1, 2):
        cluster.peer(number).script(fails(ReplicaUnavailable("fenced")), type=MessageType.PUT, times=1)
    heard: list[BlobId] = []

    async def announce(blob_id: BlobId) -> None:
        heard.append(blob_id)

    operation = PutOperation(cluster.request(), cluster.context, put_spec(), accept, announce)
    result = await operation.put_simple(b"hello")
    assert len(heard) == 2
    assert heard[-1] == result.id != heard[0]
