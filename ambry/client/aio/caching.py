"""Blobs that are kept on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ambry.client.aio.downloads import AsyncDownloads
from ambry.client.aio.waiting import blocking
from ambry.client.model import BlobInfo, Progress, StrPath, Timeout, TransferConfig, check_type
from ambry.client.refs import NameRef, Ref, VersionRef, found_as, subject_of
from ambry.errors import InvalidRequest, Offline, RequestTimeout
from ambry.home import user_cache
from ambry.ids import BlobId
from ambry.shown_urls import shown_place

if TYPE_CHECKING:
    from ambry.client.cache import Arrival, BlobCache

LOOK_AGAIN_S = (0.005, 0.25)
"""How soon, and at the latest, one who waits for another one's download looks whether it is there."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class AsyncCaching(AsyncDownloads):
    """The call that keeps what it reads."""

    async def cached_path(
        self,
        ref: Ref,
        *,
        cache_dir: StrPath | None = None,
        verify: bool = False,
        sha256: str | None = None,
        progress: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> Path:
        """A file with the bytes of a blob, which may be read, mapped and handed to others, and never written.

        It stays on this machine until its room is needed (`CacheConfig`), for all processes of the user, and what is here is
        not asked for again: of an id there is no request then, of a name one small one that says which blob it is. One process
        fetches what several want; what it had when it was killed is gone on with.

        Bytes enter that were read back from the disk and have the blob's digest; with `verify` they are read once more, and
        fetched again if they changed. With `sha256` (hexadecimal) it is a file of that SHA-256 or ChecksumMismatch, which costs
        one more pass over it the first time alone. Blobs that are deleted meanwhile stay until they have to go. While the
        client is offline a name is what it was when it was last looked up here.

        A file that is open or mapped stays readable when its entry goes; a path that nobody opened yet may be gone.
        Raises Offline for what is not here and may not be fetched, TooLarge for what the cache could never hold.

        >>> path = await client.cached_path(blob)
        >>> path.read_bytes()
        b'hello world'
        """
        timeout = self._whole(timeout)
        cache = self._cache_in(cache_dir)
        wanted = _checked_sha256(sha256)
        blob, info = await self._meant(cache, ref, timeout)
        found_by = blob if info is None else found_as(info)
        if (found := await blocking(cache.find, blob, verify=verify, sha256=wanted)) is not None:
            return found
        if self._cache.offline:
            raise Offline(
                f"{shown_place(ref)} is not in the cache {cache.directory}, and this client is offline: unset "
                "AMBRY_OFFLINE to fetch it"
            )
        arrival = await self._turn(cache, blob, wanted, timeout)
        if isinstance(arrival, Path):
            return arrival
        try:
            if info is None:
                info = await self.head(blob, timeout=timeout)
            await blocking(cache.make_room, blob, info.size)
            await self.get_file(
                found_by, arrival.target, overwrite=True, progress=progress, transfer=transfer, timeout=timeout
            )
            return await blocking(arrival.admit, info.checksum, info.etag, wanted)
        finally:
            arrival.release()

    def _cache_in(self, directory: StrPath | None) -> BlobCache:
        """The cache of blobs on this machine, in `directory` if that is given."""
        from ambry.client.cache import BlobCache

        found = directory or self._cache.directory or user_cache(os.environ)
        return BlobCache(found, max_bytes=self._cache.max_bytes, clock=self._clock)

    def _known_as(self, place: NameRef | VersionRef) -> str:
        """What a place is remembered by: other clusters have the same names."""
        return f"{','.join(sorted(self.endpoints))} {place.account}/{place.container}: {subject_of(place)}"

    async def _meant(self, cache: BlobCache, ref: Ref, timeout: Timeout | None) -> tuple[BlobId, BlobInfo | None]:
        """The blob that a caller means, and what is known of it."""
        place = self._place(ref)
        if isinstance(place, BlobId):
            return place, None
        if not self._cache.offline:
            info = await self._head(place, timeout)
            await blocking(cache.names.remember, self._known_as(place), info.id)
            return info.id, info
        remembered = await blocking(cache.names.recall, self._known_as(place))
        if remembered is None:
            raise Offline(
                f"which blob {shown_place(ref)} is was never looked up with the cache {cache.directory}, and this client is "
                "offline: unset AMBRY_OFFLINE to ask"
            )
        return remembered, None

    async def _turn(self, cache: BlobCache, blob: BlobId, sha256: str, timeout: Timeout | None) -> Arrival | Path:
        """The right to fetch a blob, or its file when another one has fetched it."""
        from ambry.client.cache_waiting import FetchWatch

        deadline = self._due(timeout)
        watch = FetchWatch(cache, blob, self._clock)
        wait_s, longest_s = LOOK_AGAIN_S
        while True:
            arrival = await blocking(cache.claim, blob)
            try:
                if (found := await blocking(cache.find, blob, sha256=sha256)) is not None:
                    return found
                if arrival is not None:
                    taken, arrival = arrival, None
                    return taken
            finally:
                if arrival is not None:
                    arrival.release()
            if deadline is not None and self._clock.monotonic() >= deadline:
                raise RequestTimeout(f"{watch.who} is still fetching blob {blob} into the cache {cache.directory}")
            await blocking(watch.look)
            await self._sleep(wait_s)
            wait_s = min(2 * wait_s, longest_s)


def _checked_sha256(sha256: str | None) -> str:
    """Lower case; empty where none is asked for. Raises InvalidRequest."""
    if sha256 is None:
        return ""
    check_type("sha256", sha256, str, "64 hexadecimal digits")
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequest(f"sha256 is 64 hexadecimal digits, not {sha256[:80]!r}")
    return sha256.lower()
