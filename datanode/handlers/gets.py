"""What frontends ask of blobs without changing them: get and presence. Callbacks throughout: a cached get makes no task.

An answer is given at once where memory knows the blob's place and the page cache has its bytes. Else it comes from a disk
thread: where the index's file must be asked, the bytes are read on the same way (datanode/lookups.py).
"""

from __future__ import annotations

import asyncio
import contextlib

from ambry.blob import NEVER_MS
from ambry.buffers import fresh
from ambry.clock import Clock
from ambry.errors import AmbryError, BlobNotFound, DataCorrupt, InvalidRequest, ReplicaUnavailable
from ambry.format.record import Head, tags_of
from ambry.ids import partition_of
from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.network.scratch import memory_of
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetRequest, PresenceReply, PresenceRequest
from datanode import metrics
from datanode.handlers.reading import Reading, by_replica
from datanode.handlers.stored_bytes import StoredBytes
from datanode.lookups import Wish
from datanode.replicas import Replica, Replicas
from datanode.store.damage import successor
from datanode.store.entry import IndexEntry
from datanode.store.known import UNKNOWN
from datanode.store.record_reader import Payload

INLINE_LARGE = 4
"""Up to so many times what is read at once in any case is, where its answer may be made at once: the way over a disk thread
costs more than the reading does."""
FROM_FILE_MAX = 4 << 20
"""Up to so many bytes leave from the page cache in one turn of the event loop: a third of a millisecond."""

_read_get = messages.reader(GetRequest)
_read_presence = messages.reader(PresenceRequest)


class GetHandlers:
    """Answers about the blobs of this node. `clock` has the time that most data nodes have (ambry/clustermap/skew.py)."""

    def __init__(
        self,
        replicas: Replicas,
        *,
        own_name: str,
        reading: Reading,
        later: Later,
        inline_read_bytes_max: int,
        clock: Clock,
    ) -> None:
        self._replicas = replicas
        self._own_name = own_name
        self._reading = reading
        self._later = later
        self._inline_read_bytes_max = inline_read_bytes_max
        self._clock = clock

    def table(self) -> dict[int, Handler]:
        return {MessageType.GET: self._get, MessageType.PRESENCE: self._presence}

    # --- get ---

    def _get(self, frame: Frame, responder: Responder) -> None:
        request = _read_get(frame.header)
        replica = self._replicas[partition_of(request.id)]
        entry = replica.store.index.known(request.id)
        if entry is UNKNOWN:
            self._get_what_is_stored(replica, request, responder)
        else:
            self._answer_get(replica, entry, request, responder)

    def _get_what_is_stored(self, replica: Replica, request: GetRequest, responder: Responder) -> None:
        """Where the blob is only the index's file can tell; its bytes come along where they are few."""

        def found(wish: Wish) -> None:
            def answer() -> None:
                if wish.failure is not None:
                    raise wish.failure
                entry = index.known(request.id)
                asked = wish.found[key]
                if entry is UNKNOWN:
                    if index.checkpoints != checkpoints:
                        # It may have changed, gone to the file and been forgotten again since that was asked.
                        self._get_what_is_stored(replica, request, responder)
                        return
                    entry = None if asked is None or asked.id != request.id else asked
                elif asked is not None and successor(replica.store, asked) is not None:
                    # What was read, or was not, stands elsewhere by now.
                    self._answer_get(replica, entry, request, responder)
                    return
                if entry is not None and isinstance(wish.unread, DataCorrupt | OSError | MemoryError):
                    raise self._reading.unreadable(replica, entry, wish.unread, request.request_id) from wish.unread
                if wish.unread is not None:
                    raise wish.unread
                self._answer_get(replica, entry, request, responder, wish.payload)

            self._later.call(responder, answer)

        index = replica.store.index
        checkpoints = index.checkpoints
        key = request.id[16:32]
        wish = Wish([key], found, first=request.first, end=request.end, deadline=responder.deadline)
        replica.lookups.ask(wish)
        responder.on_abandoned = wish.drop

    def _answer_get(
        self,
        replica: Replica,
        entry: IndexEntry | None,
        request: GetRequest,
        responder: Responder,
        payload: Payload | None = None,
    ) -> None:
        """Answer a get of a blob of which is known what the index says; `payload` where it was read by the way."""
        if entry is None:
            raise self._absent(replica)
        if replica.store.put_back and entry.lsn < replica.store.lineage.begin_lsn and not request.any_state:
            raise ReplicaUnavailable(f"{self._own_name} was put back, and does not know yet what became of this blob")
        state = entry.state
        gone = state.deleted
        if state.expires_at_ms != NEVER_MS and not gone:
            # A state that came before its bytes has no expiry yet.
            gone = 0 < state.expires_at_ms <= self._clock.wall_ms()
        if not entry.present or (gone and not request.any_state):
            responder.reply(GetReply(state, False, 0, 0, b"", b"", b"", 0, 0, gone, entry.deleted_at_ms))
            return
        if not 0 <= request.first <= request.end:
            raise InvalidRequest(f"bytes {request.first} to {request.end} are no range")
        # Clipped, not refused: the asker learns the payload's size from the answer.
        first = min(request.first, entry.payload_size)
        end = min(request.end, entry.payload_size)
        if payload is not None:
            self._answer_payload(entry, payload, responder)
            return
        size = end - first
        large = size > self._inline_read_bytes_max
        if large and request.unchecked and self._sent_from_file(replica, entry, first, end, responder):
            return
        admitted = large and size <= INLINE_LARGE * self._inline_read_bytes_max and responder.try_admit(size)
        if admitted or not large:
            allocate = memory_of(asyncio.get_running_loop()).buffers.take if large else fresh
            try:
                payload = replica.store.read(entry, first, end, cached_only=True, allocate=allocate)
            except (DataCorrupt, OSError, MemoryError) as error:
                raise self._reading.unreadable(replica, entry, error, request.request_id) from error
            if payload is not None:
                self._answer_payload(entry, payload, responder)
                return
        self._later.answer(responder, self._get_from_disk(replica, entry, first, end, request.request_id, responder))

    def _sent_from_file(self, replica: Replica, entry: IndexEntry, first: int, end: int, responder: Responder) -> bool:
        """Answer with blocks that stand in the page cache as they stand there; False where that cannot be.

        Whoever asks verifies them. What was found damaged before is read and verified here.
        """
        size = end - first
        if size > FROM_FILE_MAX or entry.id in replica.store.damaged:
            return False
        try:
            located = replica.store.locate(entry, first, end)
        except (DataCorrupt, OSError, MemoryError):
            return False  # the ordinary way says what is wrong
        if located is None or not responder.try_admit(size):
            return False
        allocate = memory_of(asyncio.get_running_loop()).buffers.take
        reply = _reply_of(entry, located.head, located.start, located.size)
        responder.reply(reply, StoredBytes(located, allocate), located.checks)
        metrics.BYTES_OUT.value += located.size
        return True

    async def _get_from_disk(
        self, replica: Replica, entry: IndexEntry, first: int, end: int, request_id: str, responder: Responder
    ) -> None:
        await responder.admit(end - first)
        payload = await self._reading.payload(replica, entry, first, end, request_id=request_id)
        self._answer_payload(entry, payload, responder)

    def _absent(self, replica: Replica) -> AmbryError:
        if replica.store.authority:
            return BlobNotFound(f"partition {replica.partition.id} does not hold this blob on {self._own_name}")
        return ReplicaUnavailable(f"{self._own_name} has not caught up with partition {replica.partition.id} yet")

    @staticmethod
    def _answer_payload(entry: IndexEntry, payload: Payload, responder: Responder) -> None:
        responder.reply(_reply_of(entry, payload.head, payload.start, len(payload.data)), payload.data, payload.checks)
        metrics.BYTES_OUT.value += len(payload.data)

    # --- presence ---

    def _presence(self, frame: Frame, responder: Responder) -> None:
        request = _read_presence(frame.header)

        async def answer() -> None:
            found = dict.fromkeys(request.ids, "unsure")
            for replica, some in by_replica(self._replicas, request.ids):
                with contextlib.suppress(AmbryError):
                    async with replica.lookups.hold(some) as here:
                        found |= {blob_id: self._presence_of(replica, blob_id, here.get(blob_id)) for blob_id in some}
            responder.reply(PresenceReply([found[blob_id] for blob_id in request.ids]))

        self._later.answer(responder, answer())

    @staticmethod
    def _presence_of(replica: Replica, blob_id: bytes, entry: IndexEntry | None) -> str:
        """One of the words of PresenceReply."""
        if entry is None:
            return "absent" if replica.store.authority else "unsure"
        if entry.state.deleted:
            return "deleted"
        return "present" if entry.present and blob_id not in replica.store.damaged else "unsure"


def _reply_of(entry: IndexEntry, head: Head, start: int, size: int) -> GetReply:
    """The answer to a get of a blob whose bytes are here; its body is `size` bytes of the payload from `start` on."""
    header = head.header
    return GetReply(
        entry.state,
        True,
        header.kind,
        header.written_at_ms,
        head.properties,
        head.metadata,
        header.digest,
        header.payload_size,
        start,
        False,
        entry.deleted_at_ms,
        header.features,
        tags_of(head, start, start + size) if header.tag_size else b"",
    )
