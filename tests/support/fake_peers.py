"""Data nodes in memory, with the face of ambry/network/pool.py.

Every request and reply goes through the real frame and message codecs, so what these peers take and give is what a socket
would carry. They keep records and join states as datanode/handlers does; tests/conformance holds them against it. Faults are
scripted per peer; a peer without a script is well. What the caller did stands in the pool's `journal`, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from msgspec.structs import replace

from ambry.blob import BlobState, join
from ambry.checksum import BLOCK_SIZE, Buffer, block_checks, blocks_intact, digest
from ambry.clock import Clock
from ambry.clustermap.health import NodeHealth
from ambry.clustermap.model import Node
from ambry.errors import (
    AlreadyExists,
    AmbryError,
    AnswerDamaged,
    BlobDeleted,
    BlobNotFound,
    DeadlineExceeded,
    InvalidRequest,
    NotUnderstood,
    Overloaded,
    PartitionUnknown,
    PeerConnectionLost,
    ProtocolViolation,
    ReplicaUnavailable,
)
from ambry.format.record import TAG_SIZE, RecordKind
from ambry.ids import BlobId, IdKind
from ambry.network.connection import SILENT_IN_FLIGHT_MAX
from ambry.network.pending import OnPart, OnReply
from ambry.network.pool import RETRY_MAX_S, PeerPool
from ambry.protocol.frame import FLAG_DAMAGED, FLAG_ERROR, FLAG_REPLY, Frame, FrameDecoder, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, ErrorReply, Message
from ambry.protocol.messages.blobs import (
    GetReply,
    GetRequest,
    GetsReply,
    GetsRequest,
    GotBytes,
    NotStored,
    PresenceReply,
    PresenceRequest,
    PutRequest,
    PutsReply,
    PutsRequest,
    UpdateReply,
    UpdateRequest,
)
from ambry.protocol.messages.upkeep import UsageReply, UsageRequest, UsageRow
from datanode.config import CompactionSection

_SHAPES: dict[int, type[Message]] = {
    MessageType.PUT: PutRequest,
    MessageType.GET: GetRequest,
    MessageType.UPDATE: UpdateRequest,
    MessageType.PRESENCE: PresenceRequest,
    MessageType.USAGE: UsageRequest,
    MessageType.GETS: GetsRequest,
    MessageType.PUTS: PutsRequest,
}


@dataclass(slots=True, kw_only=True)
class Stored:
    """What one peer knows of one blob; `put` is None where only its state is known."""

    state: BlobState
    changed_at_ms: int = 0
    put: PutRequest | None = None
    payload: bytes = b""

    @property
    def deleted_at_ms(self) -> int:
        return self.changed_at_ms if self.state.deleted else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one call.

    `applies`: the request takes effect before it fails. `change` rewrites a reply and its body before it is sent, with right
    checksums; `corrupt` flips one bit after them.
    """

    delay_s: float = 0.0
    silent: bool = False
    error: AmbryError | None = None
    applies: bool = True
    corrupt: bool = False
    change: Callable[[Message, bytes], tuple[Message, bytes]] | None = None
    until: asyncio.Event | None = None
    parts: int = 0
    """So many blocks of a large answer are here before it ends in an error."""


def silent(*, applies: bool = False) -> Fault:
    """No answer, ever."""
    return Fault(silent=True, applies=applies)


def fails(error: AmbryError, *, delay_s: float = 0.0, applies: bool = False) -> Fault:
    return Fault(error=error, applies=applies, delay_s=delay_s)


def absent() -> Fault:
    """Not found, said with authority."""
    return fails(BlobNotFound("not here"))


def lost(*, applies: bool = False) -> Fault:
    return fails(PeerConnectionLost("the connection broke"), applies=applies)


def slow(delay_s: float) -> Fault:
    return Fault(delay_s=delay_s)


def corrupt() -> Fault:
    return Fault(corrupt=True)


def cut_short(by: int = 1) -> Fault:
    """A reply to a get whose body is shorter than what was asked for, though its checks are right."""
    return Fault(change=lambda message, body: (message, body[: max(0, len(body) - by)]))


def held(until: asyncio.Event) -> Fault:
    """Takes effect at once, answers when `until` is set."""
    return Fault(until=until)


@dataclass(slots=True)
class _Rule:
    fault: Fault
    type: MessageType | None
    record_kind: int | None
    blob: bytes | None
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that a peer got."""

    peer: str
    type: MessageType
    message: Any
    body: bytes
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeCall:
    """A call that has not ended; `cancel` as that of ambry/network/connection.py."""

    cancel: Callable[[], None]


def received(head: bytes, body: Buffer) -> Frame:
    """One frame after its way through a socket, in pieces. Raises ProtocolViolation."""
    decoder = FrameDecoder()
    data = memoryview(head + bytes(body))
    frames: list[Frame] = []
    while len(data):
        buffer = decoder.room
        count = min(len(buffer), len(data), 48 << 10)
        buffer[:count] = data[:count]
        frames += decoder.received(count)
        data = data[count:]
    if len(frames) != 1:
        raise AssertionError(f"{len(frames)} frames where there is one")
    return frames[0]


@dataclass(slots=True, kw_only=True, eq=False)
class FakePeer:
    """One data node. Set `connected`, `well` and `serving` freely."""

    node: Node
    clock: Clock
    journal: list[Call]
    contents: dict[bytes, bytes]
    """What was put, by its digest: had once for all peers and for the journal, since tests put megabytes."""
    health: NodeHealth = field(default_factory=NodeHealth)
    connected: bool = True
    well: bool = True
    serving: bool = True
    """Whether it has the authority to say "not found"."""
    partitions: frozenset[int] | None = None
    """Those that it holds replicas of; None: all there are."""
    in_flight_bytes: int = 0
    room_bytes: int = -1
    in_flight_bytes_max: int = 64 << 20
    open_calls: int = 0
    given_up: list[Message] = field(default_factory=list)
    """The requests of calls that their callers cancelled."""
    records: dict[bytes, Stored] = field(default_factory=dict)
    _rules: list[_Rule] = field(default_factory=list)
    _next: int = 1
    _pending: dict[int, OnReply] = field(default_factory=dict)
    """By correlation: a function that knew itself would be a cycle, with the body of its call."""

    @property
    def usable(self) -> bool:
        return self.connected and self.well and self.health.well

    def script(
        self,
        fault: Fault,
        *,
        type: MessageType | None = None,
        record_kind: int | None = None,
        blob: bytes | None = None,
        times: int = 1 << 30,
    ) -> None:
        """The next `times` calls of this type, about this blob and, for puts, of this kind of record go wrong.

        The first rule that fits counts.
        """
        self._rules.append(_Rule(fault, type, record_kind, blob, times))

    def heal(self) -> None:
        self._rules.clear()

    def _fault(self, type: int, message: Message) -> Fault:
        for rule in self._rules:
            kind_fits = rule.record_kind is None or (
                isinstance(message, PutRequest) and message.kind == rule.record_kind
            )
            blob_fits = rule.blob in (None, getattr(message, "id", None))
            if rule.times > 0 and rule.type in (None, type) and kind_fits and blob_fits:
                rule.times -= 1
                return rule.fault
        return Fault()

    # --- the face of Peer ---

    def call(
        self,
        type: int,
        message: Message | bytes,
        done: OnReply,
        *,
        timeout_s: float,
        body: Buffer = b"",
        checks: Buffer | None = None,
        on_part: OnPart | None = None,
    ) -> FakeCall | None:
        if not self.connected:
            done(PeerConnectionLost(f"not connected to {self.node.address}"))
            return None
        waiting = self.in_flight_bytes
        silent_too_long = not self.health.well and waiting + len(body) > SILENT_IN_FLIGHT_MAX
        if waiting and (silent_too_long or waiting + len(body) > self.in_flight_bytes_max):
            done(Overloaded(f"{waiting} bytes are waiting for {self.node.address} already"))
            return None
        return self._send(
            type, message, done, timeout_s=timeout_s, body=body, checks=checks, health=self.health, on_part=on_part
        )

    def _send(
        self,
        type: int,
        message: Message | bytes,
        done: OnReply,
        *,
        timeout_s: float,
        body: Buffer = b"",
        checks: Buffer | None = None,
        health: NodeHealth | None = None,
        on_part: OnPart | None = None,
    ) -> FakeCall | None:
        loop = asyncio.get_running_loop()
        correlation, self._next = self._next, self._next + 1
        head = encode_head(
            type, correlation, messages.header_of(message), body, checks, timeout_ms=max(1, int(timeout_s * 1000))
        )
        frame = received(head, body)
        if type not in _SHAPES:
            loop.call_soon(done, NotUnderstood(f"no request of type {type} is known here"))
            return None
        request = messages.decode(frame.header, _SHAPES[type])
        sent = self._content(request.digest, bytes(body)) if isinstance(request, PutRequest) else bytes(body)
        self.journal.append(
            Call(peer=self.node.name, type=MessageType(type), message=request, body=sent, at=loop.time())
        )
        fault = self._fault(type, request)
        self.in_flight_bytes += len(body)
        self.open_calls += 1
        ended = released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self.in_flight_bytes -= len(body)

        def end(outcome: Frame | AmbryError, *, answered: bool = True) -> None:
            nonlocal ended
            if answered:
                release()
            if ended:
                return
            ended = True
            deadline.cancel()
            del self._pending[correlation]
            self.open_calls -= 1
            if health is not None:
                health.record(not isinstance(outcome, DeadlineExceeded | PeerConnectionLost))
            done(outcome)

        self._pending[correlation] = end

        def cancel() -> None:
            nonlocal ended
            if not ended:
                ended = True
                deadline.cancel()
                del self._pending[correlation]
                self.open_calls -= 1
                self.given_up.append(request)

        def expire() -> None:
            # It holds the bytes until it answers or is gone.
            end(DeadlineExceeded(f"{self.node.address} did not answer in time"), answered=False)

        deadline = loop.call_later(timeout_s, expire)

        def answer() -> None:
            if ended and not fault.applies:
                release()
                return
            outcome = self._outcome(frame, request, fault)
            if on_part is not None:
                self._tell_parts(frame, request, fault, on_part)
            end(outcome)

        if fault.silent:
            if fault.applies:
                loop.call_soon(self._outcome, frame, request, fault)
        elif fault.until is not None:
            outcome = self._outcome(frame, request, fault)
            waiting = loop.create_task(fault.until.wait())
            waiting.add_done_callback(lambda _: end(outcome))
        elif fault.delay_s:
            loop.call_later(fault.delay_s, answer)
        else:
            loop.call_soon(answer)
        return FakeCall(cancel=cancel)

    async def request(self, type: int, message: Message, *, timeout_s: float) -> Frame:
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def done(outcome: Frame | AmbryError) -> None:
            if future.done():
                return
            if isinstance(outcome, AmbryError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        if not self.connected:
            raise PeerConnectionLost(f"not connected to {self.node.address}")
        self._send(type, message, done, timeout_s=timeout_s)
        return await future

    def break_connection(self, why: str) -> None:
        """Every call ends; a moment later the peer is connected again."""
        self.connected = False
        asyncio.get_running_loop().call_later(RETRY_MAX_S, self._reconnect)
        for end in list(self._pending.values()):
            end(PeerConnectionLost(f"the connection was closed: {why}"))

    def _reconnect(self) -> None:
        self.connected = True

    def _tell_parts(self, frame: Frame, request: Message, fault: Fault, on_part: OnPart) -> None:
        """A large answer comes in parts, and may be cut off behind the first ones."""
        if fault.error is not None and not fault.parts:
            return
        message, body = self._handle(frame, request)
        if fault.change is not None:
            message, body = fault.change(message, body)
        memory = memoryview(bytearray(body))  # as of a connection: whoever hears of it may write to it
        # Without the last block: with that it has come.
        for stop in range(BLOCK_SIZE, len(body), BLOCK_SIZE)[: fault.parts or None]:
            on_part(messages.encode(message), memory[:stop])

    # --- the data node ---

    def _outcome(self, frame: Frame, request: Message, fault: Fault) -> Frame | AmbryError:
        if fault.error is not None and isinstance(fault.error, PeerConnectionLost):
            if fault.applies:
                self._handle(frame, request)
            return fault.error
        try:
            if fault.error is not None and not fault.applies:
                raise fault.error
            message, body = self._handle(frame, request)
            if fault.error is not None:
                raise fault.error
            flags = FLAG_REPLY
            if fault.change is not None:
                message, body = fault.change(message, body)
        except AmbryError as error:
            message, body, flags = ErrorReply(error.code, error.message), b"", FLAG_REPLY | FLAG_ERROR
        head = bytearray(encode_head(frame.type, frame.correlation, messages.encode(message), body, flags=flags))
        if fault.corrupt:
            if body:
                body = bytes([body[0] ^ 1]) + body[1:]
            else:
                head[-1] ^= 1
        try:
            reply = received(bytes(head), body)
            if reply.correlation != frame.correlation:
                raise AssertionError("a reply to another call")
            if reply.flags & FLAG_DAMAGED:
                return AnswerDamaged(f"the body of an answer of {self.node.name} fails its checksum")
            return messages.error_of(reply.header) if reply.flags & FLAG_ERROR else reply
        except ProtocolViolation as error:
            self.break_connection(error.message)
            return PeerConnectionLost(f"the connection was closed: {error.message}")

    def _handle(self, frame: Frame, request: Message) -> tuple[Message, bytes]:
        if isinstance(request, PutRequest):
            return self._put(request, frame), b""
        if isinstance(request, GetRequest):
            return self._get(request)
        if isinstance(request, UpdateRequest):
            return self._update(request), b""
        if isinstance(request, PresenceRequest):
            return PresenceReply([self._presence(raw) for raw in request.ids]), b""
        if isinstance(request, PutsRequest):
            return self._puts(request, frame), b""
        if isinstance(request, GetsRequest):
            return self._gets(request)
        if isinstance(request, UsageRequest):
            return self._usage(request), b""
        raise AssertionError(f"nobody answers {request!r}")

    def _refuse_foreign(self, raw: bytes) -> None:
        """Raises InvalidBlobId, PartitionUnknown."""
        partition = BlobId(raw).partition
        if self.partitions is not None and partition not in self.partitions:
            raise PartitionUnknown(f"{self.node.name} holds no replica of partition {partition}")

    def _update(self, request: UpdateRequest) -> UpdateReply:
        self._refuse_foreign(request.id)
        known = self.records.get(request.id) or Stored(state=BlobState())
        state = join(known.state, request.state)
        undone = not state.deleted and (known.state.deleted or known.state.life_version < state.life_version)
        deleted_at_ms = max(request.deleted_at_ms, known.deleted_at_ms)
        retention_ms = CompactionSection().deleted_retention_s * 1000
        if undone and deleted_at_ms and deleted_at_ms + retention_ms <= self.clock.wall_ms():
            raise BlobDeleted("deleted too long ago")
        if not state.deleted and state != known.state and known.put is None:
            raise ReplicaUnavailable("its bytes are not here")
        if request.id not in self.records or state != known.state:
            known.changed_at_ms = max(known.changed_at_ms, request.changed_at_ms)
        known.state = state
        self.records[request.id] = known
        return UpdateReply(state, known.deleted_at_ms)

    def _content(self, digest: bytes, data: bytes) -> bytes:
        """The same bytes, as they are kept."""
        kept = self.contents.setdefault(digest, data)
        return kept if kept == data else data

    def _put(self, request: PutRequest, frame: Frame) -> Empty:
        if request.kind not in (RecordKind.BLOB, RecordKind.COMPOSITE, RecordKind.CHUNK):
            raise InvalidRequest(f"record kind {request.kind} cannot be put")
        self._refuse_foreign(request.id)
        payload = bytes(frame.body)
        if not blocks_intact(payload, frame.checks) or digest(payload) != request.digest:
            raise AssertionError("a put whose digest or checks are not those of its payload")
        state = BlobState(0, False, request.expires_at_ms)
        known = self.records.get(request.id)
        if known is not None and known.put is not None:
            if known.put.digest != request.digest:
                raise AlreadyExists("another content is stored under this blob id")
            return Empty()
        if known is not None:
            state = join(known.state, state)
        changed_at_ms = max(request.created_at_ms, known.changed_at_ms if known is not None else 0)
        self.records[request.id] = Stored(
            state=state, changed_at_ms=changed_at_ms, put=request, payload=self._content(request.digest, payload)
        )
        return Empty()

    def _get(self, request: GetRequest) -> tuple[GetReply, bytes]:
        self._refuse_foreign(request.id)
        known = self.records.get(request.id)
        if known is None:
            raise (BlobNotFound if self.serving else ReplicaUnavailable)(f"{self.node.name} does not hold it")
        state, put = known.state, known.put
        gone = state.deleted or (put is not None and state.expired(self.clock.wall_ms()))
        if put is None or (gone and not request.any_state):
            return GetReply(state, False, 0, 0, b"", b"", b"", 0, 0, gone, known.deleted_at_ms), b""
        if not 0 <= request.first <= request.end:
            raise InvalidRequest(f"bytes {request.first} to {request.end} are no range")
        size = len(known.payload)
        first, end = min(request.first, size), min(request.end, size)
        start, stop = (first // BLOCK_SIZE * BLOCK_SIZE, -(-end // BLOCK_SIZE) * BLOCK_SIZE) if end > first else (0, 0)
        head = (put.kind, put.created_at_ms, put.properties, put.metadata, put.digest)
        tags = put.tags[start // BLOCK_SIZE * TAG_SIZE : -(-stop // BLOCK_SIZE) * TAG_SIZE]
        reply = GetReply(state, True, *head, size, start, False, known.deleted_at_ms, put.features, tags)
        return reply, known.payload[start:stop]

    def _puts(self, request: PutsRequest, frame: Frame) -> PutsReply:
        failed: list[NotStored] = []
        start = 0
        for place, blob in enumerate(request.blobs):
            payload = bytes(frame.body)[start : start + blob.size]
            start += blob.size
            put = PutRequest(
                request.request_id, blob.id, RecordKind.BLOB, blob.created_at_ms, blob.expires_at_ms, blob.properties,
                blob.metadata, blob.digest, request.sync, blob.features, blob.tags,
            )  # fmt: skip
            try:
                self._put(put, replace(frame, body=payload, checks=block_checks(payload)))
            except AmbryError as error:
                failed.append(NotStored(place, error.code, error.message))
        assert start == len(frame.body)
        return PutsReply(failed)

    def _gets(self, request: GetsRequest) -> tuple[GetsReply, bytes]:
        got: list[GotBytes | None] = []
        body, room = b"", request.room
        for wanted in request.wanted:
            try:
                reply, _ = self._get(GetRequest(request.request_id, wanted.id, wanted.first, wanted.end))
            except AmbryError:
                got.append(None)
                continue
            first, end = min(wanted.first, reply.payload_size), wanted.end
            if reply.tags:
                first, end = reply.start, -(-end // BLOCK_SIZE) * BLOCK_SIZE
            data = self.records[wanted.id].payload[first:end]
            if not reply.present or len(data) > room:
                got.append(None)
                continue
            room -= len(data)
            got.append(GotBytes(replace(reply, start=first), len(data), len(body)))
            body += data
        return GetsReply(got), body

    def _presence(self, raw: bytes) -> str:
        try:
            self._refuse_foreign(raw)
        except AmbryError:
            return "unsure"
        known = self.records.get(raw)
        if known is None:
            return "absent" if self.serving else "unsure"
        if known.state.deleted:
            return "deleted"
        return "present" if known.put is not None else "unsure"

    def _usage(self, request: UsageRequest) -> UsageReply:
        """All containers in one answer, to the millisecond; what a checkpoint counts is as of it, and by the hour."""
        if not self.serving:
            raise ReplicaUnavailable(f"{self.node.name} does not know yet what it missed")
        counts: dict[bytes, list[int]] = {}
        for raw, known in self.records.items():
            blob = BlobId(raw)
            if known.put is None or blob.partition != request.partition:
                continue
            dead = known.state.deleted or known.state.expired(request.now_ms)
            count = counts.setdefault(raw[4:12], [0, 0, 0, 0])
            count[2 * dead] += blob.kind is not IdKind.CHUNK
            count[2 * dead + 1] += 0 if blob.kind is IdKind.COMPOSITE else len(known.payload)
        found = [
            UsageRow(container, *count) for container, count in sorted(counts.items()) if container > request.after
        ]
        told = found[: request.limit]
        return UsageReply(1, True, told, told[-1].container if len(found) > len(told) else b"")

    def visible(self) -> set[bytes]:
        """The ids whose records a plain get would answer with bytes."""
        now = self.clock.wall_ms()
        return {
            raw
            for raw, known in self.records.items()
            if known.put is not None and not known.state.deleted and not known.state.expired(now)
        }

    def learn(self, raw: bytes, state: BlobState) -> None:
        """What replication would have told it: join a state in."""
        known = self.records.setdefault(raw, Stored(state=state))
        known.state = join(known.state, state)

    def forget(self, raw: bytes) -> None:
        self.records.pop(raw, None)


class FakePool:
    """A FakePeer for each node, by name."""

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        clock: Clock,
        partitions: frozenset[int] | None = None,
        in_flight_bytes_max: int = 64 << 20,
    ) -> None:
        self.journal: list[Call] = []
        contents: dict[bytes, bytes] = {}
        self._peers = {
            node.name: FakePeer(
                node=node,
                clock=clock,
                journal=self.journal,
                contents=contents,
                partitions=partitions,
                in_flight_bytes_max=in_flight_bytes_max,
            )
            for node in nodes
        }

    def __getitem__(self, name: str) -> FakePeer:
        return self._peers[name]

    def __iter__(self) -> Iterator[FakePeer]:
        return iter(self._peers.values())

    def all(self) -> list[FakePeer]:
        return list(self._peers.values())

    def calls(self, type: MessageType) -> list[Call]:
        return [call for call in self.journal if call.type is type]

    def visible(self) -> set[bytes]:
        """The ids that any peer would answer a plain get of with bytes."""
        return set[bytes]().union(*(peer.visible() for peer in self))

    def as_pool(self) -> PeerPool:
        """For parameters that name the real class; it has the same face."""
        return cast(PeerPool, self)
