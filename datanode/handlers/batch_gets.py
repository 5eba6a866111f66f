"""A read of many blobs at once, which tells what is quick to tell, and leaves the rest to gets.

Whole small records that lie beside each other in the log, as those of one batch of puts do, are brought by one read, and their
bytes stay where that put them: in the body of the answer. Only bytes that were verified are pointed to in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from ambry.buffers import fresh
from ambry.clock import Clock
from ambry.errors import AmbryError, DataCorrupt
from ambry.format.record import Head, tags_of
from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.network.scratch import memory_of
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetsReply, GetsRequest, GotBytes, WantedBytes
from datanode import metrics
from datanode.handlers.reading import Reading, by_replica
from datanode.replicas import Replica, Replicas
from datanode.store.entry import IndexEntry
from datanode.store.neighbours import runs_of, span_of

READS_PER_TURN = 32
"""In one turn of the event loop: some tens of microseconds each. A run of neighbours has a turn of its own."""

_read_gets = messages.reader(GetsRequest)


class BatchGetHandlers:
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
        room = min(request.room, sum([max(0, each.end - each.first) for each in wanted]))
        await responder.admit(room)
        answer = _GetsAnswer(wanted, room, request.request_id, self._reading)
        now_ms = self._clock.wall_ms()
        for replica, ids in by_replica(self._replicas, list(answer.places)):
            with contextlib.suppress(AmbryError):
                async with replica.lookups.hold(ids) as here:
                    told = [
                        entry
                        for blob_id in ids
                        if (entry := here.get(blob_id)) is not None and _is_told(replica, entry, now_ms)
                    ]
                    await answer.read(replica, told)
        body = answer.body()
        responder.reply(GetsReply(answer.got), body)
        metrics.BYTES_OUT.value += len(body)


class _GetsAnswer:
    """What is told of each blob, and the body that their bytes come into, of at most `room` bytes."""

    def __init__(self, wanted: Sequence[WantedBytes], room: int, request_id: str, reading: Reading) -> None:
        self.got: list[GotBytes | None] = [None] * len(wanted)
        self.places: dict[bytes, list[int]] = {}
        for place, each in enumerate(wanted):
            self.places.setdefault(each.id, []).append(place)
        self._wanted = wanted
        self._request_id = request_id
        self._reading = reading
        self._memory = memory_of(asyncio.get_running_loop()).buffers.take(room) if room else fresh(0)
        self._room = room
        self._end = 0

    def body(self) -> memoryview:
        return self._memory[: self._end]

    def _take(self, size: int) -> memoryview:
        """The next bytes of the body."""
        start, self._end = self._end, self._end + size
        return self._memory[start : self._end]

    async def read(self, replica: Replica, entries: Sequence[IndexEntry]) -> None:
        """Read what is quick to read of one replica; some of it in each turn of the event loop."""
        whole = [entry for entry in entries if self._is_wanted_whole(entry)]
        alone = [entry for entry in entries if not self._is_wanted_whole(entry)] if len(whole) < len(entries) else []
        for run in runs_of(whole):
            if len(run) > 1 and self._read_run(replica, run):
                await asyncio.sleep(0)
            else:
                alone += run
        for number, entry in enumerate(alone, start=1):
            for place in self.places[entry.id]:
                self._read(replica, entry, place)
            if not number % READS_PER_TURN:
                await asyncio.sleep(0)

    def _is_wanted_whole(self, entry: IndexEntry) -> bool:
        places = self.places[entry.id]
        each = self._wanted[places[0]]
        return len(places) == 1 and each.first == 0 and each.end >= entry.payload_size

    def _read_run(self, replica: Replica, run: Sequence[IndexEntry]) -> bool:
        """Whether neighbours were read; those of them that are damaged are told of nothing."""
        size, begin = span_of(run), self._end
        if size > self._room - begin:
            return False
        store = replica.store
        try:
            image = store.read_run(run, self._take)
        except (OSError, MemoryError):
            image = None  # whoever reads them one by one finds out which it is
        if image is None:
            self._end = begin
            return False
        places, got, first = self.places, self.got, run[0].offset
        for entry in run:
            start = entry.offset - first
            end = start + entry.size
            try:
                head = store.whole(entry, image[start:end])
            except DataCorrupt as error:
                self._reading.unreadable(replica, entry, error, self._request_id)
                continue
            except AmbryError:
                continue
            size = entry.payload_size
            got[places[entry.id][0]] = GotBytes(_told(entry, head, 0, size), size, begin + end - size)
        return True

    def _read(self, replica: Replica, entry: IndexEntry, place: int) -> None:
        """Read one; nothing of what would have to be waited for."""
        wanted = self._wanted[place]
        first, end = min(wanted.first, entry.payload_size), min(wanted.end, entry.payload_size)
        if not 0 <= first <= end or end - first > self._room - self._end:
            return
        try:
            payload = replica.store.read(entry, first, end, cached_only=True)
        except (DataCorrupt, OSError, MemoryError) as error:
            self._reading.unreadable(replica, entry, error, self._request_id)
            return
        except AmbryError:
            return
        if payload is None:
            return
        if payload.head.header.tag_size:
            # A tag is of a whole block.
            first, end = payload.start, payload.start + len(payload.data)
            if end - first > self._room - self._end:
                return
        # All of its blocks are verified: from here on the frame's own checks go over the very bytes that were asked for.
        at = self._end
        if end > first:
            self._take(end - first)[:] = payload.data[first - payload.start : end - payload.start]
        self.got[place] = GotBytes(_told(entry, payload.head, first, end - first), end - first, at)


def _told(entry: IndexEntry, head: Head, first: int, size: int) -> GetReply:
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
        first,
        features=header.features,
        tags=tags_of(head, first, first + size) if header.tag_size else b"",
    )


def _is_told(replica: Replica, entry: IndexEntry, now_ms: int) -> bool:
    """Whether something is said of a blob: it is here and alive."""
    if not entry.present:
        return False
    store = replica.store
    if store.put_back and entry.lsn < store.lineage.begin_lsn:
        return False  # it does not know yet what became of it
    return not entry.state.deleted and not 0 < entry.state.expires_at_ms <= now_ms
