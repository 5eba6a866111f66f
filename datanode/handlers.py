"""What a data node does with each request. Callbacks throughout: a put or a cached get makes no task."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any

from ambry.blob import BlobState, join
from ambry.checksum import Buffer
from ambry.clock import Clock
from ambry.errors import (
    AlreadyExists,
    AmbryError,
    BlobNotFound,
    DataCorrupt,
    InsufficientStorage,
    InternalError,
    InvalidRequest,
    Overloaded,
    ReplicaUnavailable,
    StoreMismatch,
    Unavailable,
)
from ambry.format.record import PAYLOAD_SIZE_MAX, Record, RecordKind
from ambry.network.connection import Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.protocol.messages.blobs import (
    GetReply,
    GetRequest,
    PresenceReply,
    PresenceRequest,
    PutRequest,
    UpdateReply,
    UpdateRequest,
)
from ambry.protocol.messages.replication import ChangesRequest, FetchReply, FetchRequest
from ambry.protocol.messages.upkeep import FatesRequest
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.disk import Disk
from datanode.queries import Queries
from datanode.replicas import Replica, Replicas
from datanode.replication.feed import ChangeFeed
from datanode.store.blob_store import Payload
from datanode.store.entry import IndexEntry

log = get_logger()

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""The process is at a limit: that says nothing about the disk."""
_PUT_KINDS = (RecordKind.BLOB, RecordKind.COMPOSITE, RecordKind.CHUNK)


class _Timed:
    """Counts and times one type of request."""

    def __init__(self, name: str) -> None:
        self.ok = metrics.REQUESTS.labels(name, "ok")
        self.failed = metrics.REQUESTS.labels(name, "error")
        self.seconds = metrics.LATENCY.labels(name)


class Handlers:
    """Answers the requests of frontends and of peers. `on_damaged` hears of every blob found corrupt here."""

    def __init__(
        self,
        *,
        cluster: str,
        name: str,
        replicas: Replicas,
        disk: Disk,
        feed: ChangeFeed,
        clock: Clock,
        inline_read_bytes_max: int,
        queries: Queries,
        on_damaged: Callable[[Replica, bytes], None],
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._replicas = replicas
        self._disk = disk
        self._feed = feed
        self._clock = clock
        self._inline_read_bytes_max = inline_read_bytes_max
        self._queries = queries
        self._on_damaged = on_damaged
        self._tasks: set[asyncio.Task[None]] = set()
        self._timed = {kind: _Timed(kind.name.lower()) for kind in MessageType}
        self._by_type: dict[int, Callable[[Frame, Responder], None]] = {
            MessageType.HELLO: self._hello,
            MessageType.PING: self._ping,
            MessageType.PUT: self._put,
            MessageType.GET: self._get,
            MessageType.UPDATE: self._update,
            MessageType.PRESENCE: self._presence,
            MessageType.CHANGES: self._changes,
            MessageType.FETCH: self._fetch,
            MessageType.FATES: self._fates,
        }

    def __call__(self, frame: Frame, responder: Responder) -> None:
        """Answer one request, now or later. Raises AmbryError to answer with it."""
        try:
            self._by_type[frame.type](frame, responder)
        except AmbryError:
            self._timed[MessageType(frame.type)].failed.inc()
            raise

    async def stop(self) -> None:
        """End the requests that wait."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- connection ---

    def _hello(self, frame: Frame, responder: Responder) -> None:
        hello = messages.decode(frame.header, Hello)
        if hello.cluster != self._cluster or hello.expected not in ("", self._name):
            raise StoreMismatch(
                f"this is {self._name} of cluster {self._cluster}, not {hello.expected or 'a node'} of {hello.cluster}"
            )
        responder.reply(Hello(self._cluster, self._name))

    def _ping(self, frame: Frame, responder: Responder) -> None:
        responder.reply(Empty())

    # --- put and update ---

    def _put(self, frame: Frame, responder: Responder) -> None:
        request = messages.decode(frame.header, PutRequest)
        if request.kind not in _PUT_KINDS:
            raise InvalidRequest(f"record kind {request.kind} cannot be put")
        if len(frame.body) > PAYLOAD_SIZE_MAX:
            raise InvalidRequest(f"a record of {len(frame.body)} bytes exceeds the bound of {PAYLOAD_SIZE_MAX}")
        replica = self._queries.replica_of(request.id)
        if replica.store.sealed:
            raise InsufficientStorage(f"partition {replica.partition.id} is sealed on {self._name}: it is nearly full")
        record = Record(
            kind=request.kind,
            id=request.id,
            state=BlobState(0, False, request.expires_at_ms),
            written_at_ms=request.created_at_ms,
            properties=request.properties,
            metadata=request.metadata,
            digest=request.digest,
            checks=frame.checks,
            payload=frame.body,
        )
        metrics.BYTES_IN.inc(len(frame.body))
        done = self._acknowledge(MessageType.PUT, responder, request.request_id, request.id, Empty)
        entry = replica.store.lookup(request.id)
        if entry is not None and entry.present and request.id not in replica.store.damaged:
            self._spawn(self._put_again(replica, entry, record, sync=request.sync, done=done), responder)
            return
        replica.committer.append(record, sync=request.sync, done=done)

    async def _put_again(
        self,
        replica: Replica,
        entry: IndexEntry,
        record: Record,
        *,
        sync: bool,
        done: Callable[[AmbryError | None], None],
    ) -> None:
        """A put of a blob that is here already, because replication or an earlier try was faster."""
        try:
            payload = await self._read(replica, entry, 0, 0)
        except (DataCorrupt, OSError) as error:
            self._note_damage(replica, entry, error)
            replica.committer.append(record, sync=sync, done=done)
            return
        if payload.head.header.digest != record.digest or entry.payload_size != len(record.payload):
            done(AlreadyExists("another content is stored under this blob id; ids are never reused"))
        elif sync:
            replica.committer.barrier(done)
        else:
            done(None)

    def _update(self, frame: Frame, responder: Responder) -> None:
        request = messages.decode(frame.header, UpdateRequest)
        replica = self._queries.replica_of(request.id)
        entry = replica.store.lookup(request.id)
        state = request.state if entry is None else join(entry.state, request.state)
        if entry is not None and entry.state.deleted and not state.deleted:
            self._queries.refuse_late_undelete(entry)
        done = self._acknowledge(
            MessageType.UPDATE, responder, request.request_id, request.id, lambda: UpdateReply(state)
        )
        if entry is not None and state == entry.state:
            replica.committer.barrier(done)
            return
        record = Record(kind=RecordKind.UPDATE, id=request.id, state=state, written_at_ms=request.changed_at_ms)
        replica.committer.append(record, sync=True, done=done)

    def _acknowledge(
        self,
        kind: MessageType,
        responder: Responder,
        request_id: str,
        blob_id: bytes,
        reply: Callable[[], messages.Message],
    ) -> Callable[[AmbryError | None], None]:
        timed = self._timed[kind]
        started = self._clock.monotonic()

        def done(error: AmbryError | None) -> None:
            timed.seconds.observe(self._clock.monotonic() - started)
            if error is None:
                timed.ok.inc()
                responder.reply(reply())
                log.debug("stored", type=kind.name, blob=blob_id.hex(), request_id=request_id)
            else:
                timed.failed.inc()
                responder.fail(error)
                log.warning(
                    "not stored", type=kind.name, blob=blob_id.hex(), request_id=request_id, error=error.message
                )

        return done

    # --- get ---

    def _get(self, frame: Frame, responder: Responder) -> None:
        started = self._clock.monotonic()
        request = messages.decode(frame.header, GetRequest)
        replica = self._queries.replica_of(request.id)
        entry = replica.store.lookup(request.id)
        if entry is None:
            self._refuse_absent(replica)
            return
        gone = entry.state.deleted or (entry.present and entry.state.expired(self._clock.wall_ms()))
        if not entry.present or (gone and not request.any_state):
            responder.reply(GetReply(entry.state, False, 0, 0, b"", b"", b"", 0, 0, gone))
            self._timed[MessageType.GET].ok.inc()
            return
        if not 0 <= request.first <= request.end:
            raise InvalidRequest(f"bytes {request.first} to {request.end} are no range")
        # Clipped, not refused: the asker learns the payload's size from the answer.
        first = min(request.first, entry.payload_size)
        end = min(request.end, entry.payload_size)
        if end - first <= self._inline_read_bytes_max:
            try:
                payload = replica.store.read(entry, first, end, cached_only=True)
            except (DataCorrupt, OSError) as error:
                raise self._note_damage(replica, entry, error, request.request_id) from error
            if payload is not None:
                self._answer_payload(entry, payload, responder, started)
                return

        async def from_disk() -> None:
            try:
                payload = await self._read(replica, entry, first, end)
            except (DataCorrupt, OSError) as error:
                raise self._note_damage(replica, entry, error, request.request_id) from error
            self._answer_payload(entry, payload, responder, started)

        self._spawn(from_disk(), responder)

    async def _read(self, replica: Replica, entry: IndexEntry, first: int, end: int) -> Payload:
        payload = await self._disk.submit(replica.store.read, entry, first, end, cached_only=False)
        if payload is None:
            raise InternalError("a waiting read returned nothing")
        return payload

    def _refuse_absent(self, replica: Replica) -> None:
        if replica.store.serving:
            raise BlobNotFound(f"partition {replica.partition.id} does not hold this blob on {self._name}")
        raise ReplicaUnavailable(f"{self._name} has not caught up with partition {replica.partition.id} yet")

    def _answer_payload(self, entry: IndexEntry, payload: Payload, responder: Responder, started: float) -> None:
        head = payload.head
        header = head.header
        reply = GetReply(
            entry.state,
            True,
            header.kind,
            header.written_at_ms,
            bytes(head.properties),
            bytes(head.metadata),
            header.digest,
            header.payload_size,
            payload.start,
        )
        responder.reply(reply, payload.data, payload.checks)
        timed = self._timed[MessageType.GET]
        timed.ok.inc()
        timed.seconds.observe(self._clock.monotonic() - started)
        metrics.BYTES_OUT.inc(len(payload.data))

    def _note_damage(self, replica: Replica, entry: IndexEntry, error: Exception, request_id: str = "") -> AmbryError:
        """A record of ours cannot be read: have it repaired, and tell the caller to read elsewhere."""
        if isinstance(error, Unavailable):
            return error  # closed meanwhile: an OSError too, and no damage
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            return Overloaded(f"{self._name} has no descriptors or memory left: {error}; read elsewhere")
        metrics.CORRUPT.inc()
        log.error("record unreadable", blob=entry.id.hex(), error=str(error), request_id=request_id)
        replica.store.damaged.add(entry.id)
        self._on_damaged(replica, entry.id)
        return error if isinstance(error, DataCorrupt) else DataCorrupt(f"the disk failed to read a record: {error}")

    def _presence(self, frame: Frame, responder: Responder) -> None:
        request = messages.decode(frame.header, PresenceRequest)
        responder.reply(PresenceReply([self._queries.presence(blob_id) for blob_id in request.ids]))

    def _fates(self, frame: Frame, responder: Responder) -> None:
        responder.reply(self._queries.fates(messages.decode(frame.header, FatesRequest).ids))

    # --- replication ---

    def _changes(self, frame: Frame, responder: Responder) -> None:
        request = messages.decode(frame.header, ChangesRequest)

        async def answer() -> None:
            responder.reply(await self._feed.changes(request))

        self._spawn(answer(), responder)

    def _fetch(self, frame: Frame, responder: Responder) -> None:
        request = messages.decode(frame.header, FetchRequest)
        replica = self._replicas[request.partition]

        async def answer() -> None:
            sizes: list[int] = []
            missing: list[bytes] = []
            images: list[Buffer] = []
            room = min(request.bytes_max, 32 << 20)
            for blob_id in request.ids:
                entry = replica.store.lookup(blob_id)
                if entry is None or not entry.present or blob_id in replica.store.damaged:
                    missing.append(blob_id)
                    continue
                if images and entry.size > room:
                    break
                try:
                    image = await self._disk.submit(replica.store.read_image, entry)
                except (DataCorrupt, OSError) as error:
                    self._note_damage(replica, entry, error)
                    missing.append(blob_id)
                    continue
                images.append(image)
                sizes.append(entry.size)
                room -= entry.size
            body = images[0] if len(images) == 1 else b"".join(images)
            responder.reply(FetchReply(sizes, missing), body)

        self._spawn(answer(), responder)

    def _spawn(self, work: Coroutine[Any, Any, None], responder: Responder) -> None:
        async def run() -> None:
            try:
                await work
            except AmbryError as error:
                responder.fail(error)
            except asyncio.CancelledError:
                responder.fail(ReplicaUnavailable(f"{self._name} is shutting down"))
                raise
            except Exception as error:
                log.exception("request failed")
                responder.fail(InternalError(f"{type(error).__name__} in {self._name}; its log has the details"))

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
