"""What tasks read comes in windows: many ranges in one request, and the next window while this one is decoded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from ambry.ml.seekable_reader import SeekableReader
from ambry.spark.plan import FilePiece, tasks

WINDOW_SIZE = 4 << 20
"""Bytes that are asked for at once, as far as pieces allow: a piece larger than that is one window.
Less than a task has, so that it decodes while the next come."""
GAP = 8 << 10
"""Bytes between two ranges that are moved for nothing, at most."""

Window = TypeVar("Window")
Bytes = TypeVar("Bytes")


def windows(pieces: Sequence[FilePiece]) -> list[tuple[FilePiece, ...]]:
    """Neighbours that are fetched together."""
    return tasks(pieces, WINDOW_SIZE)


class WindowsAhead(Generic[Window, Bytes]):
    """Iterates over windows with what was fetched of them; at most two are held, the one that is used and the next one."""

    def __init__(self, fetch: Callable[[Window], Bytes], of: Iterable[Window]) -> None:
        self._fetch = fetch
        self._of = of

    def __iter__(self) -> Iterator[tuple[Window, Bytes]]:
        """Raises what the fetch of a window raises, when it is its turn."""
        last: tuple[Window, Future[Bytes]] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="ambry-spark") as pool:
            for window in self._of:
                coming = pool.submit(self._fetch, window)
                if last is not None:
                    yield last[0], last[1].result()
                last = window, coming
            if last is not None:
                yield last[0], last[1].result()


class HeldSpans(SeekableReader):
    """A file of which some spans are here. To be read as a whole or from within one; elsewhere it is an OSError."""

    def __init__(self, spans: Sequence[tuple[int, int]], data: Sequence[bytes]) -> None:
        super().__init__(max((stop for _, stop in spans), default=0))
        held = sorted(zip(spans, data, strict=True), key=lambda each: each[0])
        self._starts = [start for (start, _), _ in held]
        self._data = [each for _, each in held]

    def read(self, size: int = -1, /) -> bytes:
        """Fewer than asked for at the end of a span."""
        place = bisect_right(self._starts, self._position) - 1
        start = self._starts[place] if place >= 0 else 0
        held = self._data[place] if place >= 0 else b""
        if self._position >= start + len(held) and size:
            raise OSError(f"byte {self._position} was not asked for; the footer does not say that it is needed")
        first = self._position - start
        found = held if not first and 0 <= len(held) <= size else held[first : len(held) if size < 0 else first + size]
        self._position += len(found)
        return found


def ranges_of(client: Any, found: Any, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Only what is wanted, and gaps that cost less than a range of their own. Raises what a get raises."""
    gathered: list[bytes] = client.get_ranges(found, spans, coalesce=GAP)
    return gathered
