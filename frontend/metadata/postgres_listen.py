"""Hears from a metadata database that its log grew (LISTEN), while somebody waits for that."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.metadata import queries
from frontend.metadata.postgres_server import CHANNEL, FAILURES, PostgresServer
from frontend.metadata.store import LogHead
from frontend.metadata.waiting import LogWaiters

log = get_logger()

LOOK_EVERY_S = 1.0
"""How often the log is looked at all the same: a connection that is cut off does not say so."""


class PostgresListener:
    """One connection that listens, from when somebody first waited until the end; another when it is lost."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._task: asyncio.Task[None] | None = None
        self._waiters = LogWaiters(self._begin, lambda: None)
        self.note = self._waiters.note
        self.wait = self._waiters.wait

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="metadata listener")

    async def close(self) -> None:
        self._waiters.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (AmbryError, *FAILURES) as error:
                log.debug("metadata database not listened to", error=str(error))
            except Exception:
                log.exception("a bug in listening to the metadata database; it is tried again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _listen_once(self) -> None:
        connection = await self._server.connect()
        try:
            await connection.add_listener(CHANNEL, self._hear)
            while True:
                self.note(LogHead(*await connection.fetchrow(queries.HEAD)).seq)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            connection.terminate()

    def _hear(self, _connection: Any, _process: int, _channel: str, payload: str) -> None:
        if payload.isdigit():
            self.note(int(payload))
