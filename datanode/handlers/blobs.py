"""What frontends ask of blobs: put, update, get, presence. Callbacks throughout: a put or a cached get makes no task."""

from __future__ import annotations

from collections.abc import Callable

from ambry.blob import BlobState, join
from ambry.clock import Clock
from ambry.clustermap.skew import SKEW_MAX_MS
from ambry.errors import (
    AlreadyExists,
    AmbryError,
    BlobDeleted,
    BlobNotFound,
    DataCorrupt,
    InsufficientStorage,
    InvalidRequest,
    Overloaded,
    ReplicaUnavailable,
)
from ambry.format.record import PAYLOAD_SIZE_MAX, Record, RecordKind
from ambry.ids import BlobId
from ambry.network.serving import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty
from ambry.protocol.messages.blobs import (
    GetReply,
    GetRequest,
    PresenceReply,
    PresenceRequest,
    PutRequest,
    UpdateReply,
    UpdateRequest,
)
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.config import CompactionSection
from datanode.handlers.later import Later
from datanode.handlers.reading import Reading
from datanode.replicas import Replica, Replicas
from datanode.store.entry import IndexEntry
from datanode.store.record_reader import Payload
from datanode.store.retention import retention_at

log = get_logger()

_PUT_KINDS = (RecordKind.BLOB, RecordKind.COMPOSITE, RecordKind.CHUNK)
_STORED = Empty()
CHANGE_SKEW_MAX_MS = SKEW_MAX_MS + 60_000
"""A change may be on its way for as long as its maker waits."""

_read_put = messages.reader(PutRequest)
_read_update = messages.reader(UpdateRequest)
_read_get = messages.reader(GetRequest)
_read_presence = messages.reader(PresenceRequest)


class BlobHandlers:
    """Answers about the blobs of this node.

    `clock` has the time that most data nodes have (ambry/clustermap/skew.py), `certain_ms` tells the one that may free
    something, or 0 (datanode/upkeep/skew.py).
    """

    def __init__(
        self,
        replicas: Replicas,
        *,
        own_name: str,
        reading: Reading,
        later: Later,
        retention: CompactionSection,
        inline_read_bytes_max: int,
        clock: Clock,
        certain_ms: Callable[[], int],
    ) -> None:
        self._replicas = replicas
        self._own_name = own_name
        self._reading = reading
        self._later = later
        self._retention = retention
        self._inline_read_bytes_max = inline_read_bytes_max
        self._clock = clock
        self._certain_ms = certain_ms

    def table(self) -> dict[int, Handler]:
        return {
            MessageType.PUT: self._put,
            MessageType.GET: self._get,
            MessageType.UPDATE: self._update,
            MessageType.PRESENCE: self._presence,
        }

    # --- put and update ---

    def _put(self, frame: Frame, responder: Responder) -> None:
        request = _read_put(frame.header)
        if request.kind not in _PUT_KINDS:
            raise InvalidRequest(f"record kind {request.kind} cannot be put")
        if len(frame.body) > PAYLOAD_SIZE_MAX:
            raise InvalidRequest(f"a record of {len(frame.body)} bytes exceeds the bound of {PAYLOAD_SIZE_MAX}")
        done = self._acknowledge(MessageType.PUT, responder, request.request_id, request.id, _STORED)
        replica = self._replicas[BlobId(request.id).partition]
        if replica.store.sealed:
            raise InsufficientStorage(
                f"partition {replica.partition.id} is sealed on {self._own_name}: it is nearly full"
            )
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
        entry = replica.store.lookup(request.id)
        if entry is not None and entry.present and request.id not in replica.store.damaged:
            again = self._put_again(replica, entry, record, sync=request.sync, done=done, deadline=responder.deadline)
            self._later.answer(responder, again)
            return
        replica.committer.append(record, sync=request.sync, done=done, deadline=responder.deadline)

    async def _put_again(
        self,
        replica: Replica,
        entry: IndexEntry,
        record: Record,
        *,
        sync: bool,
        done: Callable[[AmbryError | None], None],
        deadline: float,
    ) -> None:
        """A put of a blob that is here already, because replication or an earlier try was faster."""
        try:
            payload = await self._reading.payload(replica, entry, 0, 0)
        except (DataCorrupt, Overloaded, ReplicaUnavailable):
            # Damaged, or unknown for now: a second good copy does no harm.
            replica.committer.append(record, sync=sync, done=done, deadline=deadline)
            return
        if payload.head.header.digest != record.digest or entry.payload_size != len(record.payload):
            done(AlreadyExists("another content is stored under this blob id; ids are never reused"))
        elif sync:
            replica.committer.barrier(done)
        else:
            done(None)

    def _update(self, frame: Frame, responder: Responder) -> None:
        request = _read_update(frame.header)
        replica = self._replicas[BlobId(request.id).partition]
        entry = replica.store.lookup(request.id)
        state = request.state if entry is None else join(entry.state, request.state)
        if entry is not None and entry.state.deleted and not state.deleted:
            self._refuse_late_undelete(entry)
        done = self._acknowledge(MessageType.UPDATE, responder, request.request_id, request.id, UpdateReply(state))
        if entry is not None and state == entry.state:
            replica.committer.barrier(done)
            return
        record = Record(
            kind=RecordKind.UPDATE, id=request.id, state=state, written_at_ms=self._plausible(request.changed_at_ms)
        )
        replica.committer.append(record, sync=True, done=done, deadline=responder.deadline)

    def _plausible(self, changed_at_ms: int) -> int:
        """When a change was made: what its maker says, unless the clocks of the data nodes say that this cannot be.

        Retention counts from it. Each replica may put its own time in the place of an impossible one; the latest wins.
        """
        now_ms = self._clock.wall_ms()
        return changed_at_ms if abs(changed_at_ms - now_ms) <= CHANGE_SKEW_MAX_MS else now_ms

    @staticmethod
    def _acknowledge(
        type: MessageType, responder: Responder, request_id: str, blob_id: bytes, reply: messages.Message
    ) -> Callable[[AmbryError | None], None]:
        """Answers when the committer is done."""

        def done(error: AmbryError | None) -> None:
            if error is None:
                responder.reply(reply)
                log.debug("stored", type=type.name, blob=blob_id.hex(), request_id=request_id)
            else:
                responder.fail(error)
                log.warning(
                    "not stored", type=type.name, blob=blob_id.hex(), request_id=request_id, error=error.message
                )

        return done

    def _refuse_late_undelete(self, entry: IndexEntry) -> None:
        """What compaction may drop already must not come back: nobody may hold its bytes any more. Raises BlobDeleted.

        In doubt about the clock nothing is dropped, so what is here may still come back.
        """
        now_ms = self._certain_ms() if entry.present else self._clock.wall_ms()
        if retention_at(self._retention, now_ms).bytes_dead(entry):
            raise BlobDeleted(
                f"blob {BlobId(entry.id)} was deleted more than {self._retention.deleted_retention_s} s ago: "
                "too late to undelete it"
            )

    # --- get ---

    def _get(self, frame: Frame, responder: Responder) -> None:
        request = _read_get(frame.header)
        replica = self._replicas[BlobId(request.id).partition]
        entry = replica.store.lookup(request.id)
        if entry is None:
            raise self._absent(replica)
        if replica.store.put_back and entry.lsn < replica.store.lineage.begin_lsn and not request.any_state:
            raise ReplicaUnavailable(f"{self._own_name} was put back, and does not know yet what became of this blob")
        # A state that came before its bytes has no expiry yet.
        gone = entry.state.deleted or 0 < entry.state.expires_at_ms <= self._clock.wall_ms()
        if not entry.present or (gone and not request.any_state):
            responder.reply(GetReply(entry.state, False, 0, 0, b"", b"", b"", 0, 0, gone))
            return
        if not 0 <= request.first <= request.end:
            raise InvalidRequest(f"bytes {request.first} to {request.end} are no range")
        # Clipped, not refused: the asker learns the payload's size from the answer.
        first = min(request.first, entry.payload_size)
        end = min(request.end, entry.payload_size)
        if end - first <= self._inline_read_bytes_max:
            try:
                payload = replica.store.read(entry, first, end, cached_only=True)
            except (DataCorrupt, OSError, MemoryError) as error:
                raise self._reading.unreadable(replica, entry, error, request.request_id) from error
            if payload is not None:
                self._answer_payload(entry, payload, responder)
                return

        async def from_disk() -> None:
            await responder.admit(end - first)
            payload = await self._reading.payload(replica, entry, first, end, request_id=request.request_id)
            self._answer_payload(entry, payload, responder)

        self._later.answer(responder, from_disk())

    def _absent(self, replica: Replica) -> AmbryError:
        if replica.store.authority:
            return BlobNotFound(f"partition {replica.partition.id} does not hold this blob on {self._own_name}")
        return ReplicaUnavailable(f"{self._own_name} has not caught up with partition {replica.partition.id} yet")

    @staticmethod
    def _answer_payload(entry: IndexEntry, payload: Payload, responder: Responder) -> None:
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
        metrics.BYTES_OUT.inc(len(payload.data))

    # --- presence ---

    def _presence(self, frame: Frame, responder: Responder) -> None:
        request = _read_presence(frame.header)
        responder.reply(PresenceReply([self._presence_of(blob_id) for blob_id in request.ids]))

    def _presence_of(self, blob_id: bytes) -> str:
        """One of the words of PresenceReply."""
        try:
            replica = self._replicas[BlobId(blob_id).partition]
            entry = replica.store.lookup(blob_id)
        except AmbryError:
            return "unsure"
        if entry is None:
            return "absent" if replica.store.authority else "unsure"
        if entry.state.deleted:
            return "deleted"
        return "present" if entry.present and blob_id not in replica.store.damaged else "unsure"
