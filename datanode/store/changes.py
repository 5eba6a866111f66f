"""Reading the changes of an index in their order, on any thread, while the event loop goes on changing it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from datanode.store.entry import IndexEntry
from datanode.store.tables import Pair

PAGE_CHANGES = 200


class Journal(NamedTuple):
    """The first `size` changes of a list that grows: LSN and key, in LSN order."""

    changes: list[tuple[int, bytes]]
    size: int


class Past(NamedTuple):
    """Changes up to `stored_lsn` are in the index's file, later ones in the journals."""

    stored_lsn: int
    journals: tuple[Journal, Journal]


class ChangeReader:
    """Reads them: `find_all` has the entries of keys as they are now, `page` changes from an LSN on, as the file has them."""

    def __init__(
        self,
        find_all: Callable[[Sequence[bytes]], list[IndexEntry | None]],
        page: Callable[[bytes, int], list[Pair]],
    ) -> None:
        self._find_all = find_all
        self._page = page

    def since(self, lsn: int, limit: int, past: Past) -> list[IndexEntry]:
        """Blobs whose latest change has an LSN of at least `lsn`, in LSN order, at most `limit`. Raises IndexCorrupt."""
        found = self._stored(lsn, past.stored_lsn, limit) if lsn < past.stored_lsn else []
        for journal, size in past.journals:
            position = bisect_left(journal, (lsn, b""), 0, size)
            while position < size and len(found) < limit:
                some = journal[position : min(size, position + limit - len(found))]
                found += self._latest(some)
                position += len(some)
        return found

    def _latest(self, changes: list[tuple[int, bytes]]) -> list[IndexEntry]:
        """Of these changes those that are the latest of their blobs."""
        entries = self._find_all([key for _, key in changes])
        pairs = zip(changes, entries, strict=True)
        return [entry for (lsn, _), entry in pairs if entry is not None and entry.lsn == lsn]

    def _stored(self, lsn: int, end: int, limit: int) -> list[IndexEntry]:
        """Up to `end`: a checkpoint may have put later ones there since, which the journals give."""
        found: list[IndexEntry] = []
        start, stop = lsn.to_bytes(8, "big"), end.to_bytes(8, "big")
        while len(found) < limit:
            page = self._page(start, min(PAGE_CHANGES, limit - len(found)))
            some = [(int.from_bytes(raw_lsn, "big"), key) for raw_lsn, key in page if raw_lsn < stop]
            found += self._latest(some)
            if not page or len(some) < len(page):
                break
            start = page[-1].key + b"\0"
        return found
