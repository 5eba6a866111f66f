"""The metadata store in a SQLite file, which all frontends of a datacenter on one machine share. Nothing has to be installed.

Three threads of this process use it, each with a connection of its own: one writes all that waits in one transaction, one
looks up what single requests need, one reads pages; none waits for another. Processes take turns at writing by SQLite's
own lock. What another process wrote is noticed within WATCH_EVERY_S while somebody waits for it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.metadata import sqlite_reads as reads
from frontend.metadata.checks import check_delimiter, check_group, check_key, check_limit, check_merge
from frontend.metadata.lane import Lane, LaneBounds, LaneJob
from frontend.metadata.plan import LocalKey, RegisterKey, ended
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.sqlite_file import HeldConnection, SqliteConnection, SqliteFile, head_of
from frontend.metadata.sqlite_known import KnownVersions
from frontend.metadata.sqlite_watch import Watch
from frontend.metadata.sqlite_writes import carry_out
from frontend.metadata.store import (
    PAGE_MAX,
    Change,
    CommonPrefix,
    LocalPut,
    LocalRow,
    LogCursor,
    LogHead,
    LogPage,
    Query,
    Version,
)
from frontend.metadata.turn import WriteTurn
from frontend.metadata.work import WAITING_BYTES_MAX, WAITING_MAX, Group, Merge, Sweeps, Work

log = get_logger()

T = TypeVar("T")
Look = Callable[[sqlite3.Connection], Any]

CHECKPOINT_TURNS = 200
CHECKPOINT_ROWS = 2_000
CHECKPOINT_BYTES = 4 << 20
"""Transactions, rows or bytes after which what lies in the WAL is written to the file: some 4 MiB."""


class SqliteStore:
    """A MetadataStore in a file. `timeout_s` is how long anybody waits for it."""

    def __init__(self, file: SqliteFile, *, datacenter: int, clock: Clock, timeout_s: float) -> None:
        self._file = file
        self._clock = clock
        self._datacenter = datacenter
        self._writing, looking, paging = HeldConnection(file), HeldConnection(file), HeldConnection(file)
        self._turn = WriteTurn(file.path)
        self._sweeps = Sweeps(clock)
        self._turns = self._bytes = self._rows = 0
        """Transactions and bytes since the WAL was last brought into the file, and the rows that had been written by then."""
        self._erased = False
        """Whether something was erased that may still stand in the WAL."""
        bounds = LaneBounds(timeout_s=timeout_s, waiting=WAITING_MAX, waiting_bytes=WAITING_BYTES_MAX)
        of = str(file)
        self._writes: Lane[Work] = Lane(
            "metadata_writes", self._write_all, of, bounds, behind=self._checkpoint, at_end=self._end_writing
        )
        self._looks: Lane[Look] = Lane("metadata_looks", partial(_look_all, looking), of, bounds, at_end=looking.close)
        self._pages: Lane[Look] = Lane("metadata_pages", partial(_look_all, paging), of, bounds, at_end=paging.close)
        self._watch = Watch(file, end_timeout_s=timeout_s)
        self._known = KnownVersions(
            looking, lambda since: self._looks.submit(lambda sql: reads.changed_since(sql, since))
        )

    @property
    def datacenter(self) -> int:
        return self._datacenter

    @property
    def waiting(self) -> int:
        return self._writes.waiting + self._looks.waiting + self._pages.waiting

    async def reach(self) -> None:
        await self._looks.submit(head_of)

    async def close(self) -> None:
        await asyncio.gather(self._watch.close(), self._looks.close(), self._pages.close())
        # The last connection brings the WAL into the file and takes it away. Of two that end at once neither is the last.
        await self._writes.close()

    # --- changes ---

    async def write(self, group: Sequence[Change]) -> list[Version]:
        return await self.begin_write(group)

    def begin_write(self, group: Sequence[Change]) -> asyncio.Future[list[Version]]:
        check_group(group)
        work = Group(group)
        return self._writes.submit(work, work.size)

    async def merge(self, versions: Sequence[Version], *, along: Sequence[LocalPut] = ()) -> int:
        check_merge(versions)
        check_group(along)
        work = Merge(versions, along)
        new: int = await self._writes.submit(work, work.size)
        return new

    def _write_all(self, jobs: Sequence[LaneJob[Work]]) -> None:
        """On the thread that writes."""
        if not jobs:
            return
        wall_ms = self._clock.wall_ms()
        sweep = self._sweeps.due
        try:
            connection = self._writing.get()
            with self._turn.taken():
                done = carry_out(connection.sql, jobs, datacenter=self._datacenter, wall_ms=wall_ms, sweep=sweep)
        except (sqlite3.Error, AmbryError, OSError) as error:
            for job in jobs:
                job.error = self._writing.explain(error)
            return
        if sweep:
            self._sweeps.done()
        self._turns += 1
        self._bytes += sum(job.size for job in jobs)
        if done.erased:
            # Whoever is answered relies on it.
            self._empty_wal(connection)
        jobs[0].loop.call_soon_threadsafe(self._watch.note, done.seq)

    def _end_writing(self) -> None:
        self._writing.close()
        self._turn.close()

    def _checkpoint(self) -> None:
        """On the thread that writes, behind the answers: what lies in the WAL goes to its place in the file."""
        connection = self._writing.connection
        if connection is None:
            return
        if self._erased:
            self._empty_wal(connection)
        rows = connection.sql.total_changes
        if self._turns < CHECKPOINT_TURNS and self._bytes < CHECKPOINT_BYTES and rows - self._rows < CHECKPOINT_ROWS:
            return
        self._turns, self._bytes, self._rows = 0, 0, rows
        try:
            connection.sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            log.warning("metadata file not checkpointed", error=str(self._writing.explain(error)))

    def _empty_wal(self, connection: SqliteConnection) -> None:
        """Nothing of what was erased is left in the WAL; tried again behind the next turn while others read from it."""
        self._erased = True
        try:
            busy, *_ = connection.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            log.warning("metadata file not checkpointed", error=str(self._writing.explain(error)))
            return
        self._erased = bool(busy)

    # --- looks ---

    async def get(self, space: Space, scope: int, key: bytes) -> Version | None:
        check_key(key)
        place = RegisterKey(space, scope, key)
        known = self._known.find(place)
        if known is not None:
            return known
        moment = self._known.before_read()
        found: Version | None = await self._looks.submit(lambda sql: reads.newest(sql, place))
        self._known.keep(place, found, moment)
        return found

    def known(self, space: Space, scope: int, key: bytes) -> Version | None:
        return self._known.find(RegisterKey(space, scope, key))

    async def get_many(self, space: Space, scope: int, keys: Sequence[bytes]) -> list[Version | None]:
        if not keys:
            return []
        check_limit(len(keys))
        for key in keys:
            check_key(key)
        places = [RegisterKey(space, scope, key) for key in keys]
        found: list[Version | None] = await self._looks.submit(
            lambda sql: [reads.newest(sql, place) for place in places]
        )
        return found

    async def local(self, space: LocalSpace, key: bytes) -> LocalRow | None:
        check_key(key)
        place = LocalKey(space, key)
        row: LocalRow | None = await self._looks.submit(lambda sql: reads.local(sql, place))
        return None if row is None or ended(row, self._clock.wall_ms()) else row

    async def head(self) -> LogHead:
        head: LogHead = await self._looks.submit(head_of)
        self._watch.note(head.seq)
        return head

    async def wait(self, after_seq: int, timeout_s: float) -> int:
        return await self._watch.wait(after_seq, timeout_s)

    # --- pages ---

    async def history(
        self, space: Space, scope: int, key: bytes, *, before: Version | None = None, limit: int = PAGE_MAX
    ) -> list[Version]:
        check_key(key)
        check_limit(limit)
        place = RegisterKey(space, scope, key)
        found: list[Version] = await self._pages.submit(lambda sql: reads.history(sql, place, before, limit))
        return found

    async def prefixes(
        self,
        space: Space,
        scope: int,
        *,
        prefix: bytes = b"",
        delimiter: bytes,
        after: bytes | None = None,
        limit: int = PAGE_MAX,
    ) -> list[Version | CommonPrefix]:
        check_limit(limit)
        check_delimiter(delimiter)
        look = partial(
            reads.prefixes, space=space, scope=scope, prefix=prefix, delimiter=delimiter, after=after, limit=limit
        )
        found: list[Version | CommonPrefix] = await self._pages.submit(look)
        return found

    async def log(self, since: LogCursor | None = None, *, limit: int = PAGE_MAX) -> LogPage:
        check_limit(limit)
        page: LogPage = await self._pages.submit(lambda sql: reads.log_page(sql, since, limit))
        return page

    async def locals(
        self, space: LocalSpace, *, prefix: bytes = b"", after: bytes | None = None, limit: int = PAGE_MAX
    ) -> list[LocalRow]:
        check_limit(limit)
        look = partial(
            reads.locals_of, space=space, prefix=prefix, after=after, wall_ms=self._clock.wall_ms(), limit=limit
        )
        found: list[LocalRow] = await self._pages.submit(look)
        return found

    async def rows(self, query: Query) -> list[Any]:
        """Rows of the tables as they are; for an operator's look at all of them."""
        found: list[Any] = await self._pages.submit(lambda sql: sql.execute(*query).fetchall())
        return found

    # The last: behind it `list` means this.
    async def list(
        self,
        space: Space,
        scope: int,
        *,
        prefix: bytes = b"",
        after: bytes | None = None,
        descending: bool = False,
        limit: int = PAGE_MAX,
    ) -> list[Version]:
        check_limit(limit)
        look = partial(
            reads.living, space=space, scope=scope, prefix=prefix, after=after, descending=descending, limit=limit
        )
        found: list[Version] = await self._pages.submit(look)
        return found


def _look_all(held: HeldConnection, jobs: Sequence[LaneJob[Look]]) -> None:
    """On a thread that reads."""
    for job in jobs:
        try:
            job.result = job.what(held.get().sql)
        except (sqlite3.Error, AmbryError) as error:
            job.error = held.explain(error)
