"""Which bytes of which chunk a range of a blob needs. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

import msgspec

from ambry.blob import ChunkRef
from ambry.checksum import BLOCK_SIZE
from frontend.router.values import Span


class ReadUnit(msgspec.Struct, frozen=True):
    """One request to a data node: payload bytes `first` to `end` (exclusive) of the record `id`."""

    id: bytes
    first: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.first


UnitSize = Callable[[], int]
"""How many bytes the next read should have: a multiple of 64 KiB. Asked again for every unit, since memory may get short."""


def end_of_unit(first: int, size: int) -> int:
    """Where a unit from `first` on with about `size` bytes ends; `size` is a multiple of 64 KiB, or divides that."""
    step = min(size, BLOCK_SIZE)
    return first // step * step + size


def units_of_record(id: bytes, first: int, end: int, unit: UnitSize) -> Iterator[ReadUnit]:
    """Cut bytes `first` to `end` of one record into units, at the ends of blocks, so that no block is read twice."""
    while first < end:
        stop = min(end, end_of_unit(first, unit()))
        yield ReadUnit(id, first, stop)
        first = stop


def units_of_chunks(chunks: Sequence[ChunkRef], spans: Iterable[Span], unit: UnitSize) -> Iterator[ReadUnit]:
    """The reads that give these bytes of a composite blob, one span behind the other."""
    starts = list(accumulate((chunk.size for chunk in chunks), initial=0))
    for span in spans:
        first = span.first
        index = bisect_right(starts, first) - 1
        while first < span.end and index < len(chunks):
            stop = min(span.end, starts[index + 1])
            yield from units_of_record(chunks[index].id, first - starts[index], stop - starts[index], unit)
            first = stop
            index += 1
