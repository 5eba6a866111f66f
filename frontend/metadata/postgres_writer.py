"""Writes to a metadata database: all that waits in one transaction, on one connection, one transaction after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from ambry.clock import Clock
from ambry.errors import AmbryError, MetadataUnavailable, Overloaded
from ambry.service.logs import get_logger
from frontend.metadata.lane import TURN_BYTES_MAX, TURN_JOBS_MAX
from frontend.metadata.postgres_pool import PostgresPool
from frontend.metadata.postgres_server import PostgresServer
from frontend.metadata.postgres_work import carry_out
from frontend.metadata.work import WAITING_BYTES_MAX, WAITING_MAX, Sweeps, Work, failed

log = get_logger()


class _Waiting:
    """A request, and who waits for it."""

    __slots__ = ("error", "future", "result", "what")

    def __init__(self, what: Work) -> None:
        self.what = what
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class PostgresWriter:
    """`note` hears of the log's last number after each transaction."""

    def __init__(
        self, server: PostgresServer, *, datacenter: int, clock: Clock, timeout_s: float, note: Callable[[int], None]
    ) -> None:
        self._datacenter = datacenter
        self._clock = clock
        self._timeout_s = timeout_s
        self._note = note
        self._pool = PostgresPool(server, connections=1, waiting_max=1)
        self._queue: list[_Waiting] = []
        self._bytes = 0
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._sweeps = Sweeps(clock)

    @property
    def waiting(self) -> int:
        """Those whose turn has not come."""
        return len(self._queue)

    async def submit(self, work: Work) -> Any:
        """Have it done; it is durable on return. Raises Overloaded, MetadataUnavailable when that takes too long."""
        if self._closed:
            raise MetadataUnavailable("the metadata database is closed")
        size = work.size
        if len(self._queue) >= WAITING_MAX or (self._queue and self._bytes + size > WAITING_BYTES_MAX):
            raise failed(Overloaded(f"{len(self._queue)} requests wait for the metadata database already; retry later"))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="metadata writer")
        waiting = _Waiting(work)
        self._queue.append(waiting)
        self._bytes += size
        self._some.set()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiting.future
        except TimeoutError as cause:
            told = f"the metadata database did not answer within {self._timeout_s:g} s; a change may still happen"
            raise failed(MetadataUnavailable(told)) from cause

    async def close(self) -> None:
        self._closed = True
        self._some.set()
        if self._task is not None:
            await self._task
        await self._pool.close()

    async def _run(self) -> None:
        while self._queue or not self._closed:
            await self._some.wait()
            self._some.clear()
            while turn := self._next():
                await self._carry_out([waiting for waiting in turn if not waiting.future.done()])

    def _next(self) -> list[_Waiting]:
        turn: list[_Waiting] = []
        size = 0
        while self._queue and len(turn) < TURN_JOBS_MAX and size < TURN_BYTES_MAX:
            turn.append(self._queue[len(turn)])
            size += turn[-1].what.size
            if len(turn) == len(self._queue):
                break
        del self._queue[: len(turn)]
        self._bytes -= size
        return turn

    async def _carry_out(self, turn: Sequence[_Waiting]) -> None:
        if not turn:
            return
        wall_ms = self._clock.wall_ms()
        sweep = self._sweeps.due
        try:
            async with asyncio.timeout(self._timeout_s), self._pool.connection() as sql:
                seq = await carry_out(sql, turn, datacenter=self._datacenter, wall_ms=wall_ms, sweep=sweep)
        except AmbryError as error:
            for waiting in turn:
                waiting.error = type(error)(error.message)
        except TimeoutError:
            for waiting in turn:
                waiting.error = MetadataUnavailable(
                    "the metadata database did not answer in time; a change may still happen"
                )
        except Exception as error:
            # A bug is everybody's who waited; those who come go on.
            log.exception("a bug in a turn of the metadata")
            for waiting in turn:
                waiting.error = error
        else:
            if sweep:
                self._sweeps.done()
            self._note(seq)
        for waiting in turn:
            with contextlib.suppress(asyncio.InvalidStateError):  # whoever waited has gone
                if waiting.error is None:
                    waiting.future.set_result(waiting.result)
                else:
                    waiting.future.set_exception(failed(waiting.error))
