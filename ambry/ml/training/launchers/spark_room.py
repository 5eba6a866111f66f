"""Room for a barrier stage that was there when Spark looked, and is gone before its tasks begin.

Spark looks for room for all tasks before it makes the stage, and has a bound for that; for what it offers the stage then it has
none: executors that die between the two leave a stage that waits while its application lives.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

ROOM = "spark.scheduler.barrier.maxConcurrentTasksCheck"
"""Spark's two settings, `.interval` and `.maxFailures`: their product is how long a job waits for room."""
LOOK_S = 1.0
TOLD_S = 5.0
"""After that somebody is told what a stage waits for."""
BOUND_MIN_S = 60.0
"""A stage has so long whatever the settings say: its tasks take a moment to begin where there is room."""
_LOOKED = re.compile(r"SPARK-24819|BarrierJobSlotsNumberCheckFailed")
WAIT_LONGER = f"see to its nodes and its queue, or wait longer: --conf {ROOM}.maxFailures=SECONDS"


class NoRoom(Exception):
    """There was no room for all workers at once, for as long as it was waited for. The message is a sentence."""


def bound_of(context: Any) -> float:
    """How long a job of this Spark waits for room, in seconds."""
    conf = context._jsc.sc().conf()
    return float(conf.getTimeAsSeconds(f"{ROOM}.interval")) * int(conf.get(f"{ROOM}.maxFailures"))


def no_room(workers: int, bound_s: float, said: str) -> str:
    """The sentence for what Spark raised of its look for room; empty for anything else."""
    return _sentence(workers, bound_s) if _LOOKED.search(said) else ""


def _sentence(workers: int, bound_s: float) -> str:
    return f"Spark had no room for all {workers} workers at once for {bound_s:.0f} s: {WAIT_LONGER}"


class RoomWatch:
    """Cancels the stage of an attempt none of whose tasks runs for too long. Use it as a context manager around the attempt."""

    def __init__(
        self, context: Any, workers: int, bound_s: float, tell: Callable[[str], None], *, look_s: float = LOOK_S
    ) -> None:
        self._context = context
        self._workers = workers
        self._bound_s = bound_s
        self._tell = tell
        self._look_s = look_s
        self._group = f"ambry-attempt-{secrets.token_hex(6)}"
        self._over = threading.Event()
        self._gave_up = False
        self._thread = threading.Thread(target=self._watch, name="ambry-spark-room", daemon=True)

    def __enter__(self) -> Self:
        """What this thread starts on Spark until the end is watched."""
        self._context.setJobGroup(self._group, "workers of a training job")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises NoRoom in the place of what Spark makes of the stage that was cancelled."""
        self._over.set()
        self._thread.join()
        if self._gave_up and isinstance(error, Exception):  # An interrupt is one.
            raise NoRoom(_sentence(self._workers, self._bound_s)) from error

    def _watch(self) -> None:
        since: float | None = None
        told = False
        while not self._over.wait(self._look_s):
            try:
                waits = self._waits()
            except Exception:  # Py4J's, of many kinds: Spark is gone, and so is what is waited for.
                return
            if not waits:
                since = None
                continue
            since = time.monotonic() if since is None else since
            waited_s = time.monotonic() - since
            if not told and waited_s >= min(TOLD_S, self._bound_s):
                told = True
                self._tell(
                    f"the room for all {self._workers} workers is gone again; it is waited for up to {self._bound_s:.0f} s"
                )
            if waited_s >= self._bound_s:
                self._gave_up = True
                self._context.cancelJobGroup(self._group)
                return

    def _waits(self) -> bool:
        """Whether there is a stage, and no task of it runs. Raises what Py4J raises."""
        tracker = self._context.statusTracker()
        jobs = [tracker.getJobInfo(each) for each in tracker.getJobIdsForGroup(self._group)]
        of_jobs = [each for job in jobs if job is not None and job.status == "RUNNING" for each in job.stageIds]
        stages = [tracker.getStageInfo(each) for each in of_jobs]
        return bool(stages) and not any(each is None or each.numActiveTasks for each in stages)
