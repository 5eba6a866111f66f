"""The opening of all replicas of a node at its start: some at a time, and those first that somebody asks for.

Each has its turn in the order of the layout. A request for one that still waits is answered that it is opening, and brings it
to the front: what is used serves first. One that this process lacks descriptors, memory or threads for waits without a turn,
and is tried again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from ambry.clustermap.model import Partition
from ambry.errors import AmbryError
from datanode.store.opening.progress import Progress

RETRY_MIN_S = 0.2
RETRY_MAX_S = 10.0
"""Between two tries to open a replica that this process had no descriptors or memory for."""

Attempt = Callable[[Partition, Progress], Awaitable[bool]]
"""Tries to open a replica once; whether that is the end of it. Raises what this process cannot go on with."""


class Openings:
    """Those of one start, `at_once` at a time."""

    def __init__(self, attempt: Attempt, *, at_once: int, random_source: random.Random) -> None:
        self._attempt = attempt
        self._free = at_once
        self._random = random_source
        self._progress: dict[int, Progress] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._asked: dict[int, None] = {}
        """Those of which somebody wanted something, in the order in which it was first asked."""
        self.stopped = False

    @property
    def progress(self) -> Mapping[int, Progress]:
        """By partition: those that are not open yet."""
        return self._progress

    def expect(self, partitions: Iterable[Partition]) -> None:
        """Say of these that they are opening; `run` follows."""
        self._progress = {partition.id: Progress() for partition in partitions}

    async def run(self, partitions: Iterable[Partition]) -> None:
        """Open those that are expected. Raises the first failure, when no other is on its way any more."""
        results = await asyncio.gather(*map(self._open_in_turn, partitions), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def ask_for(self, partition: int) -> None:
        """Somebody wants something of one that is not open yet."""
        self._asked[partition] = None

    def stop(self) -> None:
        """Open no more, and let what is being opened end at its next step or record."""
        self.stopped = True
        for progress in self._progress.values():
            progress.stop()

    async def _open_in_turn(self, partition: Partition) -> None:
        wait_s = RETRY_MIN_S
        progress = self._progress[partition.id]
        try:
            while not self.stopped:
                async with self._turn(partition.id):
                    if self.stopped or await self._attempt(partition, progress):
                        return
                await asyncio.sleep(wait_s * (0.5 + self._random.random()))
                wait_s = min(RETRY_MAX_S, 2 * wait_s)
        except AmbryError:
            self.stop()  # this process must not go on: what the others read would be for nothing
            raise
        finally:
            del self._progress[partition.id]
            self._asked.pop(partition.id, None)

    @asynccontextmanager
    async def _turn(self, partition: int) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            turn = self._waiting[partition] = asyncio.get_running_loop().create_future()
            try:
                await turn
            except asyncio.CancelledError:
                self._waiting.pop(partition, None)
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """A turn is over: the next one that waits has it."""
        while self._waiting:
            first = next(iter(self._waiting))
            turn = self._waiting.pop(next((number for number in self._asked if number in self._waiting), first))
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
