"""Notices that the log of a metadata file grew, be it by another process, while somebody waits for that.

SQLite tells nobody. But a connection can ask, without reading the file, whether others have changed it since it last asked
(PRAGMA data_version). A thread does so often, and sleeps when nobody waits.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import suppress

from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.metadata.sqlite_file import HeldConnection, SqliteFile, head_of

log = get_logger()

WATCH_EVERY_S = 0.01
WATCH_AGAIN_S = 1.0
"""After the file could not be looked at."""


class Watch:
    """Everything but the thread is on the event loop."""

    def __init__(self, file: SqliteFile) -> None:
        self._held = HeldConnection(file)
        self._seq = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, seq: int) -> None:
        """The log has so much."""
        if seq == self._seq:
            return
        self._seq = seq
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, after_seq: int, timeout_s: float) -> int:
        """As MetadataStore.wait."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while self._seq <= after_seq and not self._closed.is_set() and (left_s := end - loop.time()) > 0:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.add(waiter)
            self._look_after(loop)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await waiter
            finally:
                self._waiting.discard(waiter)
                if not self._waiting:
                    self._wanted.clear()
        return self._seq

    def _look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, args=(loop,), name="metadata_watch", daemon=True)
            self._thread.start()
        self._wanted.set()

    async def close(self) -> None:
        self._closed.set()
        self._wanted.set()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    # --- on the thread ---

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        known: int | None = None
        while True:
            self._wanted.wait()
            if self._closed.is_set():
                break
            pause_s = WATCH_EVERY_S
            try:
                sql = self._held.get().sql
                (version,) = sql.execute("PRAGMA data_version").fetchone()
                if version != known or known is None:
                    seq = head_of(sql).seq
                    known = version
                    loop.call_soon_threadsafe(self.note, seq)
            except (sqlite3.Error, AmbryError) as error:
                log.debug("metadata file not watched", error=str(self._held.explain(error)))
                known = None
                pause_s = WATCH_AGAIN_S
            except RuntimeError:
                break  # the loop has ended
            self._closed.wait(pause_s)
        self._held.close()
