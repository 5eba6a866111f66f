"""What frontends ask of many blobs at once: a read that tells what is quick to tell, and leaves the rest to gets; and a put,
whose records are appended together, so that they share a sync.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from functools import partial

from ambry.blob import BlobState
from ambry.checksum import Buffer, block_checks
from ambry.clock import Clock
from ambry.errors import AlreadyExists, AmbryError, DataCorrupt, InsufficientStorage, InvalidBlobId, InvalidRequest
from ambry.format.record import Record, RecordKind
from ambry.ids import partition_of
from ambry.network.later import Later
from ambry.network.serving import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import ERROR_TEXT_MAX
from ambry.protocol.messages.blobs import (
    GetReply,
    GetsReply,
    GetsRequest,
    GotBytes,
    NewBlob,
    NotStored,
    PutsReply,
    PutsRequest,
    WantedBytes,
)
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.handlers.reading import Reading
from datanode.replicas import Replica, Replicas
from datanode.store.entry import IndexEntry
from datanode.store.known import UNKNOWN
from datanode.write_queue import Done

log = get_logger()

TOLD_MAX = 16
"""Of the errors of a batch with their words; they are alike."""
READS_PER_TURN = 32
"""In one turn of the event loop: some tens of microseconds each."""

_read_gets = messages.reader(GetsRequest)
_read_puts = messages.reader(PutsRequest)


class BatchHandlers:
    """`clock` has the time that most data nodes have (ambry/clustermap/skew.py)."""

    def __init__(self, replicas: Replicas, *, own_name: str, reading: Reading, later: Later, clock: Clock) -> None:
        self._replicas = replicas
        self._own_name = own_name
        self._reading = reading
        self._later = later
        self._clock = clock

    def table(self) -> dict[int, Handler]:
        return {MessageType.GETS: self._gets, MessageType.PUTS: self._puts}

    def _gets(self, frame: Frame, responder: Responder) -> None:
        self._later.answer(responder, self._answer(_read_gets(frame.header), responder))

    # --- put ---

    def _puts(self, frame: Frame, responder: Responder) -> None:
        request = _read_puts(frame.header)
        blobs = request.blobs
        if sum(blob.size for blob in blobs) != len(frame.body):
            raise InvalidRequest("the payloads of a batch are not as long as it says")
        metrics.BYTES_IN.value += len(frame.body)
        answer = _PutsAnswer(responder, request.request_id, len(blobs))
        body, start = memoryview(frame.body), 0
        for place, blob in enumerate(blobs):
            payload = body[start : start + blob.size]
            start += blob.size
            try:
                self._append(blob, payload, request.sync, responder.deadline, partial(answer.ended, place))
            except AmbryError as error:
                answer.ended(place, error)
        answer.all_begun()

    def _append(self, blob: NewBlob, payload: memoryview, sync: bool, deadline: float, done: Done) -> None:
        replica = self._replicas[partition_of(blob.id)]
        if replica.store.sealed:
            raise InsufficientStorage(
                f"partition {replica.partition.id} is sealed on {self._own_name}: it is nearly full"
            )
        record = Record(
            kind=RecordKind.BLOB,
            id=blob.id,
            state=BlobState(0, False, blob.expires_at_ms),
            written_at_ms=blob.created_at_ms,
            properties=blob.properties,
            metadata=blob.metadata,
            digest=blob.digest,
            # The frame's own checks went over these very bytes, and across the borders of blobs.
            checks=block_checks(payload),
            payload=payload,
        )

        def is_new(entry: IndexEntry | None) -> Record | None:
            if entry is not None and entry.present:
                raise AlreadyExists("something is stored under this blob id; a batch is sent once")
            return record

        entry = replica.store.index.known(blob.id)
        if entry is UNKNOWN:
            replica.committer.append(record, sync=sync, done=done, deadline=deadline, prepare=is_new)
        elif is_new(entry) is not None:
            replica.committer.append(record, sync=sync, done=done, deadline=deadline)

    # --- get ---

    async def _answer(self, request: GetsRequest, responder: Responder) -> None:
        wanted = request.wanted
        await responder.admit(min(request.room, sum(max(0, each.end - each.first) for each in wanted)))
        places: dict[bytes, list[int]] = {}
        for place, each in enumerate(wanted):
            places.setdefault(each.id, []).append(place)
        got: list[GotBytes | None] = [None] * len(wanted)
        bodies: list[Buffer] = [b""] * len(wanted)
        room, read = request.room, 0
        now_ms = self._clock.wall_ms()
        for replica, ids in self._by_replica(places):
            with contextlib.suppress(AmbryError):
                async with replica.lookups.hold(ids) as here:
                    for blob_id in ids:
                        for place in places[blob_id]:
                            read += 1
                            if read % READS_PER_TURN == 0:
                                await asyncio.sleep(0)
                            entry = here.get(blob_id)
                            data = self._read(replica, entry, wanted[place], room, now_ms, request.request_id)
                            if data is not None:
                                got[place], bodies[place] = data
                                room -= len(bodies[place])
        body = b"".join(bodies)
        responder.reply(GetsReply(got), body)
        metrics.BYTES_OUT.value += len(body)

    def _by_replica(self, ids: Iterable[bytes]) -> list[tuple[Replica, list[bytes]]]:
        """Those replicas that are here and open, each with its blobs; what is no blob id is of none."""
        found: dict[int, list[bytes]] = {}
        for blob_id in ids:
            with contextlib.suppress(InvalidBlobId):
                found.setdefault(partition_of(blob_id), []).append(blob_id)
        return [(self._replicas[number], some) for number, some in found.items() if number in self._replicas]

    def _read(
        self, replica: Replica, entry: IndexEntry | None, wanted: WantedBytes, room: int, now_ms: int, request_id: str
    ) -> tuple[GotBytes, Buffer] | None:
        """What is said of one; nothing of what is not here, not alive, or would have to be waited for."""
        if entry is None or not entry.present:
            return None
        store = replica.store
        if store.put_back and entry.lsn < store.lineage.begin_lsn:
            return None  # it does not know yet what became of it
        if entry.state.deleted or 0 < entry.state.expires_at_ms <= now_ms:
            return None
        first, end = min(wanted.first, entry.payload_size), min(wanted.end, entry.payload_size)
        if not 0 <= first <= end or end - first > room:
            return None
        try:
            payload = store.read(entry, first, end, cached_only=True)
        except (DataCorrupt, OSError, MemoryError) as error:
            self._reading.unreadable(replica, entry, error, request_id)
            return None
        except AmbryError:
            return None
        if payload is None:
            return None
        head, header = payload.head, payload.head.header
        # All of its blocks are verified: from here on the frame's own checks go over the very bytes that were asked for.
        data = memoryview(payload.data)[first - payload.start : end - payload.start] if end > first else b""
        reply = GetReply(
            entry.state,
            True,
            header.kind,
            header.written_at_ms,
            bytes(head.properties),
            bytes(head.metadata),
            header.digest,
            header.payload_size,
            first,
        )
        return GotBytes(reply, len(data)), data


class _PutsAnswer:
    """Answers a put of many when each of them has ended."""

    def __init__(self, responder: Responder, request_id: str, count: int) -> None:
        self._responder = responder
        self._request_id = request_id
        self._left = count + 1
        self._failed: list[NotStored] = []

    def ended(self, place: int, error: AmbryError | None) -> None:
        if error is not None:
            self._failed.append(NotStored(place, error.code, error.message[:ERROR_TEXT_MAX]))
        self._end_one()

    def all_begun(self) -> None:
        self._end_one()

    def _end_one(self) -> None:
        self._left -= 1
        if self._left:
            return
        failed = self._failed
        if failed:
            log.warning(
                "not stored", type="PUTS", count=len(failed), request_id=self._request_id, error=failed[0].message
            )
        # What is told of each has its bound, and so has the answer.
        told = [
            each if number < TOLD_MAX else NotStored(each.place, each.code, "") for number, each in enumerate(failed)
        ]
        self._responder.reply(PutsReply(told))
        log.debug("stored", type="PUTS", request_id=self._request_id)
