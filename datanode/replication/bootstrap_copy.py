"""Copying one replica from its peers, segment by segment, from several at the same time.

Of each segment the peer first tells which records count, and what is missing here is fetched in pieces of its file, verified,
and appended many records at a time. So what was copied before a crash, by another peer, or came here by itself, is not fetched
again: the progress of a copy is the log itself. Whatever a peer cannot give is left out; following the logs finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from ambry.blob import NEVER_MS
from ambry.errors import AmbryError, Overloaded, ReplicaUnavailable
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Message
from ambry.protocol.messages.replication import Change
from ambry.protocol.messages.segments import (
    RECORDS_MAX,
    RecordOffer,
    SegmentBytesReply,
    SegmentBytesRequest,
    SegmentOffer,
    SegmentRecordsReply,
    SegmentRecordsRequest,
    SegmentsReply,
    SegmentsRequest,
)
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.checkpointer import Checkpointer
from datanode.disk import Disk
from datanode.replicas import Replica
from datanode.replication.bootstrap_plan import SAMPLE_RECORDS, PieceOfSegment, Share, rotated, samples, spans
from datanode.replication.decide import Action, decide
from datanode.replication.pace import Allowance, Pace
from datanode.store.images import Image, verified
from datanode.store.retention import Retention

log = get_logger()

M = TypeVar("M", bound=Message)

REQUEST_TIMEOUT_S = 60.0
"""The peer rests between the pieces that it gives."""
PASSES_MAX = 5
"""So often a peer is asked for segments that were sealed or compacted since."""
PIECES_AHEAD = 3
"""On their way from one peer."""
ENTRIES_MAX = 100_000
"""Index entries that may wait in memory for a checkpoint."""


class CopyFailed(Exception):
    """This node cannot take in more; `cause` says why."""

    def __init__(self, cause: AmbryError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Taking:
    """What one node takes in by copying: shared by all replicas and peers.

    `certain_retention` says what is over for sure: nothing, while there is a doubt about the clock (datanode/upkeep/skew.py).
    """

    def __init__(
        self,
        *,
        disk: Disk,
        checkpointer: Checkpointer,
        pace: Pace,
        room: Allowance,
        certain_retention: Callable[[], Retention],
    ) -> None:
        self.pace = pace
        self.room = room
        self._disk = disk
        self._checkpointer = checkpointer
        self._certain_retention = certain_retention

    async def missing(self, replica: Replica, offers: Sequence[RecordOffer], claimed: set[bytes]) -> list[RecordOffer]:
        """What a replica lacks of what a peer offers, and nobody is bringing. Raises as Lookups.hold."""
        retention = self._certain_retention()
        found: list[RecordOffer] = []
        async with replica.lookups.hold([offer.id for offer in offers]) as here:
            for offer in offers:
                if offer.id in claimed:
                    continue
                entry = here.get(offer.id)
                if entry is not None and entry.present and entry.state == offer.state:
                    continue  # by far the most, where another peer was here before
                if entry is not None or offer.state.deleted or offer.state.expires_at_ms != NEVER_MS:
                    change = Change(offer.id, 0, offer.state, True, offer.size, offer.changed_at_ms)
                    if decide(entry, change, retention) is not Action.FETCH:
                        continue
                found.append(offer)
        return found

    async def take(self, replica: Replica, peer: str, body: bytearray, span: PieceOfSegment, salt: int) -> list[Image]:
        """Verify and append what came, durable on return; what is not as the peer said is left out. Raises CopyFailed."""
        images, refused = await self._disk.submit(verified, body, span.start, span.records, salt)
        if refused:
            log.error(
                "corrupt records from peer",
                peer=peer,
                partition=replica.partition.id,
                blobs=[id.hex() for id in refused],
            )
        try:
            while replica.store.recent_count > ENTRIES_MAX:
                if not await self._checkpointer.checkpoint(replica):
                    raise Overloaded("the index cannot be written now; copying goes on later")
            if images:
                await _append(replica, images)
        except AmbryError as error:
            raise CopyFailed(error) from error
        return images


async def _append(replica: Replica, images: Sequence[Image]) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: AmbryError | None) -> None:
        if future.done():
            return  # given up: it is being written all the same
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    replica.committer.append_images(images, done)
    await future


class PeerCopy:
    """What one peer gives for one replica, whose log `incarnation` is followed from `since_lsn` on; it said that it ends at
    `end_lsn`.

    `claimed` has the blobs that are on their way from any of them.
    """

    def __init__(
        self,
        taking: Taking,
        replica: Replica,
        peer: Peer,
        *,
        incarnation: bytes,
        since_lsn: int,
        end_lsn: int,
        share: Share,
        claimed: set[bytes],
    ) -> None:
        self.peer = peer
        self.incarnation = incarnation
        self.covered_lsn = 0
        """Once it is `complete`: up to there the peer has given what it gives. The rest it has there takes appends, or is gone,
        and more copying would not bring it."""
        self.complete = False
        self.error = ""
        self.segments = 0
        self.segments_done = 0
        self.log_bytes = 0
        """Of the segments that it offered, of which `looked_bytes` were looked at."""
        self.looked_bytes = 0
        self.bytes = 0
        self.blobs = 0
        self._taking = taking
        self._replica = replica
        self._since_lsn = since_lsn
        self._end_lsn = end_lsn
        self._share = share
        self._claimed = claimed
        self._ahead = asyncio.Semaphore(PIECES_AHEAD)
        self._failure: AmbryError | None = None

    async def run(self) -> None:
        """Copy what the peer has, to the end or to the first error of the peer. Raises CopyFailed."""
        seen: set[tuple[int, int]] = set()
        try:
            for _ in range(PASSES_MAX):
                reply = await self._ask(MessageType.SEGMENTS, self._segments_request(), SegmentsReply)
                if reply.incarnation != self.incarnation:
                    raise ReplicaUnavailable(f"the log of {self.peer.node.name} is another one now")
                new = [offer for offer in reply.segments if (offer.number, offer.generation) not in seen]
                if not new:
                    break
                self.segments += len(new)
                self.log_bytes += sum(offer.size for offer in new)
                for offer in rotated(new, self._share):
                    await self._copy(offer)
                    seen.add((offer.number, offer.generation))
                    self.segments_done += 1
                    self.looked_bytes += offer.size
                self.covered_lsn = max(self.covered_lsn, *(offer.end_lsn for offer in new))
            self.covered_lsn = max(self.covered_lsn, self._end_lsn)
            self.complete = True
        except AmbryError as error:
            self.error = error.message
            log.warning(
                "copying from a peer ended early",
                peer=self.peer.node.name,
                partition=self._replica.partition.id,
                error=self.error,
            )

    def _segments_request(self) -> SegmentsRequest:
        return SegmentsRequest(self._replica.partition.id, self.incarnation, self._since_lsn)

    async def _copy(self, offer: SegmentOffer) -> None:
        """Take what is missing of one segment. Raises AmbryError of the peer; CopyFailed."""
        offset = 0
        try:
            async with asyncio.TaskGroup() as pieces:
                while self._failure is None:
                    try:
                        reply = await self._look(offer, offset)
                        missing = await self._missing(reply)
                        if not missing and not offset and reply.next_offset and await self._is_here(offer):
                            break
                    except AmbryError as error:
                        self._failure = error  # what is on its way is taken in all the same
                        break
                    for span in spans(missing):
                        self._claimed.update(record.id for record in span.records)
                        await self._ahead.acquire()
                        pieces.create_task(self._bring(offer, span))
                    offset = reply.next_offset
                    if reply.gone or not offset:
                        break
        except* CopyFailed as failed:
            raise CopyFailed(_cause(failed)) from None
        if self._failure is not None:
            raise self._failure

    async def _look(self, offer: SegmentOffer, offset: int, limit: int = RECORDS_MAX) -> SegmentRecordsReply:
        """Which records of a segment count, from an offset on."""
        number = self._replica.partition.id
        request = SegmentRecordsRequest(number, self.incarnation, offer.number, offer.generation, offset, limit)
        return await self._ask(MessageType.SEGMENT_RECORDS, request, SegmentRecordsReply)

    async def _missing(self, reply: SegmentRecordsReply) -> list[RecordOffer]:
        return await self._taking.missing(self._replica, reply.records, self._claimed)

    async def _is_here(self, offer: SegmentOffer) -> bool:
        """Whether all of a segment is here, as far as looks into it show: going through every record costs far more.

        What they do not show is found by following the log.
        """
        for place in samples(offer.size):
            if await self._missing(await self._look(offer, place, SAMPLE_RECORDS)):
                return False
        return True

    async def _bring(self, offer: SegmentOffer, span: PieceOfSegment) -> None:
        """Fetch and take in one piece. Raises CopyFailed; what the peer does wrong is kept for the end of the segment."""
        taking, replica = self._taking, self._replica
        await taking.room.take(span.size)
        try:
            await taking.pace.take(span.size)
            request = SegmentBytesRequest(
                replica.partition.id, self.incarnation, offer.number, offer.generation, span.start, span.size
            )
            frame = await self.peer.request(MessageType.SEGMENT_BYTES, request, timeout_s=REQUEST_TIMEOUT_S)
            if messages.decode(frame.header, SegmentBytesReply).gone or len(frame.body) != span.size:
                return
            body = frame.body if isinstance(frame.body, bytearray) else bytearray(frame.body)
            name = self.peer.node.name
            images = await taking.take(replica, name, body, span, offer.salt)
            size = sum(image.length for image in images)
            self.bytes += size
            self.blobs += len(images)
            metrics.BOOTSTRAP_BYTES.labels(name).inc(size)
            metrics.BOOTSTRAP_BLOBS.labels(name).inc(len(images))
        except AmbryError as error:
            self._failure = error
        finally:
            self._claimed.difference_update(record.id for record in span.records)
            taking.room.give_back(span.size)
            self._ahead.release()

    async def _ask(self, type: int, request: Message, shape: type[M]) -> M:
        frame = await self.peer.request(type, request, timeout_s=REQUEST_TIMEOUT_S)
        return messages.decode(frame.header, shape)


def _cause(group: ExceptionGroup[CopyFailed]) -> AmbryError:
    error = group.exceptions[0]
    return _cause(error) if isinstance(error, ExceptionGroup) else error.cause
