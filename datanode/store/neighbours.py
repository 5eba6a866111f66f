"""Records that lie beside each other in the log, as those of one batch do: one read brings them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from datanode.store.entry import IndexEntry

RUN_BYTES_MAX = 256 << 10
"""Of one read: some tens of microseconds from the page cache."""
RECORD_BYTES_MAX = 64 << 10
"""A larger record is worth a read of its own."""
GAP_BYTES_MAX = 1 << 10
"""Between two of them: an update or two are sooner read than passed over."""


def runs_of(entries: Iterable[IndexEntry]) -> Iterator[list[IndexEntry]]:
    """Entries of records by where they stand: those of one run are neighbours."""
    run: list[IndexEntry] = []
    segment = begin = end = 0
    for entry in sorted(entries, key=_place):
        offset, size = entry.offset, entry.size
        near = (
            entry.segment == segment and 0 <= offset - end <= GAP_BYTES_MAX and offset + size - begin <= RUN_BYTES_MAX
        )
        if run and not (near and size <= RECORD_BYTES_MAX):
            yield run
            run = []
        if not run:
            segment, begin = entry.segment, offset
        run.append(entry)
        end = offset + size
    if run:
        yield run


def _place(entry: IndexEntry) -> tuple[int, int]:
    return entry.segment, entry.offset


def span_of(run: Sequence[IndexEntry]) -> int:
    """Bytes from the beginning of a run to its end."""
    return run[-1].offset + run[-1].size - run[0].offset
