"""What a replica tells those who check it: its segments as far as they are published, and its index held against its log.

Methods marked blocking run on a disk thread, with an `overlay` that the event loop's thread took just before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ambry.errors import DataCorrupt, Unavailable
from datanode.store.entry import IndexEntry
from datanode.store.index import Entries, Index
from datanode.store.log import Log
from datanode.store.segment import Segment

ABSENT_MAX = 10_000


class Survey(NamedTuple):
    """`present`: how many blobs' bytes the index has in each segment. `absent`: living blobs whose bytes are not here."""

    present: Counter[int]
    absent: list[IndexEntry]


class Auditing:
    """The part of a BlobStore that scrub uses; shares its log and its index."""

    def __init__(
        self,
        *,
        log: Log,
        index: Index,
        read: Callable[..., object],
        published_end: Callable[[Segment], int],
    ) -> None:
        self._log = log
        self._index = index
        self._read = read
        self._published_end = published_end

    def segment_numbers(self) -> list[int]:
        """The segments in LSN order."""
        return [segment.number for segment in self._log.in_order()]

    def target(self, number: int) -> Segment | None:
        """A segment as far as it is published, to be read on another thread; None when it is gone."""
        segment = self._log.segments.get(number)
        return segment.view(self._published_end(segment)) if segment is not None and segment.on_disk else None

    def entries_where(self, overlay: Entries, wanted: Callable[[IndexEntry], bool]) -> list[IndexEntry]:
        """All entries that `wanted` picks. Blocking: it goes through the whole index. Raises IndexCorrupt."""
        return [entry for entry in self._index.stored(overlay) if wanted(entry)]

    def survey(self, overlay: Entries, now_ms: int) -> Survey:
        """What the index says there is. Blocking, as above."""
        present: Counter[int] = Counter()
        absent: list[IndexEntry] = []
        for entry in self._index.stored(overlay):
            if entry.present:
                present[entry.segment] += 1
            elif not entry.state.deleted and not entry.state.expired(now_ms) and len(absent) < ABSENT_MAX:
                absent.append(entry)
        return Survey(present, absent)

    def unreadable(self, entries: Sequence[IndexEntry], *, whole: bool) -> list[IndexEntry]:
        """Those whose record, or only its head, cannot be read where the index has it now. Blocking.

        Raises IndexCorrupt, ReplicaUnavailable.
        """
        found: list[IndexEntry] = []
        for old in entries:
            entry = self._index.get(old.id)
            if entry is None or not entry.present:
                continue
            try:
                self._read(entry, 0, entry.payload_size if whole else 0, cached_only=False)
            except Unavailable:
                raise  # closed meanwhile: an OSError too, and no damage
            except (DataCorrupt, OSError):
                found.append(entry)
        return found
