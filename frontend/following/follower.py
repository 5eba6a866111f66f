"""Follows the metadata log of another datacenter: page by page, each joined to the own store together with how far that is.

One frontend of a datacenter follows each of the others, by a lease; two do no harm, since a version that is known is not
recorded again and a cursor that goes back only has known ones come again. So does whoever dies between a page and its cursor.
All versions are taken, whatever datacenter made them: a store that was put back from a backup gets its own lost ones again,
and two datacenters that cannot reach each other hear of each other by a third. One that no store can hold is told of and passed
over: it would hold up all behind it for good.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.protocol.messages.metadata import TRAIL_MAX
from ambry.service.logs import get_logger
from frontend.following.remote import MetadataSource, RemotePage
from frontend.following.wire import ReadUpTo, cursor_key, progress_value, read_progress
from frontend.metadata.checks import mergeable
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalPut, LogCursor, MetadataStore
from frontend.metadata.unreadable import readable

log = get_logger()

POLL_S = 2.5
"""How long a page waits for something to be in it."""
LEASE_S = 6.0
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0
"""Between attempts while nobody answers; peers that come back are connected within 0.3 s."""
NOTE_EVERY_S = 10.0
"""How seldom the cursor is written where nothing but what we told ourselves came back."""


class DatacenterFollower:
    """Of one other datacenter; `tick` takes one page."""

    def __init__(
        self,
        store: MetadataStore,
        source: MetadataSource,
        leases: Leases,
        *,
        clock: Clock,
        random_source: random.Random,
    ) -> None:
        self.name = f"follow_{source.name}"
        """Of its worker."""
        self.source = source
        self._store = store
        self._leases = leases
        self._lease = f"follow {source.number}"
        self._key = cursor_key(source.number)
        self._clock = clock
        self._random = random_source
        self.leading = False
        """Whether this process follows it now; only read it, as what comes below."""
        self.merged = 0
        """Versions that were new here."""
        self.behind_versions: int | None = None
        """None: it has not been heard of since this process follows it."""
        self.error = ""
        """Why it cannot be followed now; empty where it can."""
        self._cursor: LogCursor | None = None
        self._trail: deque[LogCursor] = deque(maxlen=TRAIL_MAX)
        """The places before it."""
        self._doubts = True
        """Whether what is followed may be another log by now: it was not heard of for a while."""
        self._renew_at = self._noted_at = 0.0
        self._pause_s = PAUSE_MIN_S
        self._since = self._heard_at = clock.monotonic()
        """When nothing was missing here the last time, and when it was heard of."""

    async def tick(self) -> float:
        """One page, if it is ours to follow it. Raises MetadataUnavailable and the like of the own store."""
        if not await self._lead():
            return LEASE_S / 3 * (0.5 + self._random.random())
        try:
            trail = tuple(self._trail) if self._doubts else ()
            page = await self.source.page(self._cursor, wait_s=POLL_S, trail=trail)
        except AmbryError as error:
            return self._note_failure(error)
        await self._take(page)
        self._note_heard(page)
        return 0.0

    async def stop(self) -> None:
        """Let another frontend follow at once, if the store can be told."""
        if self.leading:
            self.leading = False
            await self._leases.release(self._lease)

    async def _lead(self) -> bool:
        now = self._clock.monotonic()
        if self.leading and now < self._renew_at:
            return True
        led, self.leading = self.leading, False
        if not await self._leases.hold(self._lease, LEASE_S):
            # Whoever follows now knows better.
            self.behind_versions, self.error = None, ""
            return False
        if not led:
            row = await self._store.local(LocalSpace.CURSOR, self._key)
            progress = None if row is None else read_progress(row.value)
            self._cursor = None if progress is None else progress.cursor
            self._trail.clear()
            self._trail.extend(() if progress is None else progress.trail)
            self._doubts = True
            self._since = now
            log.info("follows a datacenter's metadata", datacenter=self.source.name)
        self._renew_at = now + LEASE_S / 2
        self.leading = True
        return True

    async def _take(self, found: RemotePage) -> None:
        """Join a page, and note how far that is; durable on return."""
        page = found.page
        if page.started_over:
            log.warning("another datacenter's metadata is read from its beginning", datacenter=self.source.name)
            self._trail.clear()
        if page.versions and page.cursor is not None:
            store = page.cursor.store
            self._trail.extend(LogCursor(store, each.seq, each.stamp) for each in page.versions[-TRAIL_MAX:])
            now = self._clock.monotonic()
            along = []
            foreign = any(version.stamp.datacenter != self._store.datacenter for version in page.versions)
            if foreign or now - self._noted_at >= NOTE_EVERY_S:
                progress = ReadUpTo(page.cursor, tuple(self._trail))
                along = [LocalPut(LocalSpace.CURSOR, self._key, progress_value(progress))]
                self._noted_at = now
            self.merged += await self._store.merge(readable(self.name, page.versions, mergeable), along=along)
        self._cursor = page.cursor

    def _note_heard(self, found: RemotePage) -> None:
        if self.error:
            log.info("another datacenter's metadata is followed again", datacenter=self.source.name)
        self.error = ""
        self._doubts = False
        self._pause_s = PAUSE_MIN_S
        self._heard_at = self._clock.monotonic()
        reached = 0 if self._cursor is None else self._cursor.seq
        self.behind_versions = max(0, found.end_seq - reached)
        if not self.behind_versions:
            self._since = self._heard_at

    def _note_failure(self, error: AmbryError) -> float:
        if not self.error:
            log.warning(
                "another datacenter's metadata cannot be followed", datacenter=self.source.name, error=error.message
            )
        self._doubts = True
        self.error = error.message or type(error).__name__
        pause_s, self._pause_s = self._pause_s, min(PAUSE_MAX_S, 2 * self._pause_s)
        return pause_s * (0.5 + self._random.random())

    # --- how far behind ---

    def behind_s(self) -> float | None:
        """Seconds since nothing was missing here, as far as it is known; None where another process follows."""
        if not self.leading:
            return None
        now = self._clock.monotonic()
        if self.behind_versions == 0 and now - self._heard_at < 2 * POLL_S:
            return 0.0
        return now - self._since

    def describe(self) -> dict[str, Any]:
        """For the admin port."""
        behind_s = self.behind_s()
        return {
            "datacenter": self.source.name,
            "follows": self.leading,
            "behind_versions": self.behind_versions,
            "behind_s": None if behind_s is None else round(behind_s, 3),
            "heard_s": round(self._clock.monotonic() - self._heard_at, 3) if self.leading else None,
            "seq": None if self._cursor is None or not self.leading else self._cursor.seq,
            "merged": self.merged,
            "error": self.error,
        }
