"""One thread beside the event loop that does what waits for it, all that is there at a time.

What comes while it is at work is done together in its next turn: that is how writes of many requests come to share one
transaction. A thread in a call that does not return cannot be ended, so the loop looks after what waits for it: in time each
gets an answer, and until the thread comes back nobody begins to wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from ambry.errors import MetadataUnavailable, Overloaded
from ambry.service.logs import get_logger
from frontend.metadata.work import failed

log = get_logger()

W = TypeVar("W")

TURN_JOBS_MAX = 512
TURN_BYTES_MAX = 8 << 20


async def ended(thread: threading.Thread, timeout_s: float) -> None:
    """Wait for a thread that was told to end, for `timeout_s` at most."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while thread.is_alive() and loop.time() < end:  # noqa: ASYNC110  a thread tells nobody that it ended
        await asyncio.sleep(0.002)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneBounds:
    """Of what may wait for a lane: how long, and how many jobs of how many bytes."""

    timeout_s: float
    waiting: int
    waiting_bytes: int


class LaneJob(Generic[W]):
    """Something that is asked of a lane, and what came of it. The thread sets `result` or `error`, nobody else."""

    __slots__ = ("due", "error", "future", "loop", "result", "size", "what")

    def __init__(self, what: W, size: int, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.what = what
        self.size = size
        self.loop = loop
        self.due = due
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    @property
    def given_up(self) -> bool:
        """Nobody waits for it any more."""
        return self.future.done()


class Lane(Generic[W]):
    """`run` is called on the thread, with one turn's jobs. The thread begins with the first job and is a daemon.

    `of` names what it works on, for messages. Everything here is called on the event loop.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[LaneJob[W]]], None],
        of: str,
        bounds: LaneBounds,
        *,
        behind: Callable[[], None] = lambda: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`behind` is called on the thread after each turn, when its jobs have their answers, `at_end` when it ends."""
        self._name = name
        self._run = run
        self._of = of
        self._bounds = bounds
        self._behind = behind
        self._at_end = at_end
        self._queue: SimpleQueue[LaneJob[W] | None] = SimpleQueue()
        self._outstanding: dict[LaneJob[W], None] = {}
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._late = False
        """Something waited too long, and the thread has not come back since."""
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._outstanding)

    @property
    def held(self) -> bool:
        """Whether the thread has not come back for longer than anybody waits."""
        return self._late

    def submit(self, what: W, size: int = 0) -> asyncio.Future[Any]:
        """Have it done. The future fails with MetadataUnavailable when that takes too long; it may be done all the same."""
        if self._closed:
            raise MetadataUnavailable(f"{self._of} is closed")
        if self._late:
            raise failed(
                MetadataUnavailable(f"{self._of} has not answered for {self._bounds.timeout_s:g} s; retry later")
            )
        if len(self._outstanding) >= self._bounds.waiting or (
            self._outstanding and self._bytes + size > self._bounds.waiting_bytes
        ):
            raise failed(Overloaded(f"{len(self._outstanding)} requests wait for {self._of} already; retry later"))
        loop = asyncio.get_running_loop()
        job = LaneJob(what, size, loop, loop.time() + self._bounds.timeout_s)
        if self._thread is None:
            self._start()
        self._outstanding[job] = None
        self._bytes += size
        self._queue.put(job)
        if self._timer is None:
            self._timer = loop.call_at(job.due, self._look)
        return job.future

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as cause:
            raise Overloaded(f"no thread for {self._of}: {cause}; raise the limit of threads") from cause
        self._thread = thread

    async def close(self) -> None:
        """Let it finish what it has, for as long as anybody waits for it, then end it."""
        self._closed = True
        if self._thread is None:
            return
        self._queue.put(None)
        await ended(self._thread, self._bounds.timeout_s)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Give an answer to all whose time is up."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._outstanding:
            job = next(iter(self._outstanding))
            if job.due > now:
                self._timer = job.loop.call_at(job.due, self._look)
                return
            self._forget(job)
            self._late = True
            if not job.future.done():
                told = f"{self._of} did not answer within {self._bounds.timeout_s:g} s; a change may still happen"
                job.future.set_exception(failed(MetadataUnavailable(told)))

    def _forget(self, job: LaneJob[W]) -> None:
        if job in self._outstanding:
            del self._outstanding[job]
            self._bytes -= job.size

    def _settle(self, jobs: Sequence[LaneJob[W]]) -> None:
        self._late = False
        for job in jobs:
            self._forget(job)
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(failed(job.error))

    # --- on the thread ---

    def _work(self) -> None:
        queue = self._queue
        last = False
        while not last:
            first = queue.get()
            if first is None:
                break
            jobs = [first]
            size = first.size
            with suppress(Empty):
                while len(jobs) < TURN_JOBS_MAX and size < TURN_BYTES_MAX:
                    job = queue.get_nowait()
                    if job is None:
                        last = True
                        break
                    jobs.append(job)
                    size += job.size
            self._turn(jobs)
            try:
                self._behind()
            except Exception:
                log.exception("a bug behind a turn of the metadata; its thread goes on", lane=self._name)
        self._at_end()

    def _turn(self, jobs: list[LaneJob[W]]) -> None:
        try:
            self._run([job for job in jobs if not job.given_up])
        except BaseException as error:
            for job in jobs:
                job.error = error
        # The loop may have ended, and with it everybody who waited.
        with suppress(RuntimeError):
            jobs[0].loop.call_soon_threadsafe(self._settle, jobs)
