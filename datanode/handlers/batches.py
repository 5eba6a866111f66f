"""What frontends ask of many blobs at once: a read that tells what is quick to tell, and leaves the rest to gets."""

from __future__ import annotations

import asyncio
import contextlib

from ambry.checksum import Buffer
from ambry.clock import Clock
from ambry.errors import AmbryError, DataCorrupt
from ambry.network.serving import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetsReply, GetsRequest, GotBytes, WantedBytes
from datanode import metrics
from datanode.handlers.later import Later
from datanode.handlers.reading import Reading, by_replica
from datanode.replicas import Replica, Replicas
from datanode.store.entry import IndexEntry

READS_PER_TURN = 32
"""In one turn of the event loop: some tens of microseconds each."""

_read_gets = messages.reader(GetsRequest)


class BatchHandlers:
    """`clock` has the time that most data nodes have (ambry/clustermap/skew.py)."""

    def __init__(self, replicas: Replicas, *, reading: Reading, later: Later, clock: Clock) -> None:
        self._replicas = replicas
        self._reading = reading
        self._later = later
        self._clock = clock

    def table(self) -> dict[int, Handler]:
        return {MessageType.GETS: self._gets}

    def _gets(self, frame: Frame, responder: Responder) -> None:
        self._later.answer(responder, self._answer(_read_gets(frame.header), responder))

    async def _answer(self, request: GetsRequest, responder: Responder) -> None:
        wanted = request.wanted
        await responder.admit(min(request.room, sum(max(0, each.end - each.first) for each in wanted)))
        places: dict[bytes, list[int]] = {}
        for place, each in enumerate(wanted):
            places.setdefault(each.id, []).append(place)
        got: list[GotBytes | None] = [None] * len(wanted)
        bodies: list[Buffer] = [b""] * len(wanted)
        room, read = request.room, 0
        for replica, ids in by_replica(self._replicas, list(places)):
            with contextlib.suppress(AmbryError):
                async with replica.lookups.hold(ids) as here:
                    for blob_id in ids:
                        for place in places[blob_id]:
                            read += 1
                            if read % READS_PER_TURN == 0:
                                await asyncio.sleep(0)
                            entry = here.get(blob_id)
                            data = self._read(replica, entry, wanted[place], room, request.request_id)
                            if data is not None:
                                got[place], bodies[place] = data
                                room -= len(bodies[place])
        body = b"".join(bodies)
        responder.reply(GetsReply(got), body)
        metrics.BYTES_OUT.value += len(body)

    def _read(
        self, replica: Replica, entry: IndexEntry | None, wanted: WantedBytes, room: int, request_id: str
    ) -> tuple[GotBytes, Buffer] | None:
        """What is said of one; nothing of what is not here, not alive, or would have to be waited for."""
        if entry is None or not entry.present:
            return None
        store = replica.store
        if store.put_back and entry.lsn < store.lineage.begin_lsn:
            return None  # it does not know yet what became of it
        if entry.state.deleted or 0 < entry.state.expires_at_ms <= self._clock.wall_ms():
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
