"""Every request counts once, by its type and outcome, when it is answered: whatever answered it."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter

import pytest

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.errors import (
    AmbryError,
    BlobNotFound,
    DataCorrupt,
    InsufficientStorage,
    NotUnderstood,
    PeerConnectionLost,
    ProtocolViolation,
    ReplicaFenced,
    ReplicaUnavailable,
    StoreMismatch,
)
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, ErrorReply, Hello, Message
from ambry.protocol.messages.blobs import (
    GetRequest,
    GetsRequest,
    PresenceRequest,
    PutRequest,
    PutsRequest,
    UpdateRequest,
)
from ambry.protocol.messages.feed import FeedRequest, WatchRequest
from ambry.protocol.messages.replication import (
    ChangesCursor,
    ChangesRequest,
    DigestsRequest,
    EntriesRequest,
    FetchRequest,
)
from ambry.protocol.messages.segments import SegmentBytesRequest, SegmentRecordsRequest, SegmentsRequest
from ambry.protocol.messages.upkeep import FatesRequest, UsageRequest
from datanode import metrics
from datanode.store.ranges import BEHIND_ALL, FIRST_KEY
from tests.support.direct_node import DirectNode
from tests.support.eventually import eventually
from tests.support.gate import Gate
from tests.support.rpc_pair import LONG_S, ask, connected
from tests.support.samples import CLUSTER, DELETED, PARTITION, blob_id

ID = blob_id(1)
PUT = PutRequest("r", ID, 1, 1, NEVER_MS, b"", b"", digest(b"x"), True)
GET = GetRequest("r", ID, 0, 1)


class Counted:
    """What was counted since this was made: (type, outcome) -> requests, and type -> requests that were timed."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for family in (*metrics.REQUESTS.collect(), *metrics.LATENCY.collect()):
            for sample in family.samples:
                if sample.name.endswith("_requests_total"):
                    found[sample.labels["type"], sample.labels["outcome"]] += int(sample.value)
                elif sample.name.endswith("_seconds_count"):
                    found[sample.labels["type"], "timed"] += int(sample.value)
        return found

    @property
    def all(self) -> dict[tuple[str, str], int]:
        return dict(self._now() - self._before)


OF_FRONTENDS = {MessageType.METADATA_LOG, MessageType.METADATA_NEWEST, MessageType.METADATA_HEAD}
ANSWERED = set(MessageType) - {MessageType.CANCEL} - OF_FRONTENDS
REQUESTS: dict[MessageType, Message] = {
    MessageType.HELLO: Hello(CLUSTER, "me"),
    MessageType.PING: Empty(),
    MessageType.PUT: PUT,
    MessageType.GET: GET,
    MessageType.UPDATE: UpdateRequest("r", ID, DELETED, 1),
    MessageType.PRESENCE: PresenceRequest("r", [ID]),
    MessageType.CHANGES: ChangesRequest([ChangesCursor(PARTITION, b"", 0)], 10, 0, 0),
    MessageType.FETCH: FetchRequest(PARTITION, [ID], 1000),
    MessageType.FATES: FatesRequest([ID]),
    MessageType.DIGESTS: DigestsRequest(PARTITION, FIRST_KEY, BEHIND_ALL, 0, 1),
    MessageType.ENTRIES: EntriesRequest(PARTITION, FIRST_KEY, BEHIND_ALL, 1),
    MessageType.SEGMENTS: SegmentsRequest(PARTITION, b"", 0),
    MessageType.SEGMENT_RECORDS: SegmentRecordsRequest(PARTITION, b"", 1, 0, 128),
    MessageType.SEGMENT_BYTES: SegmentBytesRequest(PARTITION, b"", 1, 0, 128, 8),
    MessageType.USAGE: UsageRequest(PARTITION, 0),
    MessageType.GETS: GetsRequest("r", [], 1000),
    MessageType.PUTS: PutsRequest("r", True, []),
    MessageType.FEED: FeedRequest(bytes(8), [], 10),
    MessageType.WATCH: WatchRequest(bytes(16), 0, 0),
}


def test_the_table_of_requests_is_whole() -> None:
    assert set(REQUESTS) == ANSWERED


@pytest.mark.parametrize("type", sorted(ANSWERED), ids=lambda type: type.name)
async def test_every_type_is_counted_and_timed_when_it_succeeds(node: DirectNode, type: MessageType) -> None:
    """Of most types the counters stayed 0 for ever."""
    async with connected(node.parts) as connection:
        if type is not MessageType.PUT:
            await ask(connection, MessageType.PUT, PUT, b"x")
        counted = Counted()
        await ask(connection, type, REQUESTS[type], b"x" if type is MessageType.PUT else b"")
        name = type.name.lower()
        assert counted.all == {(name, "ok"): 1, (name, "timed"): 1}


@pytest.mark.parametrize("type", sorted(ANSWERED - {MessageType.PING}), ids=lambda type: type.name)
async def test_every_type_is_counted_when_it_is_refused(node: DirectNode, type: MessageType) -> None:
    counted = Counted()
    async with connected(node.parts) as connection:
        with pytest.raises(ProtocolViolation):
            await ask(connection, type, ErrorReply(1, "no request at all"))
    name = type.name.lower()
    assert counted.all == {(name, "ProtocolViolation"): 1, (name, "timed"): 1}


async def expect(
    node: DirectNode, type: MessageType, message: Message, error: type[AmbryError], body: bytes = b""
) -> None:
    counted = Counted()
    async with connected(node.parts) as connection:
        with pytest.raises(error):
            await ask(connection, type, message, body)
    name = type.name.lower()
    assert counted.all == {(name, error.__name__): 1, (name, "timed"): 1}


async def test_each_error_has_a_name_of_its_own(node: DirectNode) -> None:
    await expect(node, MessageType.HELLO, Hello("other", "me"), StoreMismatch)
    await expect(node, MessageType.GET, GET, BlobNotFound)
    node.replica.store.serving = False
    await expect(node, MessageType.GET, GET, ReplicaUnavailable)
    node.replica.store.sealed = True
    await expect(node, MessageType.PUT, PUT, InsufficientStorage, b"x")


async def test_requests_of_a_later_release_are_counted_as_unknown(node: DirectNode) -> None:
    counted = Counted()
    async with connected(node.parts) as connection:
        with pytest.raises(NotUnderstood):
            await ask(connection, 200, Empty())
    assert counted.all == {("unknown", "NotUnderstood"): 1}


async def test_a_disk_that_fails_a_read_is_counted(node: DirectNode) -> None:
    """It counted nowhere: the answer came from a disk thread, after the handler had returned."""
    await node.put(ID, b"x")
    node.files.cache_cold = True
    node.files.fail("pread", errno.EIO)
    await expect(node, MessageType.GET, GET, DataCorrupt)


async def test_a_disk_that_fails_a_write_is_counted(node: DirectNode) -> None:
    node.files.fail("fdatasync", errno.EIO)
    await expect(node, MessageType.PUT, PUT, ReplicaFenced, b"x")


async def test_a_get_from_the_disk_counts_as_one_from_the_cache(node: DirectNode) -> None:
    await node.put(ID, b"x")
    node.files.cache_cold = True
    counted = Counted()
    async with connected(node.parts) as connection:
        await ask(connection, MessageType.GET, GET)
    assert counted.all == {("get", "ok"): 1, ("get", "timed"): 1}


async def test_an_answer_that_nobody_waits_for_any_more_counts_once(node: DirectNode) -> None:
    counted = Counted()
    with Gate(node.files, "fdatasync") as gate:
        async with connected(node.parts) as connection:
            put = asyncio.ensure_future(ask(connection, MessageType.PUT, PUT, b"x"))
            await gate.arrived.wait()
            assert counted.all == {}, "not answered yet"
        with pytest.raises(PeerConnectionLost):
            await put
        gate.open()
    await eventually(lambda: counted.all == {("put", "ok"): 1, ("put", "timed"): 1})


async def test_a_request_that_waits_is_counted_when_the_node_stops(node: DirectNode) -> None:
    store = node.replica.store
    wait = ChangesRequest([ChangesCursor(PARTITION, store.incarnation, store.end_lsn)], 10, 60_000, 0)
    counted = Counted()
    async with connected(node.parts) as connection:
        waiting = asyncio.ensure_future(ask(connection, MessageType.CHANGES, wait))
        await connection.request(MessageType.PING, Empty(), timeout_s=LONG_S)
        assert counted.all == {("ping", "ok"): 1, ("ping", "timed"): 1}
        await node.parts.later.stop()
        with pytest.raises(ReplicaUnavailable, match="shutting down"):
            await waiting
    assert counted.all == {
        ("ping", "ok"): 1,
        ("ping", "timed"): 1,
        ("changes", "ReplicaUnavailable"): 1,
        ("changes", "timed"): 1,
    }
