"""How far a file reads ahead: not at all where it is read here and there, further and further where it is read on.

Columns of a Parquet file, tensors and footers are asked for exactly; a CSV comes in large pieces.
"""

from __future__ import annotations

from fsspec.caching import BaseCache, Fetcher

LEAST = 32 << 10
"""Bytes that are fetched at least: they cost no more than one."""
FIRST_AHEAD = 256 << 10


class GrowingAhead(BaseCache):  # type: ignore[misc]
    """Keeps what was fetched last. `blocksize` is how far it reads ahead at most, in bytes."""

    name = "ambry"

    def __init__(self, blocksize: int, fetcher: Fetcher, size: int) -> None:
        super().__init__(blocksize, fetcher, size)
        self._start = 0
        self._held = b""
        self._ahead = 0

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        first = start or 0
        end = self.size if stop is None else min(stop, self.size)
        if first >= end:
            return b""
        held_end = self._start + len(self._held)
        if self._start <= first and end <= held_end:
            self.hit_count += 1
            return self._held[first - self._start : end - self._start]
        self.miss_count += 1
        reads_on = self._start <= first <= held_end and (bool(self._held) or not first)
        self._ahead = min(self.blocksize, max(FIRST_AHEAD, 2 * self._ahead)) if reads_on else 0
        begin = b""
        missing = first
        if reads_on and self._held:
            begin, missing = self._held[first - self._start :], held_end
        until = min(self.size, max(end + self._ahead, missing + LEAST))
        self.total_requested_bytes += until - missing
        self._held = begin + self.fetcher(missing, until)
        self._start = first
        return self._held[: end - first]
