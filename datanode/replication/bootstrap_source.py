"""The giving side of bootstrap: what a replica of this node offers to a peer that copies it.

It gives nothing that it is not sure of: as long as it may have been put back from a backup, it does not know what was deleted
since. The bytes go out as they stand in the file; whoever takes them verifies them.
"""

from __future__ import annotations

from collections.abc import Callable

from ambry.checksum import Buffer
from ambry.errors import DataCorrupt, Overloaded, ReplicaUnavailable
from ambry.protocol.messages.segments import (
    RecordOffer,
    SegmentBytesReply,
    SegmentBytesRequest,
    SegmentOffer,
    SegmentRecordsReply,
    SegmentRecordsRequest,
    SegmentsReply,
    SegmentsRequest,
)
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.replication.pace import Pace
from datanode.store.copies import Copies
from datanode.store.segment import Segment
from datanode.store.trouble import is_shortage

GONE = SegmentRecordsReply([], 0, gone=True)


class BootstrapSource:
    """`tells`: whether a replica tells of its log those who know nothing of it (feed.py)."""

    def __init__(self, replicas: Replicas, *, disk: Disk, pace: Pace, tells: Callable[[Replica], bool]) -> None:
        self._replicas = replicas
        self._disk = disk
        self._pace = pace
        self._tells = tells

    def segments(self, request: SegmentsRequest) -> SegmentsReply:
        """What there is. Raises ReplicaUnavailable."""
        store = self._replica(request.partition).store
        since_lsn = request.since_lsn if request.incarnation == store.incarnation else 0
        offers = [
            SegmentOffer(item.number, item.generation, item.end_lsn, item.size, item.salt)
            for item in store.copies.segments(since_lsn)
        ]
        return SegmentsReply(store.incarnation, offers)

    async def records(self, request: SegmentRecordsRequest) -> SegmentRecordsReply:
        """What of a segment counts, from an offset on. Raises DataCorrupt, Overloaded, ReplicaUnavailable."""
        replica, segment = self._pin(request)
        if segment is None:
            return GONE
        store = replica.store
        try:
            look = await self._pace.rest_after(
                self._disk.submit(store.copies.look, segment, request.offset, request.limit, store.damaged)
            )
        except (OSError, MemoryError) as error:
            raise _unreadable(segment, error) from error
        if not self._stays(replica, request):
            return GONE
        offers = [RecordOffer(item.id, item.offset, item.size, item.state, item.changed_at_ms) for item in look.records]
        return SegmentRecordsReply(offers, look.next_offset)

    async def bytes_of(self, request: SegmentBytesRequest) -> tuple[SegmentBytesReply, Buffer]:
        """Bytes of a segment. Raises DataCorrupt, Overloaded, ReplicaUnavailable."""
        _, segment = self._pin(request)
        if segment is None:
            return SegmentBytesReply(gone=True), b""
        await self._pace.take(request.size)
        try:
            body = await self._pace.rest_after(self._disk.submit(Copies.read, segment, request.offset, request.size))
        except (OSError, MemoryError) as error:
            raise _unreadable(segment, error) from error
        return SegmentBytesReply(), body

    def _replica(self, partition: int) -> Replica:
        replica = self._replicas[partition]
        if not self._tells(replica):
            raise ReplicaUnavailable(
                f"partition {partition} may have been put back from a backup: nothing is copied of it"
            )
        return replica

    def _pin(self, request: SegmentRecordsRequest | SegmentBytesRequest) -> tuple[Replica, Segment | None]:
        replica = self._replica(request.partition)
        store = replica.store
        if request.incarnation != store.incarnation:
            return replica, None
        return replica, store.copies.pin(request.number, request.generation)

    def _stays(self, replica: Replica, request: SegmentRecordsRequest) -> bool:
        """Whether what was found out about a replica is still true of it."""
        return self._replicas.get(request.partition) is replica and self._tells(replica)


def _unreadable(segment: Segment, error: Exception) -> Overloaded | DataCorrupt:
    if is_shortage(error):
        return Overloaded(f"no descriptors or memory left to read a segment: {error!r}")
    return DataCorrupt(f"the disk failed to read segment {segment.number}: {error}")
