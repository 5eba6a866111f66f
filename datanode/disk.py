"""The threads of one disk, which all blocking work of its replicas runs on.

A disk that hangs does not return from a call, and nothing ends a thread that waits in one. So the threads tell since when each
is at its job (`hang`), the queue before them is bounded, and the process can end without them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from ambry.clock import Clock
from ambry.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

QUEUE_MAX = 16_384
"""Jobs that wait for a thread. Who has more to do gathers it (datanode/lookups.py, datanode/committer.py)."""
HANGS_AFTER_S = 5.0
"""So long no call of a disk that works takes, and no job that is made of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """What the threads of a disk are at that do not return: the oldest job, for so many seconds, and how many they are."""

    job: str
    seconds: float
    threads: int
    all: bool
    """No thread is left: nothing at all comes from the disk."""

    def __str__(self) -> str:
        threads = "all its threads are" if self.all else f"{self.threads} of its threads are"
        return f"hangs: {threads} held, the longest for {self.seconds:.0f} s in {self.job}"


class _Job:
    """One call, and the future that its outcome goes to."""

    __slots__ = ("call", "future", "loop", "name", "patient")

    def __init__(self, call: Callable[[], Any], name: str, patient: bool) -> None:
        self.call = call
        self.name = name
        self.patient = patient
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()


class _Place:
    """What one thread is at; written by it, read by everybody. `called` wakes it while it is idle."""

    __slots__ = ("called", "job", "since")

    def __init__(self) -> None:
        self.since = 0.0
        self.job: _Job | None = None
        self.called = threading.Lock()
        self.called.acquire()


class Disk:
    """The threads of one disk. `clock` tells how long they are at something. Raises Overloaded when they cannot be had."""

    def __init__(self, *, threads: int, clock: Clock, load: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._jobs: deque[_Job | None] = deque()
        self._idle: list[_Place] = []
        """Those that wait to be called, the last to become idle last. A SimpleQueue wakes two threads for a job, of which
        one finds nothing: on a node with little to do that was a fourth of what a write costs."""
        self._coming = False
        """Whether one was called and has not looked yet: it calls the next one where it leaves anything."""
        self._places = [_Place() for _ in range(threads)]
        self._threads: list[threading.Thread] = []
        self._closed = False
        self.hanging: Hang | None = None
        """What `hang` said last (datanode/upkeep/hangs.py)."""
        self.load = load
        """What share of a core the event loop uses, from 0 to 1: background work on these threads rests the longer for it."""
        try:
            for number, place in enumerate(self._places):
                # A daemon: a process whose disk hangs must be able to end.
                thread = threading.Thread(target=self._work, args=(place,), name=f"disk_{number}", daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError as cause:
            self.close()
            raise Overloaded(f"no {threads} threads for a disk: {cause}; raise the limit of threads") from cause

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run blocking `function` on a disk thread; one that was cancelled before it began is not run.

        Raises Overloaded where too much waits for the threads; nothing is done then.
        """
        call = function if not (args or kwargs) else lambda: function(*args, **kwargs)
        return self._submit(call, function, patient=False)

    def submit_patiently(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """As `submit`, for what may take minutes and tells its own progress: the opening of a replica. It is no hang."""
        return self._submit(lambda: function(*args, **kwargs), function, patient=True)

    def submit_end(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """As `submit_patiently`, of what ends work that was begun here: there is always room for that."""
        return self._submit(function, function, patient=True, bounded=False)

    def _submit(
        self, call: Callable[[], T], function: Callable[..., T], *, patient: bool, bounded: bool = True
    ) -> asyncio.Future[T]:
        if self._closed:
            raise RuntimeError("the threads of this disk have ended")
        if bounded and len(self._jobs) >= QUEUE_MAX:
            raise Overloaded(f"{QUEUE_MAX} jobs wait for this disk already; retry elsewhere")
        job = _Job(call, getattr(function, "__qualname__", "a job"), patient)
        self._put(job)
        return job.future

    def _put(self, job: _Job | None) -> None:
        self._jobs.append(job)
        if not self._coming:
            self._call()

    def _call(self) -> None:
        """Wake the thread that became idle last; where none is, whichever ends first goes on. On any thread."""
        try:
            place = self._idle.pop()
        except IndexError:
            return
        self._coming = True
        place.called.release()

    def hang(self, after_s: float | None = None, *, impatiently: bool = False) -> Hang | None:
        """What is at work for longer than HANGS_AFTER_S, or `after_s`; on any thread. `impatiently`: whatever it is."""
        least_s = HANGS_AFTER_S if after_s is None else after_s
        now = self._clock.monotonic()
        held: list[tuple[float, str]] = []
        for place in self._places:
            job, since = place.job, place.since
            if job is not None and now - since > least_s and (impatiently or not job.patient):
                held.append((now - since, job.name))
        if not held:
            return None
        seconds, name = max(held)
        return Hang(job=name, seconds=seconds, threads=len(held), all=len(held) == len(self._places))

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun with."""
        return len(self._jobs)

    def close(self) -> None:
        """End the threads, after everything that waits for them."""
        self._closed = True
        for _ in self._threads:
            self._put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, place: _Place) -> None:
        clock = self._clock
        while (job := self._take(place)) is not None:
            if not job.future.cancelled():
                place.since = clock.monotonic()
                place.job = job
                self._run(job)
                place.job = None
            del job  # an idle thread holds nothing of what it did last

    def _take(self, place: _Place) -> _Job | None:
        """The next job, or None at the end; waits for one. On a disk thread.

        Who puts a job looks for an idle thread after that, and who becomes idle for a job: no job is left alone.
        """
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                self._idle.append(place)
            else:
                if self._jobs and not self._coming:
                    self._call()
                return job
            if self._jobs:
                try:
                    self._idle.remove(place)
                    continue
                except ValueError:
                    pass  # it is being called
            place.called.acquire()
            self._coming = False

    @staticmethod
    def _run(job: _Job) -> None:
        try:
            result, error = job.call(), None
        except BaseException as raised:
            result, error = None, raised
        try:
            job.loop.call_soon_threadsafe(_settle, job.future, result, error)
        except RuntimeError:
            pass  # the loop has ended, and with it everybody who waited
        finally:
            error = None  # its traceback has this frame: no cycle


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError(f"a job raised {error!r}"))  # no future takes it
    else:
        future.set_exception(error)
