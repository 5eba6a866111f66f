"""The metadata store in a PostgreSQL database, for frontends on several machines. Needs the extra `ambry[postgres]`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ambry.clock import Clock
from ambry.errors import AmbryError, MetadataUnavailable
from frontend.metadata import postgres_work as work
from frontend.metadata import queries
from frontend.metadata.checks import check_delimiter, check_group, check_key, check_limit, check_merge
from frontend.metadata.plan import RegisterKey, ended
from frontend.metadata.postgres_listen import PostgresListener
from frontend.metadata.postgres_looks import Found, PostgresLooks
from frontend.metadata.postgres_pool import PostgresPool
from frontend.metadata.postgres_server import PostgresServer
from frontend.metadata.postgres_writer import PostgresWriter
from frontend.metadata.rows import local_of, signed, version_of
from frontend.metadata.spaces import LocalSpace, Space
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
from frontend.metadata.work import WAITING_MAX, Group, Merge, failed

T = TypeVar("T")

TRIES = 2
"""Of a look: connections that lay idle while the server was restarted are noticed when they are used."""


class PostgresStore:
    """A MetadataStore in a database. `timeout_s` is how long anybody waits for it, `connections` how many read at a time."""

    def __init__(
        self, server: PostgresServer, *, datacenter: int, clock: Clock, timeout_s: float, connections: int
    ) -> None:
        self._clock = clock
        self._datacenter = datacenter
        self._timeout_s = timeout_s
        self._pool = PostgresPool(server, connections=connections, waiting_max=WAITING_MAX)
        self._looks = PostgresLooks(self._newest_of)
        self._listener = PostgresListener(server)
        self._writer = PostgresWriter(
            server, datacenter=datacenter, clock=clock, timeout_s=timeout_s, note=self._listener.note
        )

    @property
    def datacenter(self) -> int:
        return self._datacenter

    @property
    def waiting(self) -> int:
        return self._pool.waiting + self._writer.waiting

    async def reach(self) -> None:
        await self.head()

    async def close(self) -> None:
        await self._writer.close()
        await self._looks.close()
        await asyncio.gather(self._listener.close(), self._pool.close())

    async def write(self, group: Sequence[Change]) -> list[Version]:
        check_group(group)
        made: list[Version] = await self._writer.submit(Group(group))
        return made

    def begin_write(self, group: Sequence[Change]) -> asyncio.Future[list[Version]]:
        return asyncio.ensure_future(self.write(group))

    async def merge(self, versions: Sequence[Version], *, along: Sequence[LocalPut] = ()) -> int:
        check_merge(versions)
        check_group(along)
        new: int = await self._writer.submit(Merge(versions, along))
        return new

    async def _look(self, look: Callable[[Any], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                for _ in range(TRIES - 1):
                    try:
                        async with self._pool.connection() as sql:
                            return await look(sql)
                    except MetadataUnavailable:
                        pass
                async with self._pool.connection() as sql:
                    return await look(sql)
        except TimeoutError as cause:
            told = f"the metadata database did not answer within {self._timeout_s:g} s; retry later"
            raise failed(MetadataUnavailable(told)) from cause
        except AmbryError as error:
            failed(error)
            raise

    async def get(self, space: Space, scope: int, key: bytes) -> Version | None:
        (version,) = await self.get_many(space, scope, [key])
        return version

    def known(self, space: Space, scope: int, key: bytes) -> Version | None:
        return None  # whoever else wrote tells us, but not before it is acknowledged

    async def get_many(self, space: Space, scope: int, keys: Sequence[bytes]) -> list[Version | None]:
        if not keys:
            return []
        check_limit(len(keys))
        for key in keys:
            check_key(key)
        places = [RegisterKey(space, scope, key) for key in keys]
        return await self._looks.newest(places)

    async def _newest_of(self, places: Sequence[RegisterKey]) -> Found:
        return await self._look(lambda sql: work.newest_of(sql, places))

    async def local(self, space: LocalSpace, key: bytes) -> LocalRow | None:
        check_key(key)
        query = Query(queries.LOCAL, (int(space), key))
        rows = await self._look(lambda sql: work.fetch(sql, query))
        row = local_of(rows[0]) if rows else None
        return None if row is None or ended(row, self._clock.wall_ms()) else row

    async def head(self) -> LogHead:
        head = LogHead(*await self._look(lambda sql: sql.fetchrow(queries.HEAD)))
        self._listener.note(head.seq)
        return head

    async def wait(self, after_seq: int, timeout_s: float) -> int:
        return await self._listener.wait(after_seq, timeout_s)

    async def history(
        self, space: Space, scope: int, key: bytes, *, before: Version | None = None, limit: int = PAGE_MAX
    ) -> list[Version]:
        check_key(key)
        check_limit(limit)
        place = RegisterKey(space, scope, key)
        return await self._look(lambda sql: work.history(sql, place, before, limit))

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
        return await self._look(
            lambda sql: work.prefixes(sql, space, scope, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        )

    async def log(self, since: LogCursor | None = None, *, limit: int = PAGE_MAX) -> LogPage:
        check_limit(limit)
        return await self._look(lambda sql: work.log_page(sql, since, limit))

    async def locals(
        self, space: LocalSpace, *, prefix: bytes = b"", after: bytes | None = None, limit: int = PAGE_MAX
    ) -> list[LocalRow]:
        check_limit(limit)
        query = queries.local_rows(space, prefix, after, wall_ms=self._clock.wall_ms(), limit=limit)
        return list(map(local_of, await self._look(lambda sql: work.fetch(sql, query))))

    async def rows(self, query: Query) -> list[Any]:
        """Rows of the tables as they are; for an operator's look at all of them."""
        return await self._look(lambda sql: work.fetch(sql, query))

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
        query = queries.living(space, signed(scope), prefix, after, descending=descending, limit=limit)
        return [version_of(row) for row in await self._look(lambda sql: work.fetch(sql, query))]
