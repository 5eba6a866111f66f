"""The digests of one replica's index, and what its containers have, as of its last checkpoint: computed, and kept in good order
(datanode/store/ranges.py, datanode/store/usage.py).

Every method blocks, and none may run while a checkpoint is written: the caller keeps them apart. Each does a bounded piece of
work, but for the digests of ranges that nobody has tidied yet. All raise IndexCorrupt; Overloaded and InsufficientStorage,
with nothing done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from ambry.errors import DataCorrupt
from datanode.store import ranges as range_format
from datanode.store.entry import IndexEntry
from datanode.store.index import Index
from datanode.store.ranges import (
    BEHIND_ALL,
    FIRST_KEY,
    KEY_SIZE,
    SIZE_MAX,
    UNKNOWN,
    WHOLE,
    Coverage,
    RangeChange,
    Records,
    Sum,
    Windows,
    over,
)
from datanode.store.usage import ROWS_PER_PAGE, UsagePage, read_page

PIECE_ENTRIES = 1_000
"""Counted at once where digests begin anew."""


class RangeSum(NamedTuple):
    """The digest of one range, from key `start` on."""

    start: bytes
    sum: Sum


class Digests:
    """Those of one open index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._ranges = index.ranges

    @property
    def whole(self) -> bool:
        """Whether they describe the whole index; else call `tidy` until they do."""
        return self._ranges.whole

    @property
    def untidy(self) -> bool:
        """Whether `tidy` has anything to do, as far as it was noticed."""
        return bool(self._ranges.too_large) or not self._ranges.whole

    def sums(self, bounds: Sequence[bytes], after_ms: int) -> list[Sum]:
        """The digest between every two neighbouring keys of `bounds`, of what expires after `after_ms`."""
        return range_format.sums_between(bounds, after_ms, self._pieces(bounds[0], bounds[-1]), self._between)

    def grouped(self, low: bytes, high: bytes, after_ms: int, limit: int) -> list[RangeSum]:
        """The digests of at most `limit` ranges, which together are those from `low` up to `high`."""
        starts = self._ranges.between(low, high)
        step = max(1, -(-len(starts) // limit))
        bounds = [low, *starts[step::step], high]
        return [RangeSum(start, item) for start, item in zip(bounds, self.sums(bounds, after_ms), strict=False)]

    def usage(self, after: bytes, now_ms: int, limit: int) -> UsagePage:
        """What containers behind `after` have (datanode/store/usage.py); what expired up to 4.7 hours, or a 32nd of its time
        to live, before `now_ms` may still count as alive."""
        try:
            return read_page(self._index.usage, partial(over, now_ms=now_ms), after=after, limit=limit)
        except DataCorrupt:
            self._ranges.coverage = UNKNOWN
            return UsagePage([], b"")

    def entries(self, low: bytes, high: bytes, limit: int) -> list[IndexEntry]:
        """The first entries between two keys, deleted ones included."""
        return list(islice(self._between(low, high), limit))

    def _between(self, low: bytes, high: bytes) -> Iterator[IndexEntry]:
        return self._index.between(_before(low), _before(high))

    def _pieces(self, low: bytes, high: bytes) -> Iterator[tuple[bytes, bytes, Windows]]:
        for start in self._ranges.between(low, high):
            yield start, self._ranges.end_of(start), self._read(start)

    def _read(self, start: bytes) -> Windows:
        try:
            windows = range_format.decode(start, self._index.range_record(start))
        except DataCorrupt:
            self._ranges.coverage = UNKNOWN
            return {}
        self._ranges.note_size(start, windows)
        return windows

    # --- good order ---

    def tidy(self) -> bool:
        """Do one piece of what is to be done: counting entries where digests begin anew, cutting a range that is too large.

        Returns whether there is more.
        """
        if not self._ranges.whole:
            self._begin_anew() if self._ranges.coverage == UNKNOWN else self._count_more()
        elif self._ranges.too_large:
            self._cut(self._ranges.too_large.pop())
        return self.untidy

    def look(self) -> bool:
        """Look at all ranges; returns whether `tidy` has anything to do."""
        for _ in self._pieces(FIRST_KEY, BEHIND_ALL):
            pass
        return self.untidy

    def _begin_anew(self) -> None:
        coverage = Coverage(before=FIRST_KEY)
        used: list[bytes] = []
        while page := self._index.usage(used[-1] + b"\0" if used else b"", ROWS_PER_PAGE):
            used += [pair.key for pair in page]

        def change(records: Records) -> None:
            for key in used:
                records.delete_usage(key)
            for start in self._ranges.starts:
                records.delete(start)
            records.put(FIRST_KEY, range_format.encode(FIRST_KEY, {}))
            records.put_coverage(msgspec.msgpack.encode(coverage))

        self._index.write_ranges(change)
        self._ranges.starts = [FIRST_KEY]
        self._ranges.coverage = coverage
        self._ranges.too_large.clear()

    def _count_more(self) -> None:
        entries = self.entries(self._ranges.coverage.before, BEHIND_ALL, PIECE_ENTRIES)
        before = self._ranges.coverage
        # The next one begins behind the last: the least key that is greater is one byte longer.
        self._ranges.coverage = Coverage(before=entries[-1].id[16:32] + b"\0") if entries else WHOLE
        gathered = RangeChange(self._ranges)
        for entry in entries:
            gathered.note(entry.id[16:32], None, entry)
        try:
            self._index.write_ranges(gathered.write)
        except BaseException:
            self._ranges.coverage = before
            raise
        if entries:
            self._read(self._ranges.start_of(entries[-1].id[16:32]))

    def _cut(self, start: bytes) -> None:
        end = self._ranges.end_of(start)
        entries = self.entries(start, end, SIZE_MAX + 1)
        windows = self._read(start)
        self._ranges.too_large.discard(start)
        if len(entries) <= SIZE_MAX or not self._ranges.whole:
            return
        place = range_format.place_to_cut(start, end, [entry.id[16:32] for entry in entries])
        first: Windows = {}
        for entry in entries:
            if entry.id[16:32] < place:
                range_format.add(first, entry)
        rest = range_format.merged(windows, {key: range_format.NOTHING.minus(item) for key, item in first.items()})

        def change(records: Records) -> None:
            records.put(start, range_format.encode(start, first))
            records.put(place, range_format.encode(place, rest))

        self._index.write_ranges(change)
        self._ranges.starts = sorted([*self._ranges.starts, place])
        self._ranges.note_size(place, rest)


def _before(key: bytes) -> bytes:
    """The greatest key that is less; empty before the first. What is longer than a key lies right behind one."""
    if len(key) > KEY_SIZE:
        return key[:KEY_SIZE]
    number = int.from_bytes(key, "big")
    return (number - 1).to_bytes(KEY_SIZE, "big") if number else b""
