"""Compaction as a replica does it: which segments, the copy, the switch of its index, the end of the old files.

The order of the steps, and what a crash leaves, stand in datanode/store/compaction.py. Methods marked blocking run on a disk
thread, the others on the event loop; only one compaction of a replica is on its way at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ambry.clock import Clock
from datanode.store import compaction
from datanode.store.compaction import Copied, Copier, Retention, Usage
from datanode.store.entry import IndexEntry
from datanode.store.files import Files
from datanode.store.index import Entries, Index
from datanode.store.log import Log
from datanode.store.segment import Segment, segment_name


class Compacting:
    """The part of a BlobStore that gives space back; shares its log and its index."""

    def __init__(self, files: Files, directory: Path, *, clock: Clock, log: Log, index: Index) -> None:
        self._files = files
        self._directory = directory
        self._clock = clock
        self._log = log
        self._index = index

    def usages(self, overlay: Entries, retention: Retention) -> list[Usage]:
        """How much of each segment that may be compacted is needed, in LSN order. Blocking. Raises IndexCorrupt.

        Not the last one, which takes appends or did until just now, and none that the last checkpoint does not cover whole.
        """
        durable_lsn = self._index.checkpoint.lsn
        old = [segment for segment in self._log.in_order()[:-1] if segment.header.end_lsn <= durable_lsn]
        return compaction.usages(old, self._index.stored(overlay), retention)

    def plan_output(self, numbers: Sequence[int]) -> tuple[list[Segment], Segment]:
        """The inputs of a compaction, and the segment, not on disk yet, that will replace them."""
        inputs = [self._log.segments[number] for number in numbers]
        return inputs, self._log.plan_compacted(inputs, self._clock.wall_ms())

    def copier(self, retention: Retention, pause: Callable[[int], None]) -> Copier:
        """What does the blocking part."""
        return Copier(
            self._files,
            self._directory,
            lookup=self._index.get,
            durable_lsn=self._index.checkpoint.lsn,
            retention=retention,
            pause=pause,
        )

    def may_switch(self, copied: Copied, retention: Retention) -> bool:
        """Whether what was left out may still be left out; asked in the same turn of the loop as `switch_dropped`."""
        for blob_id, segment, offset in copied.dropped:
            entry = self._at(blob_id, segment, offset)
            if entry is not None and not retention.bytes_dead(entry):
                return False
        return True

    def _at(self, blob_id: bytes, segment: int, offset: int) -> IndexEntry | None:
        entry = self._index.get(blob_id)
        return entry if entry is not None and (entry.segment, entry.offset) == (segment, offset) else None

    def switch_dropped(self, copied: Copied) -> None:
        """Add the new segment and forget what it does not hold."""
        self._log.segments[copied.output.number] = copied.output
        for blob_id, segment, offset in copied.dropped:
            entry = self._at(blob_id, segment, offset)
            if entry is not None:
                self.forget_bytes(entry)
        for blob_id, lsn in copied.forgotten:
            entry = self._index.get(blob_id)
            if entry is not None and entry.lsn == lsn and not entry.present:
                self._index.remove(blob_id)

    def forget_bytes(self, entry: IndexEntry) -> None:
        """The bytes of a dead blob are gone; a deleted one leaves its tombstone, an expired one nothing."""
        if entry.state.deleted:
            self._index.move(msgspec.structs.replace(entry, segment=0, offset=0, size=0, payload_size=0))
        else:
            self._index.remove(entry.id)

    def switch_moved(self, copied: Copied, moved: Sequence[tuple[bytes, int, int, int]]) -> None:
        """Point entries to the new segment; those that changed their place otherwise meanwhile stay."""
        number = copied.output.number
        for blob_id, segment, offset, new_offset in moved:
            entry = self._at(blob_id, segment, offset)
            if entry is not None:
                self._index.move(msgspec.structs.replace(entry, segment=number, offset=new_offset))

    def retire(self, numbers: Sequence[int]) -> list[Segment]:
        """After a checkpoint: take the replaced segments out. Readers may still use the files: close them later."""
        return self._log.retire(numbers)

    def delete_files(self, segments: Sequence[Segment]) -> None:
        """Delete the files of segments, durable on return. Blocking. Raises OSError."""
        for segment in segments:
            self._files.unlink(self._directory / segment_name(segment.number))
        self._files.sync_directory(self._directory)
