"""Connections to a metadata database: made when they are needed, given up when anything was wrong with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ambry.errors import AmbryError, Overloaded
from frontend.metadata.postgres_server import FAILURES, LOST, PostgresServer, failure


class PostgresPool:
    """At most so many at a time; who finds none waits, if not too many do."""

    def __init__(self, server: PostgresServer, *, connections: int, waiting_max: int) -> None:
        self._server = server
        self._free = asyncio.Semaphore(connections)
        self._idle: list[Any] = []
        self.waiting = 0
        """Those who have a connection, and those who wait for one."""
        self._waiting_max = waiting_max

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One of asyncpg's, for one piece of work. Raises Overloaded; what goes wrong with it as `failure` says."""
        if self.waiting >= self._waiting_max:
            raise Overloaded(f"{self.waiting} requests wait for the metadata database already; retry later")
        self.waiting += 1
        try:
            async with self._free:
                connection = await self._one()
                try:
                    yield connection
                except AmbryError:
                    raise  # first: some are an OSError too
                except FAILURES as error:
                    if isinstance(error, LOST):
                        connection.terminate()
                    raise failure(error) from error
                except BaseException:
                    # Who was cancelled may have left an answer behind in it.
                    connection.terminate()
                    raise
                finally:
                    if not connection.is_closed():
                        self._idle.append(connection)
        finally:
            self.waiting -= 1

    async def _one(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._server.connect()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(*FAILURES):
                await connection.close(timeout=1.0)
