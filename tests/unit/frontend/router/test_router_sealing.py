"""Blobs of an encrypted container: put, read, and never served when they are not what was put."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ambry.blob import BlobProperties
from ambry.checksum import BLOCK_SIZE, digest
from ambry.errors import (
    AmbryError,
    EncryptionKeyDeleted,
    InvariantBroken,
    KeyMismatch,
    KeysUnavailable,
    Unavailable,
)
from ambry.format import sealed
from ambry.format.properties import decode_properties
from ambry.format.record import ENCRYPTED, RecordKind
from ambry.ids import BlobId
from ambry.protocol.messages.blobs import WantedBytes
from frontend.router import update
from frontend.router.batch_puts import BatchPut, SmallBlob
from frontend.router.batch_reads import read_from
from frontend.router.put import PutOperation
from frontend.router.quorum_read import read_head
from frontend.router.records import RecordPuts, new_record
from frontend.router.sealing import Sealing, seal, sealing_now, sealing_soon
from frontend.router.values import PutResult, RangeSpec
from tests.support.content import content
from tests.support.fake_cluster import (
    CHUNK,
    FakeCluster,
    accept,
    make_cluster,
    put_spec,
    some_container,
    some_request,
)
from tests.support.fake_peers import Stored
from tests.support.memory_keys import MemoryKey, MemoryKeys

PLANTED = b"planted plain text, which nobody may find"
SAID: dict[str, Any] = {
    "metadata": {"secret-key": "secret value"},
    "properties": BlobProperties(size=0, digest=b"", filename="secret name.txt", content_type="text/plain"),
}
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1, 3 * CHUNK, 3 * CHUNK + 7]


def body_of(size: int) -> bytes:
    return (PLANTED + content(3, size))[:size]


def sealed_cluster(**options: Any) -> FakeCluster:
    return make_cluster(keys=MemoryKeys(), **options)


def keys_of(cluster: FakeCluster) -> MemoryKeys:
    keys = cluster.context.keys
    assert isinstance(keys, MemoryKeys)
    return keys


def stored(cluster: FakeCluster) -> list[Stored]:
    return [known for peer in cluster.peers() for known in peer.records.values()]


def refuses_plain(cluster: FakeCluster) -> None:
    """Nothing that data nodes hold shows what was put."""
    records = stored(cluster)
    assert records
    for known in records:
        put = known.put
        assert put is not None and put.features == ENCRYPTED
        text = put.properties + put.metadata + put.digest + put.tags + known.payload
        for planted in (
            b"secret",
            body_of(len(known.payload))[:16] if len(known.payload) > 8 else b"",
            # One byte of 256 is sealed as itself.
            digest(body_of(len(known.payload))) if len(known.payload) > 8 else b"",
        ):
            assert not planted or planted not in text


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_reads_back_whole_and_in_every_range_around_the_borders_of_frames_and_chunks(size: int) -> None:
    cluster = sealed_cluster(chunk_size_bytes=2 * CHUNK)
    body = body_of(size)
    made = await cluster.put(body, **SAID)
    assert (made.size, made.digest) == (size, digest(body))
    assert await cluster.read(made.id) == body
    borders = sorted(
        {0, 1, size // 2, size - 1, *(near for at in range(0, size, CHUNK) for near in (at - 1, at, at + 1))}
    )
    for first in (each for each in borders if 0 <= each < size):
        for last in {first, first + 1, first + CHUNK - 1, first + CHUNK, size - 1}:
            if first <= last:
                assert await cluster.read(made.id, RangeSpec(first, last)) == body[first : last + 1]
        assert await cluster.read(made.id, RangeSpec(None, size - first)) == body[first:]
    refuses_plain(cluster)


@pytest.mark.parametrize("size", [9, 3 * CHUNK])
async def test_what_is_said_of_a_blob_comes_back_with_it(size: int) -> None:
    cluster = sealed_cluster()
    made = await cluster.put(body_of(size), **SAID)
    head = await read_head(cluster.request(), cluster.context, made.id)
    assert head.encrypted and head.metadata == SAID["metadata"]
    assert (head.properties.filename, head.properties.digest) == ("secret name.txt", made.digest)
    assert (head.properties.size, head.properties.content_type) == (size, "text/plain")
    record = cluster.peer(1).records[made.id.raw].put
    assert record is not None
    plain = decode_properties(record.properties)
    assert (plain.filename, plain.digest, plain.size) == ("", bytes(16), size)
    later = await update.extend_ttl(cluster.request(), cluster.context, made.id, 1 << 50)
    assert later.properties == head.properties
    await update.delete(cluster.request(), cluster.context, made.id)
    await update.undelete(cluster.request(), cluster.context, made.id)
    assert await cluster.read(made.id) == body_of(size)


async def test_a_plain_container_beside_it_stays_plain() -> None:
    cluster = sealed_cluster()
    request = some_request()
    made = await PutOperation(request, cluster.context, put_spec(), None).put_simple(b"plain")
    put = cluster.peer(1).records[made.id.raw].put
    assert put is not None and (put.features, put.tags) == (0, b"")
    assert not (await read_head(request, cluster.context, made.id)).encrypted
    assert await cluster.read(made.id) == b"plain"


async def batch(cluster: FakeCluster, bodies: list[bytes]) -> list[PutResult]:
    put = BatchPut(cluster.request(), cluster.context)
    made = await put.put([SmallBlob(put_spec(**SAID), body) for body in bodies])
    results = [each for each in made if isinstance(each, PutResult)]
    assert len(results) == len(bodies)
    return results


async def test_a_batch_is_sealed_blob_by_blob_and_read_with_one_question() -> None:
    cluster = sealed_cluster()
    bodies = [body_of(size) for size in (0, 1, 5_000, CHUNK - 1, CHUNK, CHUNK + 1)]
    made = await batch(cluster, bodies)
    assert [each.digest for each in made] == [digest(body) for body in bodies]
    refuses_plain(cluster)
    wanted = [WantedBytes(each.id.raw, 0, 1 << 20) for each in made]
    wanted += [WantedBytes(made[-1].id.raw, CHUNK - 2, CHUNK + 1), WantedBytes(made[2].id.raw, 0, 0)]
    told = await read_from(cluster.request(), cluster.context.keys, cluster.peer(1), wanted, room=1 << 20)  # type: ignore[arg-type]
    expected = [*bodies, bodies[-1][CHUNK - 2 : CHUNK + 1], b""]
    assert [None if each is None else bytes(each.data) for each in told] == expected
    keys_of(cluster).known = False
    told = await read_from(cluster.request(), cluster.context.keys, cluster.peer(1), wanted, room=1 << 20)  # type: ignore[arg-type]
    assert told == [None] * len(wanted)  # each is read for itself, and asks
    assert await cluster.read(made[2].id) == bodies[2]


async def test_a_put_that_slips_to_another_partition_opens_under_its_new_id() -> None:
    cluster = sealed_cluster(replicas=((3,), (3,)))
    made: list[BlobId] = []

    async def announce(blob_id: BlobId) -> None:
        if not made:
            for peer in cluster.peers():
                peer.partitions = frozenset({1 - blob_id.partition})
        made.append(blob_id)

    put = PutOperation(cluster.request(), cluster.context, put_spec(**SAID), accept, announce)
    result = await put.put_simple(body_of(100))
    assert len(made) == 2 and result.id == made[1]
    assert await cluster.read(result.id) == body_of(100)


async def test_a_put_that_was_begun_is_sealed_and_gone_on_with() -> None:
    cluster = sealed_cluster()
    put = PutOperation(cluster.request(), cluster.context, put_spec(**SAID), None)
    body = body_of(4_096)
    begun = put.begin_simple(body)
    begun.outcome = await begun.write.start()
    result = await put.put_simple(body, begun)
    assert (result.size, result.digest) == (len(body), digest(body))
    assert await cluster.read(result.id) == body
    keys_of(cluster).known = False
    with pytest.raises(Unavailable, match="must be asked for"):
        PutOperation(cluster.request(), cluster.context, put_spec(), None).begin_simple(body)


# --- keys ---


async def test_keys_that_are_not_known_are_asked_for() -> None:
    cluster = sealed_cluster()
    keys = keys_of(cluster)
    keys.known = False
    for size in (10, 3 * CHUNK):
        made = await cluster.put(body_of(size), **SAID)
        assert await cluster.read(made.id) == body_of(size)
    assert keys.asked > 4


async def test_while_keys_are_away_nothing_is_put_and_nothing_served() -> None:
    cluster = sealed_cluster()
    keys = keys_of(cluster)
    made = await cluster.put(body_of(10))
    count = len(stored(cluster))
    keys.known, keys.away = False, True
    for size in (10, 3 * CHUNK):
        with pytest.raises(KeysUnavailable):
            await cluster.put(body_of(size))
    failed = await BatchPut(cluster.request(), cluster.context).put([SmallBlob(put_spec(), b"x")] * 2)
    assert [type(each) for each in failed] == [KeysUnavailable] * 2
    assert len(stored(cluster)) == count
    for read in (cluster.read(made.id), read_head(cluster.request(), cluster.context, made.id)):
        with pytest.raises(KeysUnavailable):
            await read
    keys.away = False
    assert await cluster.read(made.id) == body_of(10)


async def test_whether_a_container_is_encrypted_must_be_known_before_anything_is_put() -> None:
    cluster = sealed_cluster()
    container = replace(some_container(), certain=False)
    for call in (sealing_soon(cluster.context, container),):
        with pytest.raises(Unavailable, match="whether the container default/default is encrypted"):
            await call
    with pytest.raises(Unavailable):
        sealing_now(cluster.context, container)
    assert sealing_now(make_cluster().context, container) is None


async def test_a_deleted_key_makes_its_blobs_unreadable_and_says_so() -> None:
    cluster = sealed_cluster()
    made = await cluster.put(body_of(10))
    keys_of(cluster).deleted.add(some_container().scope)
    with pytest.raises(EncryptionKeyDeleted, match="for ever"):
        await cluster.read(made.id)


async def test_blobs_of_an_older_version_of_the_key_are_read() -> None:
    cluster = sealed_cluster()
    before = await cluster.put(body_of(10))
    keys_of(cluster).rotate(some_container().scope)
    after = await cluster.put(body_of(11))
    assert await cluster.read(before.id) == body_of(10) and await cluster.read(after.id) == body_of(11)
    versions = {
        sealed.decode_section(known.put.metadata).key_version for known in stored(cluster) if known.put is not None
    }
    assert versions == {1, 2}


async def test_a_wrong_key_is_told_as_one_and_not_as_damage() -> None:
    cluster = sealed_cluster()
    made = await cluster.put(body_of(10))
    keys_of(cluster).replace(some_container().scope, 1)
    with pytest.raises(KeyMismatch, match="was not wrapped by this key"):
        await cluster.read(made.id)


# --- nothing that was changed is served ---


def change(known: Stored, **fields: Any) -> None:
    """Give a stored record other bytes, with right checksums: as whoever owns a disk can."""
    assert known.put is not None
    known.payload = fields.pop("payload", known.payload)
    known.put = replace(known.put, **fields)
    known.put = replace(known.put, digest=digest(known.payload))


async def one_damaged(**fields: Any) -> tuple[FakeCluster, PutResult, bytes]:
    cluster = sealed_cluster(chunk_size_bytes=4 * CHUNK)
    body = body_of(3 * CHUNK + 9)
    made = await cluster.put(body, **SAID)
    for peer in cluster.peers()[:2]:
        known = peer.records[made.id.raw]
        change(known, **{name: do(known) for name, do in fields.items()})
    return cluster, made, body


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES: list[dict[str, Any]] = [
    {"payload": lambda known: flipped(known.payload, 0)},
    {"payload": lambda known: flipped(known.payload, 2 * CHUNK + 5)},
    {"payload": lambda known: flipped(known.payload, len(known.payload) - 1)},
    {"payload": lambda known: known.payload[CHUNK : 2 * CHUNK] + known.payload[:CHUNK] + known.payload[2 * CHUNK :]},
    {"payload": lambda known: known.payload[:CHUNK] * 3 + known.payload[3 * CHUNK :]},
    {"payload": lambda known: known.payload[: 3 * CHUNK], "tags": lambda known: known.put.tags[:48]},
    {"tags": lambda known: flipped(known.put.tags, 3)},
    {"tags": lambda known: known.put.tags[16:32] + known.put.tags[:16] + known.put.tags[32:]},
    {"tags": lambda known: b""},
    {"properties": lambda known: known.put.properties.replace(b"text/plain", b"text/html!")},
    {"metadata": lambda known: flipped(known.put.metadata, len(known.put.metadata) - 1)},
    {"metadata": lambda known: flipped(known.put.metadata, 9)},
    {"metadata": lambda known: known.put.metadata[:20]},
    {"kind": lambda _: RecordKind.CHUNK},
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_changed_record_is_never_served_and_another_replica_is_asked(damage: dict[str, Any]) -> None:
    cluster, made, body = await one_damaged(**damage)
    for _ in range(6):
        assert await cluster.read(made.id) == body
    for peer in cluster.peers()[2:]:
        peer.records.clear()
    with pytest.raises(AmbryError):
        await cluster.read(made.id)


async def test_the_record_of_one_blob_does_not_open_under_the_id_of_another() -> None:
    cluster = sealed_cluster()
    one, other = await cluster.put(body_of(100)), await cluster.put(content(9, 100))
    for peer in cluster.peers():
        here, there = peer.records[one.id.raw], peer.records[other.id.raw]
        assert here.put is not None and there.put is not None
        here.put, here.payload = replace(there.put, id=here.put.id), there.payload
    with pytest.raises(KeyMismatch):
        await cluster.read(one.id)


async def test_the_head_of_one_blob_does_not_open_the_bytes_of_another() -> None:
    cluster = sealed_cluster()
    one, other = await cluster.put(body_of(100)), await cluster.put(content(9, 100))
    for peer in cluster.peers():
        there = peer.records[other.id.raw]
        assert there.put is not None
        change(peer.records[one.id.raw], payload=there.payload, tags=there.put.tags)
    with pytest.raises(Unavailable, match="not what was sealed"):
        await cluster.read(one.id)


async def test_chunks_that_change_places_are_refused() -> None:
    cluster = sealed_cluster()
    made = await cluster.put(body_of(3 * CHUNK))
    chunks = sorted(raw for raw in cluster.peer(1).records if raw != made.id.raw)
    for peer in cluster.peers():
        first, second = (peer.records[raw] for raw in chunks[:2])
        assert first.put is not None and second.put is not None
        puts, payloads = (first.put, second.put), (first.payload, second.payload)
        first.put, second.put = replace(puts[1], id=puts[0].id), replace(puts[0], id=puts[1].id)
        first.payload, second.payload = payloads[1], payloads[0]
    with pytest.raises(AmbryError, match="not wrapped by this key"):
        await cluster.read(made.id)


async def test_a_plain_chunk_in_the_place_of_a_sealed_one_is_refused() -> None:
    """Whoever can write to a disk would put his own bytes in the middle of a sealed blob."""
    cluster = sealed_cluster()
    made = await cluster.put(body_of(3 * CHUNK))
    for peer in cluster.peers():
        for raw, known in peer.records.items():
            if raw != made.id.raw:
                change(known, payload=bytes(CHUNK), tags=b"", features=0, metadata=b"")
    with pytest.raises(Unavailable, match="plain record in the place of an encrypted one"):
        await cluster.read(made.id)


async def test_a_plain_record_in_the_place_of_a_sealed_blob_shows_that_it_was_not_encrypted() -> None:
    """A container has such blobs too, from before it was encrypted."""
    cluster = sealed_cluster()
    made = await cluster.put(body_of(100))
    for peer in cluster.peers():
        known = peer.records[made.id.raw]
        change(known, payload=b"forged", tags=b"", features=0, metadata=b"")
    head = await read_head(cluster.request(), cluster.context, made.id)
    assert not head.encrypted


# --- sealing ---


def test_a_payload_is_encrypted_where_it_stands_and_a_borrowed_one_is_not_changed() -> None:
    sealing = Sealing(MemoryKey(1))
    own, borrowed = bytearray(content(1, BLOCK_SIZE + 1)), content(1, BLOCK_SIZE + 1)
    properties = BlobProperties(size=len(own), digest=digest(own))
    made = seal(sealing, RecordKind.BLOB, properties, b"", own)
    assert isinstance(made.data, memoryview) and made.data.obj is own
    assert seal(sealing, RecordKind.BLOB, properties, b"", borrowed).data != borrowed == content(1, BLOCK_SIZE + 1)


# --- what is not sealed ---


async def test_no_plain_record_leaves_for_an_encrypted_container() -> None:
    """Whoever forgets to ask for a key is stopped at the last step before the wire."""
    cluster = sealed_cluster()
    records = RecordPuts(cluster.request(), cluster.context, put_spec(**SAID))
    properties = BlobProperties(size=len(PLANTED), digest=digest(PLANTED))
    plain = new_record(RecordKind.BLOB, properties, b"", PLANTED, digest(PLANTED), None)
    with pytest.raises(InvariantBroken, match="encrypted container"):
        await records.put(plain)
    assert all(not peer.records for peer in cluster.peers())
