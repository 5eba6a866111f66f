"""How long one waits for another process that fetches a blob into the cache of this machine: as long as that does anything.

What it has of the blob grows, or it ends, and its lock with it. One that stands still (SIGSTOP, a disk that does not answer)
does neither; who waits for it says so, and for whom.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from ambry.client.cache import BlobCache
from ambry.clock import Clock
from ambry.errors import RequestTimeout
from ambry.ids import BlobId

TELL_S = 10.0
"""After so long it is told who is waited for, once."""
STILL_S = 600.0
"""So long nothing may come: a large blob is read back meanwhile, or a store asked again that does not answer."""


class FetchWatch:
    """What one sees of another one's download of a blob. Blocking."""

    def __init__(self, cache: BlobCache, blob: BlobId, clock: Clock) -> None:
        self._cache = cache
        self._blob = blob
        self._clock = clock
        self._begun_s = self._moved_s = clock.monotonic()
        self._seen: list[tuple[str, int, int]] = []
        self._told = False

    @property
    def who(self) -> str:
        return self._cache.fetcher_of(self._blob)

    def look(self) -> None:
        """Raises RequestTimeout where nothing came for too long."""
        now_s, seen = self._clock.monotonic(), []
        for path in self._cache.leftovers(self._blob):
            with suppress(FileNotFoundError):
                found = path.lstat()
                seen.append((path.name, found.st_size, found.st_mtime_ns))
        if sorted(seen) != self._seen:
            self._seen, self._moved_s = sorted(seen), now_s
        if now_s - self._moved_s > STILL_S:
            raise RequestTimeout(
                f"{self.who} fetches blob {self._blob} into the cache {self._cache.directory}, and nothing of it came for "
                f"{STILL_S:.0f} s; it may be stopped: end it, or name another cache (AMBRY_CACHE_DIR)"
            )
        if not self._told and now_s - self._begun_s > TELL_S:
            self._told = True
            logging.getLogger("ambry.client").warning(
                "waits for %s, which fetches blob %s into the cache %s", self.who, self._blob, self._cache.directory
            )
