"""A put of many blobs at once: their records are appended together, so that they share a sync."""

from __future__ import annotations

from functools import partial

from ambry.blob import BlobState
from ambry.checksum import block_checks
from ambry.errors import AlreadyExists, AmbryError, InsufficientStorage, InvalidRequest
from ambry.format.record import Record, RecordKind, tag_size_of
from ambry.ids import partition_of
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import ERROR_TEXT_MAX
from ambry.protocol.messages.blobs import NewBlob, NotStored, PutsReply, PutsRequest
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.replicas import Replicas
from datanode.store.entry import IndexEntry
from datanode.store.known import UNKNOWN
from datanode.write_queue import Done

log = get_logger()

TOLD_MAX = 16
"""Of the errors of a batch with their words; they are alike."""

_read_puts = messages.reader(PutsRequest)


class BatchPutHandlers:
    """Those of one data node."""

    def __init__(self, replicas: Replicas, *, own_name: str) -> None:
        self._replicas = replicas
        self._own_name = own_name

    def table(self) -> dict[int, Handler]:
        return {MessageType.PUTS: self._puts}

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
            features=blob.features,
            tag_size=tag_size_of(blob.features, blob.tags, len(payload)) if blob.features or blob.tags else 0,
            tags=blob.tags,
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
