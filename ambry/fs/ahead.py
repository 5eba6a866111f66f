"""Reading ahead as fsspec asks for it: `ambry.client.ahead` behind a cache of fsspec's."""

from __future__ import annotations

from fsspec.caching import BaseCache, Fetcher

from ambry.client.ahead import ReadAhead


class GrowingAhead(BaseCache):  # type: ignore[misc]
    """Keeps what was fetched last. `blocksize` is how far it reads ahead at most, in bytes."""

    name = "ambry"

    def __init__(self, blocksize: int, fetcher: Fetcher, size: int) -> None:
        super().__init__(blocksize, fetcher, size)
        self._ahead = ReadAhead(blocksize, size)

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        first = start or 0
        end = self.size if stop is None else min(stop, self.size)
        if first >= end:
            return b""
        held = self._ahead.held(first, end)
        if len(held) == end - first:
            self.hit_count += 1
            return bytes(held)
        self.miss_count += 1
        fetch = self._ahead.missing(first, end)
        self.total_requested_bytes += fetch.end - fetch.start
        self._ahead.arrived(self.fetcher(fetch.start, fetch.end))
        return bytes(self._ahead.held(first, end))
