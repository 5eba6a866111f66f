"""One commit of a replica: its records, where they go, and what is synced before anybody hears of them.

    look_up   disk thread   what memory does not know of its blobs; left out where it knows all of it
    place     event loop    every record takes on what is known of its blob, and gets its segment, offset and LSN
    write     disk thread   new segments are created, everything is written, then synced
    abandon   event loop    nothing of it was written: its places are given back

A batch ends by BlobStore.publish, by `abandon`, or by the fence of its replica where writing had begun; BlobStore.give_up
decides that.
One batch of a replica at a time is between its first step and its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from ambry.blob import BlobState, join
from ambry.errors import InsufficientStorage
from ambry.format import record as record_format
from ambry.format.record import Record, RecordKind
from datanode.store.index import Index
from datanode.store.known import UNKNOWN
from datanode.store.log import Log, Run, Unsynced
from datanode.store.segment import Segment
from datanode.store.stored_entries import Entries
from datanode.store.trouble import is_full


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one record goes. Offset in the segment's file, sizes in bytes."""

    segment: Segment
    offset: int
    lsn: int
    size: int


class Batch:
    """`records` are borrowed until its end; with `sync` all that was published before it becomes durable with it."""

    def __init__(self, log: Log, index: Index, records: Sequence[Record], *, sync: bool, now_ms: int) -> None:
        self.records = records
        self.held = index.hold([record.id for record in records])
        """What is known of their blobs, until its end."""
        self._looked_up = False
        """Whether time has gone by since."""
        self.sync = sync
        self.places: list[Place] = []
        """Where the records go, in their order."""
        self.created: list[Segment] = []
        """Segments that it opens."""
        self.sealed: list[Segment] = []
        """Segments that it fills up."""
        self.written: list[Segment] = []
        """The segments that it writes to, each once, in order."""
        self.earlier: list[Unsynced] = list(log.unsynced.values()) if sync else []
        """What was not synced before it, and is synced with it."""
        self.begun = False
        """Whether writing or syncing began: what a failure leaves on the disk is unknown from then on."""
        self._log = log
        self._index = index
        self._now_ms = now_ms
        self._active = log.active
        self._end = 0 if log.active is None else log.active.end

    def look_up(self) -> None:
        """Look up what memory does not know. Blocking. Raises IndexCorrupt, Overloaded; `abandon` it then."""
        self.learn(self._index.look_up(self.held.unknown))

    def learn(self, found: Entries) -> None:
        """Take in what was looked up of `held.unknown`."""
        self.held.learn(found)
        self._looked_up = True

    def place(self) -> None:
        """Give every record its place. Where `look_up` was left out, though something is unknown, it does that first."""
        if self.held.unknown:
            self.look_up()
        self._take_on_known_states()
        log = self._log
        active = log.active
        for record in self.records:
            size = record.size
            if active is None or active.end + size > active.limit:
                if active is not None:
                    self.sealed.append(active)
                active = log.plan_segment(size, self._now_ms)
                self.created.append(active)
            self.places.append(Place(segment=active, offset=active.end, lsn=active.base_lsn + active.end, size=size))
            active.end += size
        log.active = active
        self.written = list(dict.fromkeys([*self.sealed, *(place.segment for place in self.places)]))

    def _take_on_known_states(self) -> None:
        """Let every record carry the join of all that is known of its blob.

        So the latest record of a blob alone tells its state, and compaction may drop the earlier ones.
        """
        whole: list[Record] = []
        batch: dict[bytes, BlobState] = {}
        held, later = self.held, self._looked_up
        for record in self.records:
            known = batch.get(record.id)
            if known is None:
                entry = held.entries[record.id[16:32]]
                if later or entry is UNKNOWN:
                    entry = held.get(record.id)
                known = entry.state if entry is not None else None
            state = record.state if known is None else join(known, record.state)
            batch[record.id] = state
            whole.append(record if state == record.state else msgspec.structs.replace(record, state=state))
        self.records = whole

    def write(self, *, reserve_bytes: int = 0) -> None:
        """Write it all; durable on return where it syncs. Blocking. Updates alone may use the last `reserve_bytes` of the disk.

        Raises InsufficientStorage where there is no room, with nothing written; OSError.
        """
        if self.created or self._log.in_reserve:
            self._look_for_room(reserve_bytes)
        if self.created:
            self._create()
        sync = dict.fromkeys([*self.written, *(item.segment for item in self.earlier)]) if self.sync else ()
        runs = self._runs()
        self.begun = True
        try:
            self._log.write(runs, sealed=self.sealed, sync=sync)
        except BaseException:
            self.begun = self._log.failed
            raise

    def _look_for_room(self, reserve_bytes: int) -> None:
        """Keep the reserve for updates: also the rest of a segment that they took from it is not for puts."""
        log = self._log
        needed = sum(segment.header.capacity_bytes for segment in self.created)
        free = log.free_bytes()
        short = free < needed + reserve_bytes
        if short and any(record.kind != RecordKind.UPDATE for record in self.records):
            raise InsufficientStorage(
                f"the disk of partition {log.partition} has {free} bytes left, which are kept for deletes; "
                "free space or add nodes"
            )
        log.in_reserve = short

    def _create(self) -> None:
        log = self._log
        try:
            for segment in self.created:
                log.create(segment)
        except OSError as error:
            if not is_full(error):
                raise
            raise InsufficientStorage(f"the disk of partition {log.partition} is full; nothing was stored") from error

    def _runs(self) -> list[Run]:
        runs: list[Run] = []
        for record, place in zip(self.records, self.places, strict=True):
            if not runs or runs[-1].segment is not place.segment:
                runs.append(Run(segment=place.segment, offset=place.offset, buffers=[]))
            buffers = runs[-1].buffers
            buffers.append(record_format.encode_head(record, place.lsn, place.segment.salt))
            if len(record.payload):
                buffers.append(record.payload)
        return runs

    def abandon(self) -> None:
        """Take its places back; segments that did get created stay, empty."""
        if self._active is not None:
            self._active.end = self._end
        self._log.give_back(self._active, self.created)


class BatchShape(Protocol):
    """A Batch, or one of records of another shape."""

    def __call__(self, log: Log, index: Index, records: Sequence[Any], *, sync: bool, now_ms: int) -> Batch: ...
