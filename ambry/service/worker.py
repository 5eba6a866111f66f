"""The one shape of every background loop.

A worker calls its `tick` again and again. `tick` does one bounded piece of work and returns how many seconds to wait before
the next (0: at once). A tick that raises is logged, counted and retried after a growing, bounded, jittered delay; it never
ends the loop. The registry of a process shows every worker on the admin port.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from ambry.clock import Clock
from ambry.service.logs import get_logger

log = get_logger()

Tick = Callable[[], Awaitable[float]]
"""One piece of work; returns how many seconds to wait before the next."""

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 10.0


class Worker:
    """One background loop: `start` it once, `stop` it once."""

    def __init__(
        self,
        name: str,
        tick: Tick,
        *,
        clock: Clock,
        random_source: random.Random,
        start_after_s: float = 0.0,
        progress: Callable[[], dict[str, Any]] = dict,
        paused: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self.state = "new"
        self.ticks = 0
        self.errors = 0
        self.last_error = ""
        self._tick = tick
        self._clock = clock
        self._random = random_source
        self._start_after_s = start_after_s
        self._progress = progress
        self._paused = paused
        self._backoff_s = BACKOFF_MIN_S
        self._last_tick_at = clock.monotonic()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"worker:{self.name}")

    async def stop(self) -> None:
        """Cancel the loop and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.state = "stopped"

    def describe(self) -> dict[str, Any]:
        """What the admin port shows."""
        return {
            "name": self.name,
            "state": self.state,
            "ticks": self.ticks,
            "errors": self.errors,
            "last_error": self.last_error,
            "paused": self._paused(),
            "seconds_since_tick": round(self._clock.monotonic() - self._last_tick_at, 3),
            "progress": self._progress(),
        }

    async def _run(self) -> None:
        if self._start_after_s > 0:
            # Not all at the same time, neither here nor on the nodes that were started together with this one.
            self.state = "waiting to begin"
            await self._wait(self._start_after_s * (0.5 + self._random.random()))
        while True:
            self.state = "running"
            try:
                wait_s = await self._tick()
                self._backoff_s = BACKOFF_MIN_S
                self.state = "idle"
            except Exception as error:
                # A loop that dies silently is the worst of all faults: note it, wait, go on.
                wait_s = self._note_failure(error)
            self.ticks += 1
            self._last_tick_at = self._clock.monotonic()
            if wait_s > 0:
                await self._wait(wait_s)
            else:
                await asyncio.sleep(0)

    def _note_failure(self, error: Exception) -> float:
        self.errors += 1
        self.last_error = f"{type(error).__name__}: {error}"
        self.state = "backing off"
        wait_s = self._backoff_s * (0.5 + self._random.random())
        self._backoff_s = min(BACKOFF_MAX_S, self._backoff_s * 2)
        log.warning("worker tick failed", worker=self.name, error=self.last_error, retry_in_s=round(wait_s, 3))
        return wait_s

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class WorkerRegistry:
    """All workers of a process, by name."""

    def __init__(self, *, clock: Clock, random_source: random.Random) -> None:
        self._clock = clock
        self._random = random_source
        self._workers: dict[str, Worker] = {}

    def add(
        self,
        name: str,
        tick: Tick,
        *,
        start_after_s: float = 0.0,
        progress: Callable[[], dict[str, Any]] = dict,
        paused: Callable[[], str] = str,
    ) -> Worker:
        """Make and start a worker; its first tick comes `start_after_s` later, give or take half of that.

        `progress` says for the admin port what a long tick is at and how far it is; empty between ticks. `paused` says why its
        ticks do less than they should now, if they do.
        """
        worker = Worker(
            name,
            tick,
            clock=self._clock,
            random_source=self._random,
            start_after_s=start_after_s,
            progress=progress,
            paused=paused,
        )
        self._workers[name] = worker
        worker.start()
        return worker

    async def stop_all(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))

    def describe(self) -> list[dict[str, Any]]:
        return [worker.describe() for _, worker in sorted(self._workers.items())]
