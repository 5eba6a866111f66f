"""What frontends ask to be changed of blobs: put and update. Callbacks throughout: a put makes no task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from ambry.blob import BlobState, join
from ambry.clock import Clock
from ambry.clustermap.skew import SKEW_MAX_MS
from ambry.errors import (
    AlreadyExists,
    AmbryError,
    BlobDeleted,
    DataCorrupt,
    InsufficientStorage,
    InvalidRequest,
    Overloaded,
    ReplicaUnavailable,
)
from ambry.format.record import PAYLOAD_SIZE_MAX, Record, RecordKind, tag_size_of
from ambry.ids import BlobId, partition_of
from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty
from ambry.protocol.messages.blobs import (
    PutRequest,
    UpdateReply,
    UpdateRequest,
)
from ambry.service.logs import debugs, get_logger
from datanode import metrics
from datanode.config import CompactionSection
from datanode.handlers.reading import Reading
from datanode.replicas import Replica, Replicas
from datanode.store.entry import IndexEntry
from datanode.store.known import UNKNOWN
from datanode.store.retention import retention_at
from datanode.write_queue import Done

log = get_logger()

_PUT_KINDS = (RecordKind.BLOB, RecordKind.COMPOSITE, RecordKind.CHUNK)
_STORED = Empty()
CHANGE_SKEW_MAX_MS = SKEW_MAX_MS + 60_000
"""A change may be on its way for as long as its maker waits."""

_read_put = messages.reader(PutRequest)
_read_update = messages.reader(UpdateRequest)


BEHIND_MAX = 4
"""Puts that wait for another of the same blob. A frontend sends one again when it has given the first up."""


class PutBehind(msgspec.Struct, frozen=True, eq=False):
    """A put that waits for another of the same blob."""

    frame: Frame
    responder: Responder


def _leave(waiting: list[PutBehind], behind: PutBehind) -> None:
    if behind in waiting:
        waiting.remove(behind)


class BlobHandlers:
    """Changes the blobs of this node.

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
        clock: Clock,
        certain_ms: Callable[[], int],
    ) -> None:
        self._replicas = replicas
        self._own_name = own_name
        self._reading = reading
        self._later = later
        self._retention = retention
        self._clock = clock
        self._certain_ms = certain_ms
        self._under_way: dict[bytes, list[PutBehind]] = {}
        """By id, puts that are being written, and those that wait for each."""

    def table(self) -> dict[int, Handler]:
        return {
            MessageType.PUT: self._put,
            MessageType.UPDATE: self._update,
        }

    # --- put and update ---

    def _put(self, frame: Frame, responder: Responder) -> None:
        request = _read_put(frame.header)
        if request.kind not in _PUT_KINDS:
            raise InvalidRequest(f"record kind {request.kind} cannot be put")
        if len(frame.body) > PAYLOAD_SIZE_MAX:
            raise InvalidRequest(f"a record of {len(frame.body)} bytes exceeds the bound of {PAYLOAD_SIZE_MAX}")
        done = self._acknowledge(MessageType.PUT, responder, request.request_id, request.id, _STORED)
        replica = self._replicas[partition_of(request.id)]
        if replica.store.sealed:
            raise InsufficientStorage(
                f"partition {replica.partition.id} is sealed on {self._own_name}: it is nearly full"
            )
        if request.id in self._under_way:
            self._put_after_the_other(frame, responder, replica, request.id)
            return
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
            features=request.features,
            tag_size=tag_size_of(request.features, request.tags, len(frame.body))
            if request.features or request.tags
            else 0,
            tags=request.tags,
        )
        metrics.BYTES_IN.value += len(frame.body)
        entry = replica.store.index.known(request.id)
        if entry is UNKNOWN:
            self._append_unless_here(replica, record, request.sync, responder, done)
        elif entry is not None and entry.present and request.id not in replica.store.damaged:
            again = self._put_again(replica, entry, record, sync=request.sync, done=done, deadline=responder.deadline)
            self._later.answer(responder, again)
        else:
            self._under_way[request.id] = []
            ended = partial(self._put_ended, request.id, done)
            replica.committer.append(record, sync=request.sync, done=ended, deadline=responder.deadline)

    def _put_after_the_other(self, frame: Frame, responder: Responder, replica: Replica, blob_id: bytes) -> None:
        """A second put of a blob whose first is being written: it is looked at when that has ended, one way or the other.

        One that nobody waits for any more lets its bytes go.
        """
        waiting = self._under_way[blob_id]
        if replica.committer.hangs or len(waiting) >= BEHIND_MAX:
            raise Overloaded("this blob is being written, and others wait for that already; retry shortly")
        behind = PutBehind(frame, responder)
        waiting.append(behind)
        responder.on_abandoned = partial(_leave, waiting, behind)

    def _put_ended(self, blob_id: bytes, done: Done, error: AmbryError | None) -> None:
        waiting = self._under_way.pop(blob_id)
        try:
            done(error)
        finally:
            for behind in waiting:
                behind.responder.on_abandoned = None
                self._later.call(behind.responder, partial(self._put, behind.frame, behind.responder))

    def _append_unless_here(
        self, replica: Replica, record: Record, sync: bool, responder: Responder, done: Done
    ) -> None:
        """Whether the blob is here only the index's file can tell: its batch asks that."""
        here: list[IndexEntry] = []

        def prepare(entry: IndexEntry | None) -> Record | None:
            if entry is None or not entry.present or record.id in replica.store.damaged:
                return record
            here.append(entry)
            return None

        def done_if_appended(error: AmbryError | None) -> None:
            if error is None and here:
                again = self._put_again(replica, here[0], record, sync=sync, done=done, deadline=responder.deadline)
                self._later.answer(responder, again)
            else:
                done(error)

        self._under_way[record.id] = []
        ended = partial(self._put_ended, record.id, done_if_appended)
        replica.committer.append(record, sync=sync, done=ended, deadline=responder.deadline, prepare=prepare)

    async def _put_again(
        self,
        replica: Replica,
        entry: IndexEntry,
        record: Record,
        *,
        sync: bool,
        done: Done,
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
            replica.committer.barrier(done, deadline=deadline)
        else:
            done(None)

    def _update(self, frame: Frame, responder: Responder) -> None:
        request = _read_update(frame.header)
        replica = self._replicas[partition_of(request.id)]
        record = Record(
            kind=RecordKind.UPDATE,
            id=request.id,
            state=request.state,
            written_at_ms=self._plausible(request.changed_at_ms),
        )
        entry = replica.store.index.known(request.id)
        if entry is UNKNOWN:
            self._update_what_is_stored(replica, record, request, responder)
            return
        record = self._joined(replica, entry, record, request.deleted_at_ms)
        reply = _told(entry, record)
        done = self._acknowledge(MessageType.UPDATE, responder, request.request_id, request.id, reply)
        if entry is not None and record.state == entry.state:
            replica.committer.barrier(done, deadline=responder.deadline)
        else:
            replica.committer.append(record, sync=True, done=done, deadline=responder.deadline)

    def _update_what_is_stored(
        self, replica: Replica, record: Record, request: UpdateRequest, responder: Responder
    ) -> None:
        """The state of the blob stands in the index's file alone: the batch asks that."""
        reply = UpdateReply(record.state)

        def prepare(entry: IndexEntry | None) -> Record | None:
            nonlocal reply
            joined = self._joined(replica, entry, record, request.deleted_at_ms)
            reply = _told(entry, joined)
            return None if entry is not None and joined.state == entry.state else joined

        def ended(error: AmbryError | None) -> None:
            self._acknowledge(MessageType.UPDATE, responder, request.request_id, record.id, reply)(error)

        replica.committer.append(record, sync=True, done=ended, deadline=responder.deadline, prepare=prepare)

    def _joined(self, replica: Replica, entry: IndexEntry | None, record: Record, deleted_at_ms: int) -> Record:
        """An update with the joined state; `deleted_at_ms` as in UpdateRequest. Raises BlobDeleted, ReplicaUnavailable."""
        before = BlobState() if entry is None else entry.state
        state = join(before, record.state)
        if not state.deleted and state != before:
            here = entry is not None and entry.present and record.id not in replica.store.damaged
            if before.deleted or before.life_version < state.life_version:
                known_ms = 0 if entry is None else entry.deleted_at_ms
                self._refuse_late_undelete(record.id, max(deleted_at_ms, known_ms), here=here)
            if not here:
                self._refuse_without_bytes()
        return record if entry is None else msgspec.structs.replace(record, state=state)

    def _plausible(self, changed_at_ms: int) -> int:
        """When a change was made: what its maker says, unless the clocks of the data nodes say that this cannot be.

        Retention counts from it. Each replica may put its own time in the place of an impossible one; the latest wins.
        """
        now_ms = self._clock.wall_ms()
        return changed_at_ms if abs(changed_at_ms - now_ms) <= CHANGE_SKEW_MAX_MS else now_ms

    @staticmethod
    def _acknowledge(
        type: MessageType, responder: Responder, request_id: str, blob_id: bytes, reply: messages.Message
    ) -> Done:
        """Answers when the committer is done."""

        def done(error: AmbryError | None) -> None:
            if error is None:
                responder.reply(reply)
                if debugs():
                    log.debug("stored", type=type.name, blob=blob_id.hex(), request_id=request_id)
            else:
                responder.fail(error)
                log.warning(
                    "not stored", type=type.name, blob=blob_id.hex(), request_id=request_id, error=error.message
                )

        return done

    def _refuse_without_bytes(self) -> None:
        """A longer life promises bytes: who lacks them could not keep others from dropping theirs when their time is over.

        Raises ReplicaUnavailable.
        """
        raise ReplicaUnavailable(
            f"{self._own_name} does not have the bytes of this blob yet, and cannot say that it lives on"
        )

    def _refuse_late_undelete(self, blob_id: bytes, deleted_at_ms: int, *, here: bool) -> None:
        """What compaction may drop already must not come back: nobody may hold its bytes any more. Raises BlobDeleted.

        `deleted_at_ms`: 0 where no delete is known. In doubt about the clock nothing is dropped, so what is `here` may still
        come back.
        """
        now_ms = self._certain_ms() if here else self._clock.wall_ms()
        if deleted_at_ms and retention_at(self._retention, now_ms).final(deleted_at_ms):
            raise BlobDeleted(
                f"blob {BlobId(blob_id)} was deleted more than {self._retention.deleted_retention_s} s ago: "
                "too late to undelete it"
            )


def _told(entry: IndexEntry | None, record: Record) -> UpdateReply:
    """The answer to an update that makes `record` of an entry; one that changes nothing changes no time."""
    known_ms = 0 if entry is None else entry.changed_at_ms
    changed_at_ms = (
        known_ms if entry is not None and entry.state == record.state else max(known_ms, record.written_at_ms)
    )
    return UpdateReply(record.state, changed_at_ms if record.state.deleted else 0)
