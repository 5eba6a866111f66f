"""Compaction as a replica does it: which segments, the copy, the switch of its index, the end of the old files.

The order of the steps, and what a crash leaves, stand in store/compaction/plan.py. Methods marked blocking run on a disk
thread, the others on the event loop; only one compaction of a replica is on its way at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ambry.clock import Clock
from datanode.store.compaction import plan as compaction
from datanode.store.compaction import receipt
from datanode.store.compaction.copy import Copied, Copier, Dropped, Forgotten, Moved, unfinished_path
from datanode.store.compaction.plan import Usage
from datanode.store.entry import IndexEntry, Location
from datanode.store.files import Files
from datanode.store.index import Held, Index
from datanode.store.log import Log
from datanode.store.pieces import Pieces
from datanode.store.retention import Retention
from datanode.store.segment import Segment, segment_name
from datanode.store.stored_entries import Entries


class Compaction:
    """What a replica does of a compaction; shares its log and its index."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        *,
        clock: Clock,
        log: Log,
        index: Index,
        note_purged: Callable[[int], None] = lambda _lsn: None,
    ) -> None:
        self.damaged: set[int] = set()
        """Numbers of segments that hold damaged bytes: what is repaired by now is worth rewriting."""
        self.waiting = 0
        """Tombstones that stay until some peer has seen them, as the last walk found: not those of the segment in use."""
        self._uncounted: dict[int, int] = {}
        """By segment: what the compaction that wrote it kept, though no entry of the index tells of it. A start forgets it."""
        self._files = files
        self._directory = directory
        self._clock = clock
        self._log = log
        self._index = index
        self._note_purged = note_purged

    def usages(self, overlay: Entries, retention: Retention) -> Pieces[list[Usage]]:
        """How much of each segment that may be compacted is needed, in LSN order. Blocking, in pieces. Raises IndexCorrupt.

        Not the last one, which takes appends or did until just now, and none that the last checkpoint does not cover whole.
        """
        durable_lsn = self._index.checkpoint.lsn
        old = [segment for segment in self._log.in_order()[:-1] if segment.header.end_lsn <= durable_lsn]
        return compaction.usages(old, self._index.stored(overlay), retention, self.damaged, uncounted=self._uncounted)

    def plan_output(self, numbers: Sequence[int]) -> tuple[list[Segment], Segment]:
        """The inputs of a compaction, and the segment, not on disk yet, that will replace them."""
        inputs = [self._log.segments[number] for number in numbers]
        return inputs, self._log.plan_compacted(inputs, self._clock.wall_ms())

    def copier(self, retention: Retention) -> Copier:
        """What does the blocking part."""
        return Copier(
            self._files,
            self._directory,
            lookup=self._index.get,
            stored=lambda: self._index.stored({}),
            durable_lsn=self._index.checkpoint.lsn,
            retention=retention,
        )

    def may_switch(self, copied: Copied, retention: Retention) -> bool:
        """Whether what was left out may still be left out; asked right before `put_in_place`. Blocking."""
        for dropped in copied.dropped:
            entry = self._at(self._index.get(dropped.id), dropped.old)
            if entry is not None and not retention.bytes_dead(entry):
                return False
        return True

    def put_in_place(self, copied: Copied) -> None:
        """Let the new file count. Blocking. May be repeated where this process lacked something on the way.

        Raises OSError: which of the files count then is unknown, so fence the replica.
        """
        if copied.forgotten:
            # Before they are gone: whoever has not seen them by then must hear of it (datanode/store/lineage.py).
            self._note_purged(max(item.lsn for item in copied.forgotten) + 1)
        # And so must what it replaces: only by that the next start may delete the old files.
        receipt.write(self._files, self._directory, copied.output, copied.inputs)
        number = copied.output.number
        unfinished = unfinished_path(self._directory, number)
        if self._files.exists(unfinished):
            self._files.rename(unfinished, self._directory / segment_name(number))
        # fsync the directory too: the new name must be durable before the old files go.
        self._files.sync_directory(self._directory)

    def give_up(self, copied: Copied) -> None:
        """Delete a copy that was not put in place. Blocking. Raises OSError, harmlessly: the next start deletes it too."""
        copied.output.close()
        self._files.unlink(unfinished_path(self._directory, copied.output.number))

    @staticmethod
    def _at(entry: IndexEntry | None, old: Location) -> IndexEntry | None:
        """The entry of a blob, if its put record still stands there."""
        return entry if entry is not None and entry.location == old else None

    def begin_switch(self, copied: Copied) -> None:
        """Let readers find the new segment; the index still points to the old ones, which stay until `retire`."""
        self._log.segments[copied.output.number] = copied.output
        if copied.uncounted_bytes:
            self._uncounted[copied.output.number] = copied.uncounted_bytes

    def switch_dropped(self, dropped: Sequence[Dropped], retention: Retention, here: Held) -> list[bytes]:
        """Forget bytes that the new segment does not hold, as they were dead by `retention`, and blobs that expired altogether.

        Returns those that came back to life meanwhile: their state stays, and their bytes must be fetched. `here` has them all,
        as in the next two.
        """
        revived = []
        for item in dropped:
            entry = self._at(here.get(item.id), item.old)
            if entry is None:
                continue
            alive = not retention.bytes_dead(entry)
            if alive or entry.state.deleted:
                self.forget_bytes(entry)
            else:
                self._index.remove(entry.id)
            if alive and not entry.state.deleted:
                revived.append(item.id)
        return revived

    def switch_forgotten(self, forgotten: Sequence[Forgotten], here: Held) -> None:
        """Forget tombstones that the new segment does not hold; those that changed meanwhile stay."""
        for item in forgotten:
            entry = here.get(item.id)
            if entry is not None and entry.lsn == item.lsn and not entry.present:
                self._index.remove(item.id)

    def forget_bytes(self, entry: IndexEntry) -> None:
        """The bytes of a blob are not here any more: its state is kept, whatever any clock says of it."""
        self._index.move(msgspec.structs.replace(entry, segment=0, offset=0, size=0, payload_size=0))

    def switch_moved(self, copied: Copied, moved: Sequence[Moved], here: Held) -> None:
        """Point entries to the new segment; those that changed their place otherwise meanwhile stay."""
        number = copied.output.number
        for item in moved:
            entry = self._at(here.get(item.id), item.old)
            if entry is not None:
                self._index.move(msgspec.structs.replace(entry, segment=number, offset=item.offset))

    def retire(self, numbers: Sequence[int]) -> list[Segment]:
        """After a checkpoint: take the replaced segments out. Readers may still use the files: close them later."""
        self.damaged.difference_update(numbers)
        for number in numbers:
            self._uncounted.pop(number, None)
        return self._log.retire(numbers)

    def delete_files(self, segments: Sequence[Segment]) -> None:
        """Delete the files of segments, those that are still there, durable on return. Blocking. Raises OSError."""
        for segment in segments:
            path = self._directory / segment_name(segment.number)
            if self._files.exists(path):
                self._files.unlink(path)
        self._files.sync_directory(self._directory)
        receipt.drop_settled(self._files, self._directory)
