"""Notices that the log of a metadata file grew, be it by another process, while somebody waits for that.

SQLite tells nobody. But a connection can ask, without reading the file, whether others have changed it since it last asked
(PRAGMA data_version). A thread does so often, and sleeps when nobody waits.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading

from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.metadata.lane import ended
from frontend.metadata.sqlite_file import HeldConnection, SqliteFile, head_of
from frontend.metadata.waiting import LogWaiters

log = get_logger()

WATCH_EVERY_S = 0.01
WATCH_AGAIN_S = 1.0
"""After the file could not be looked at."""


class Watch:
    """Everything but the thread is on the event loop."""

    def __init__(self, file: SqliteFile, *, end_timeout_s: float) -> None:
        """`end_timeout_s`: how long `close` waits for the thread."""
        self._held = HeldConnection(file)
        self._end_timeout_s = end_timeout_s
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiters = LogWaiters(self._begin, self._wanted.clear)
        self.note = self._waiters.note
        self.wait = self._waiters.wait

    def _begin(self) -> None:
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._watch, args=(loop,), name="metadata_watch", daemon=True)
            self._thread.start()
        self._wanted.set()

    async def close(self) -> None:
        self._closed.set()
        self._wanted.set()
        self._waiters.close()
        if self._thread is not None:
            await ended(self._thread, self._end_timeout_s)

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
