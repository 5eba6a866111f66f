"""What the router relies on of a peer: of the fake that its tests run against, and of pool, connection and data node alike.

Whoever teaches the router to rely on more of a peer adds it here, so that the fake cannot answer what a data node would not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import BLOCK_SIZE, digest
from ambry.clustermap.model import Node
from ambry.errors import (
    AlreadyExists,
    AmbryError,
    BlobDeleted,
    BlobNotFound,
    DeadlineExceeded,
    InvalidBlobId,
    InvalidRequest,
    Overloaded,
    PartitionUnknown,
    PeerConnectionLost,
    ReplicaUnavailable,
)
from ambry.format.record import RecordKind
from ambry.network.pool import Peer, PeerPool
from ambry.network.responding import Handler, Responder
from ambry.network.serving import ServingConnection
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Message
from ambry.protocol.messages.blobs import (
    GetReply,
    GetRequest,
    PresenceReply,
    PresenceRequest,
    PutRequest,
    UpdateReply,
    UpdateRequest,
)
from datanode.config import CompactionSection
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.fake_peers import FakePeer, FakePool, corrupt, held, silent
from tests.support.introductions import introduction
from tests.support.node_parts import LONE, lone_map, lone_node, store_section
from tests.support.ports import free_ports
from tests.support.samples import DELETED, PARTITION, blob_id, content

ID = blob_id(1)
OTHER = blob_id(2)
STRANGER = blob_id(3, partition=99)
GARBAGE = bytes(36)
ALIVE = BlobState(0, False, NEVER_MS)
IN_FLIGHT_MAX = 300_000
LONG_S = 60.0
RETENTION_S = CompactionSection().deleted_retention_s


class FakeWorld:
    """One fake peer."""

    def __init__(self, _root: Path) -> None:
        self.clock = SettableClock()
        self._pool = FakePool(
            [LONE], clock=self.clock, partitions=frozenset([PARTITION]), in_flight_bytes_max=IN_FLIGHT_MAX
        )

    @property
    def peer(self) -> FakePeer:
        return self._pool[LONE.name]

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def serving(self, value: bool) -> None:
        self.peer.serving = value

    def silence(self) -> None:
        """Nothing is answered any more."""
        self.peer.script(silent())

    def hold(self, until: asyncio.Event) -> None:
        """Puts take effect at once, and are answered later."""
        self.peer.script(held(until), type=MessageType.PUT)

    def garble(self) -> None:
        """The answer to the next get is no frame."""
        self.peer.script(corrupt(), type=MessageType.GET, times=1)

    def well(self) -> None:
        self.peer.heal()

    async def disconnect(self) -> None:
        self.peer.connected = False

    async def reconnect(self) -> None:
        self.peer.connected = True


class HeldResponder:
    """Passes an answer on when it may."""

    def __init__(self, responder: Responder, until: asyncio.Event) -> None:
        self.deadline = float("inf")
        self._responder = responder
        self._until = until

    async def admit(self, size: int) -> None:
        await self._responder.admit(size)

    def reply(self, *answer: Any) -> None:
        self._later(lambda: self._responder.reply(*answer))

    def fail(self, error: AmbryError) -> None:
        self._later(lambda: self._responder.fail(error))

    def _later(self, send: Callable[[], None]) -> None:
        waiting = asyncio.get_running_loop().create_task(self._until.wait())
        waiting.add_done_callback(lambda _: send())


class RealWorld:
    """A data node with its store on a fake disk, on a port, and a pool that is connected to it."""

    def __init__(self, root: Path) -> None:
        self.clock = SettableClock()
        self._parts = lone_node(
            FakeFiles(root),
            root / "data",
            clock=self.clock,
            cluster_map=lone_map(),
            store=store_section(segment_size_bytes=4 << 20),
        )
        self._handlers: dict[int, Handler] = dict(self._parts.handlers)
        self._served: list[ServingConnection] = []
        (self._port,) = free_ports(1)  # it stays ours while the peer is down

    @property
    def peer(self) -> Peer:
        return self._pool[LONE.name]

    async def start(self) -> None:
        await self._parts.open_replicas()
        await self._listen()
        node = Node(name=LONE.name, datacenter="dc1", datacenter_id=1, host="127.0.0.1", port=self._port)
        self._pool = PeerPool(
            [node],
            introduction=introduction("test"),
            random_source=random.Random(1),
            in_flight_bytes_max=IN_FLIGHT_MAX,
        )
        self._pool.start()
        await eventually(lambda: self.peer.connected)

    async def _listen(self) -> None:
        def accept() -> ServingConnection:
            self._served.append(ServingConnection(handlers=self._handlers, tally=self._parts.counts))
            return self._served[-1]

        self._server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", self._port)

    async def stop(self) -> None:
        await self._pool.stop()
        self._hang_up()
        await self._parts.later.stop()
        await self._parts.close()

    def _hang_up(self) -> None:
        self._server.close()
        for connection in self._served:
            connection.abort()

    def serving(self, value: bool) -> None:
        self._parts.replicas[PARTITION].store.serving = value

    def _answer_all(self, handler: Callable[[Frame, Responder], None]) -> None:
        self._handlers.update(dict.fromkeys(self._handlers, handler))

    def silence(self) -> None:
        self._answer_all(lambda _frame, _responder: None)

    def hold(self, until: asyncio.Event) -> None:
        def handle(frame: Frame, responder: Responder) -> None:
            later: Any = HeldResponder(responder, until)
            self._parts.handlers[frame.type](frame, later)

        self._handlers[MessageType.PUT] = handle

    def garble(self) -> None:
        def handle(_frame: Frame, responder: Responder) -> None:
            self._handlers[MessageType.GET] = self._parts.handlers[MessageType.GET]
            responder.connection._send(b"no frame of ours" * 4, b"")

        self._handlers[MessageType.GET] = handle

    def well(self) -> None:
        self._handlers.update(self._parts.handlers)

    async def disconnect(self) -> None:
        self._hang_up()
        await eventually(lambda: not self.peer.connected)

    async def reconnect(self) -> None:
        await self._listen()
        await eventually(lambda: self.peer.connected)


World = FakeWorld | RealWorld


@pytest.fixture(params=[FakeWorld, RealWorld], ids=["fake", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made: World = request.param(tmp_path)
    await made.start()
    yield made
    await made.stop()


class Asked:
    """One call, and how it ended."""

    def __init__(
        self, world: World, type: MessageType, message: Message, body: bytes = b"", *, timeout_s: float = LONG_S
    ):
        self.outcomes: list[Frame | AmbryError] = []
        self._ended = asyncio.Event()
        world.peer.call(type, message, self._end, timeout_s=timeout_s, body=body)

    def _end(self, outcome: Frame | AmbryError) -> None:
        self.outcomes.append(outcome)
        self._ended.set()

    async def frame(self) -> Frame:
        """The reply. Raises the error that was the outcome."""
        await asyncio.wait_for(self._ended.wait(), LONG_S)
        (outcome,) = self.outcomes
        if isinstance(outcome, AmbryError):
            raise outcome
        return outcome

    async def error(self) -> AmbryError:
        with pytest.raises(AmbryError) as caught:
            await self.frame()
        return caught.value


def put_request(
    payload: bytes, raw_id: bytes = ID, *, kind: int = RecordKind.BLOB, expires_at_ms: int = NEVER_MS
) -> PutRequest:
    return PutRequest("r", raw_id, kind, 123, expires_at_ms, b"\x01\x80", b"\x01\x81\xa1k\xa1v", digest(payload), True)


async def put(world: World, payload: bytes, raw_id: bytes = ID, **changes: int) -> None:
    frame = await Asked(world, MessageType.PUT, put_request(payload, raw_id, **changes), payload).frame()
    assert messages.decode(frame.header, Empty) == Empty()


async def get(
    world: World, first: int = 0, end: int = 1 << 40, *, raw_id: bytes = ID, any_state: bool = False
) -> tuple[GetReply, bytes]:
    frame = await Asked(world, MessageType.GET, GetRequest("r", raw_id, first, end, any_state)).frame()
    return messages.decode(frame.header, GetReply), bytes(frame.body)


async def update(world: World, state: BlobState, raw_id: bytes = ID, *, deleted_at_ms: int = 0) -> BlobState:
    return (await updated(world, state, raw_id, deleted_at_ms=deleted_at_ms)).state


async def updated(world: World, state: BlobState, raw_id: bytes = ID, *, deleted_at_ms: int = 0) -> UpdateReply:
    request = UpdateRequest("r", raw_id, state, world.clock.wall_ms(), deleted_at_ms)
    frame = await Asked(world, MessageType.UPDATE, request).frame()
    return messages.decode(frame.header, UpdateReply)


async def presence(world: World, *ids: bytes) -> list[str]:
    frame = await world.peer.request(MessageType.PRESENCE, PresenceRequest("r", list(ids)), timeout_s=LONG_S)
    return messages.decode(frame.header, PresenceReply).states


# --- what a data node answers ---


@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK_SIZE, 3 * BLOCK_SIZE + 7])
async def test_what_was_put_is_got_with_its_head(world: World, size: int) -> None:
    payload = content(1, size)
    await put(world, payload)
    expected = GetReply(ALIVE, True, 1, 123, b"\x01\x80", b"\x01\x81\xa1k\xa1v", digest(payload), size, 0)
    assert await get(world) == (expected, payload)


@pytest.mark.parametrize(
    ("first", "end", "start", "stop"),
    [
        (0, 0, 0, 0),
        (5, 5, 0, 0),
        (0, 1, 0, BLOCK_SIZE),
        (BLOCK_SIZE, BLOCK_SIZE + 1, BLOCK_SIZE, 2 * BLOCK_SIZE),
        (BLOCK_SIZE - 1, BLOCK_SIZE + 1, 0, 2 * BLOCK_SIZE),
        (2 * BLOCK_SIZE + 5, 1 << 40, 2 * BLOCK_SIZE, 2 * BLOCK_SIZE + 7),
        (1 << 40, 1 << 41, 0, 0),
    ],
)
async def test_a_range_comes_in_whole_blocks_and_is_clipped(
    world: World, first: int, end: int, start: int, stop: int
) -> None:
    payload = content(1, 2 * BLOCK_SIZE + 7)
    await put(world, payload)
    reply, body = await get(world, first, end)
    assert body == payload[start:stop]
    assert reply.payload_size == len(payload)
    if body:
        assert reply.start == start


@pytest.mark.parametrize(("first", "end"), [(-1, 5), (5, 4)])
async def test_a_range_that_is_none_is_refused(world: World, first: int, end: int) -> None:
    await put(world, b"x" * 10)
    with pytest.raises(InvalidRequest):
        await get(world, first, end)


async def test_the_same_put_again_succeeds_and_another_content_does_not(world: World) -> None:
    await put(world, b"same")
    await put(world, b"same")
    with pytest.raises(AlreadyExists):
        await put(world, b"other")
    assert (await get(world))[1] == b"same"


@pytest.mark.parametrize("kind", [0, RecordKind.UPDATE, 77])
async def test_a_record_kind_that_is_no_put_is_refused(world: World, kind: int) -> None:
    with pytest.raises(InvalidRequest):
        await put(world, b"x", kind=kind)


async def test_ids_that_are_none_and_partitions_that_are_elsewhere_are_refused(world: World) -> None:
    for raw_id, error in ((GARBAGE, InvalidBlobId), (STRANGER, PartitionUnknown)):
        with pytest.raises(error):
            await put(world, b"x", raw_id)
        with pytest.raises(error):
            await get(world, raw_id=raw_id)
        with pytest.raises(error):
            await update(world, DELETED, raw_id)


async def test_absence_is_said_only_with_authority(world: World) -> None:
    with pytest.raises(BlobNotFound):
        await get(world)
    world.serving(False)
    with pytest.raises(ReplicaUnavailable):
        await get(world)


async def test_deleted_and_expired_blobs_are_gone_unless_asked_for_all_the_same(world: World) -> None:
    soon = world.clock.wall_ms() + 1000
    await put(world, b"x", expires_at_ms=soon)
    assert (await get(world))[1] == b"x"
    world.clock.advance(1)
    reply, body = await get(world)
    assert (reply, body) == (GetReply(BlobState(0, False, soon), False, 0, 0, b"", b"", b"", 0, 0, True), b"")
    assert (await get(world, any_state=True))[1] == b"x"
    assert await update(world, ALIVE) == ALIVE
    assert (await get(world))[1] == b"x"
    assert await update(world, DELETED) == DELETED
    reply, body = await get(world)
    assert (reply.state, reply.present, reply.gone, body) == (DELETED, False, True, b"")
    reply, body = await get(world, any_state=True)
    assert (reply.state, reply.present, reply.gone, body) == (DELETED, True, False, b"x")


async def test_a_state_without_bytes_is_not_an_absence(world: World) -> None:
    await update(world, DELETED)
    reply, body = await get(world, any_state=True)
    assert (reply.state, reply.present, body) == (DELETED, False, b"")


async def test_a_longer_life_needs_the_bytes(world: World) -> None:
    for known in (None, DELETED):
        if known is not None:
            await update(world, known)
        with pytest.raises(ReplicaUnavailable):
            await update(world, BlobState(1, False, NEVER_MS))
    await put(world, b"x", OTHER, expires_at_ms=world.clock.wall_ms() + 1000)
    assert await update(world, ALIVE, OTHER) == ALIVE


async def test_updates_join_and_a_tombstone_outlives_a_late_put(world: World) -> None:
    assert await update(world, BlobState(0, True, 500)) == BlobState(0, True, 500)
    assert await update(world, BlobState(0, True, 400)) == BlobState(0, True, 500)
    await put(world, b"late")
    reply, _ = await get(world)
    assert (reply.gone, reply.state.deleted) == (True, True)
    assert await update(world, BlobState(1, False, 0)) == BlobState(1, False, NEVER_MS)
    assert (await get(world))[1] == b"late"


async def test_an_undelete_that_comes_too_late_is_refused(world: World) -> None:
    for raw_id in (ID, OTHER):
        await put(world, b"x", raw_id)
        await update(world, DELETED, raw_id)
    back = BlobState(1, False, NEVER_MS)
    world.clock.advance(RETENTION_S - 1)
    assert await update(world, back) == back
    world.clock.advance(1)
    with pytest.raises(BlobDeleted):
        await update(world, back, OTHER)


async def test_an_undelete_is_judged_by_the_time_of_the_delete_that_it_undoes(world: World) -> None:
    await put(world, b"x")
    await put(world, b"x", OTHER)
    back = BlobState(1, False, NEVER_MS)
    deleted_at_ms = world.clock.wall_ms()
    world.clock.advance(RETENTION_S - 1)
    assert await update(world, back, deleted_at_ms=deleted_at_ms) == back
    world.clock.advance(1)
    assert await update(world, back, deleted_at_ms=deleted_at_ms) == back, "it is undone already"
    with pytest.raises(BlobDeleted):
        await update(world, back, OTHER, deleted_at_ms=deleted_at_ms)


async def test_an_undelete_needs_the_bytes(world: World) -> None:
    back = BlobState(1, False, NEVER_MS)
    for known in (None, DELETED):
        if known is not None:
            await update(world, known)
        with pytest.raises(ReplicaUnavailable):
            await update(world, back, deleted_at_ms=world.clock.wall_ms())
    await put(world, b"x")
    assert await update(world, back, deleted_at_ms=world.clock.wall_ms()) == back


async def test_answers_say_when_a_blob_was_deleted(world: World) -> None:
    await put(world, b"x")
    deleted_at_ms = world.clock.wall_ms()
    assert await updated(world, ALIVE) == UpdateReply(ALIVE, 0)
    assert await updated(world, DELETED) == UpdateReply(DELETED, deleted_at_ms)
    world.clock.advance(1)
    assert await updated(world, DELETED) == UpdateReply(DELETED, deleted_at_ms)
    for any_state in (False, True):
        assert (await get(world, any_state=any_state))[0].deleted_at_ms == deleted_at_ms


async def test_presence_is_sure_or_unsure(world: World) -> None:
    await put(world, b"x")
    await put(world, b"x", OTHER)
    await update(world, DELETED, OTHER)
    ids = (ID, OTHER, blob_id(5), STRANGER, GARBAGE, b"short")
    assert await presence(world, *ids) == ["present", "deleted", "absent", "unsure", "unsure", "unsure"]
    world.serving(False)
    assert await presence(world, ID, blob_id(5)) == ["present", "unsure"]


# --- how a call ends ---


async def test_without_a_connection_a_call_ends_at_once(world: World) -> None:
    await put(world, b"x")
    await world.disconnect()
    assert not world.peer.connected
    assert not world.peer.usable
    asked = Asked(world, MessageType.GET, GetRequest("r", ID, 0, 1))
    assert [type(outcome) for outcome in asked.outcomes] == [PeerConnectionLost]
    with pytest.raises(PeerConnectionLost):
        await presence(world, ID)
    await world.reconnect()
    assert (await get(world))[1] == b"x"


async def test_a_call_that_is_not_answered_ends_at_its_deadline_and_only_once(world: World) -> None:
    until = asyncio.Event()
    world.hold(until)
    asked = Asked(world, MessageType.PUT, put_request(b"x" * 1000), b"x" * 1000, timeout_s=0.05)
    assert world.peer.in_flight_bytes == 1000
    assert isinstance(await asked.error(), DeadlineExceeded)
    assert world.peer.in_flight_bytes == 1000  # the peer holds them still
    until.set()
    await eventually(lambda: world.peer.in_flight_bytes == 0)
    world.well()
    async with asyncio.timeout(LONG_S):
        while await presence(world, ID) != ["present"]:  # noqa: ASYNC110 - it takes effect all the same, and tells nobody
            await asyncio.sleep(0.01)
    assert (await get(world))[1] == b"x" * 1000
    assert len(asked.outcomes) == 1


async def test_what_is_in_flight_is_bounded_but_one_call_always_goes(world: World) -> None:
    until = asyncio.Event()
    world.hold(until)
    large = bytes(IN_FLIGHT_MAX + 1)
    first = Asked(world, MessageType.PUT, put_request(large), large)
    second = Asked(world, MessageType.PUT, put_request(b"x", OTHER), b"x")
    assert [type(outcome) for outcome in second.outcomes] == [Overloaded]
    assert world.peer.in_flight_bytes == len(large)
    until.set()
    await first.frame()
    assert world.peer.in_flight_bytes == 0
    await put(world, b"x", OTHER)


async def test_silence_makes_a_peer_suspect_and_an_answer_makes_it_well(world: World) -> None:
    world.silence()
    silences = [Asked(world, MessageType.GET, GetRequest("r", ID, 0, 1), timeout_s=0.05) for _ in range(3)]
    for asked in silences:
        assert isinstance(await asked.error(), DeadlineExceeded)
    assert world.peer.connected
    assert not world.peer.health.well
    assert not world.peer.usable
    world.well()
    with pytest.raises(BlobNotFound):  # a refusal is an answer
        await get(world)
    await eventually(lambda: world.peer.usable)


async def test_refusals_and_unanswered_requests_of_the_awaiting_kind_say_nothing_of_its_health(world: World) -> None:
    for _ in range(3):
        with pytest.raises(BlobNotFound):
            await get(world)
    assert world.peer.usable
    world.silence()
    outcomes = await asyncio.gather(
        *(world.peer.request(MessageType.PRESENCE, PresenceRequest("r", [ID]), timeout_s=0.05) for _ in range(3)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 3
    assert world.peer.health.failures == 0


async def test_an_answer_that_is_no_frame_ends_every_call_and_the_connection(world: World) -> None:
    until = asyncio.Event()
    world.hold(until)
    waiting = Asked(world, MessageType.PUT, put_request(b"x"), b"x")
    world.garble()
    garbled = Asked(world, MessageType.GET, GetRequest("r", OTHER, 0, 1))
    assert isinstance(await garbled.error(), PeerConnectionLost)
    assert isinstance(await waiting.error(), PeerConnectionLost)
    assert world.peer.in_flight_bytes == 0
    until.set()
    await eventually(lambda: world.peer.connected)
    await put(world, b"y", blob_id(3))
    assert len(waiting.outcomes) == 1
