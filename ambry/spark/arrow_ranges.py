"""Where the columns of an Arrow file lie: what its reader asks for is noted first, and then fetched at once.

A reader of some columns (`included_fields`) reads the metadata of a record batch, and then the buffers of these columns. Over a
file that is not here it gets zeros, which are of no use, but where they would have been is what has to be moved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ambry.ml.seekable_reader import SeekableReader

Span = tuple[int, int]
"""From a byte up to another one, without that."""


class NotedFile(SeekableReader):
    """A file of which some spans are here. Of the others, `asked` notes what is read: zeros within `within`, else OSError."""

    def __init__(self, size: int, spans: Sequence[Span], data: Sequence[bytes]) -> None:
        super().__init__(size)
        held = sorted(zip(spans, data, strict=True), key=lambda each: each[0])
        self._starts = [start for (start, _), _ in held]
        self._data = [each for _, each in held]
        self.asked: list[Span] = []
        self.within: Span = (0, 0)

    def read(self, size: int = -1, /) -> bytes:
        start = self._position
        end = self._size if size < 0 else min(start + size, self._size)
        self._position = max(start, end)
        place = bisect_right(self._starts, start) - 1
        first = start - self._starts[place] if place >= 0 else 0
        if place >= 0 and first + end - start <= len(self._data[place]):
            return self._data[place][first : first + end - start]
        if end <= start:
            return b""
        self.asked.append((start, end))
        if start < self.within[0] or end > self.within[1]:
            raise OSError(f"bytes {start} to {end} are read, which are not of this batch")
        return bytes(end - start)


@dataclass(frozen=True, slots=True)
class ArrowRanges:
    """An Arrow file of `size` bytes, of which `tail` is the end, with the footer."""

    size: int
    tail: bytes

    def opened(self, fields: Sequence[int], spans: Sequence[Span], data: Sequence[bytes]) -> tuple[NotedFile, Any]:
        """A reader of columns over what is here. Raises ArrowInvalid, OSError for what is no footer."""
        file = NotedFile(self.size, [*spans, (self.size - len(self.tail), self.size)], [*data, self.tail])
        return file, pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=list(fields)))

    def asked(
        self, places: Mapping[int, Span], fields: Sequence[int], spans: Sequence[Span] = (), data: Sequence[bytes] = ()
    ) -> list[tuple[Span, ...]]:
        """What of each of these batches is read besides what is here; `places` are where they lie, by their numbers.

        Raises ArrowInvalid, OSError for what is no footer.
        """
        file, reader = self.opened(fields, spans, data)
        found = []
        for number, place in places.items():
            file.asked.clear()
            file.within = place
            # Of zeros it makes no batch, or one without sense.
            with suppress(pa.ArrowException, OSError):
                reader.get_batch(number)
            found.append(tuple(file.asked))
        return found
