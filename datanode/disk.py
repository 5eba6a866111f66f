"""The threads of one disk, which all blocking work of its replicas runs on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ambry.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """The threads of one disk."""

    def __init__(self, *, threads: int, load: Callable[[], float] = lambda: 0.0) -> None:
        self._executor = _started(threads)
        self.load = load
        """What share of a core the event loop uses, from 0 to 1: background work on these threads rests the longer for it."""

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run blocking `function` on a disk thread."""
        call = function if not (args or kwargs) else lambda: function(*args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        self._executor.shutdown(wait=True)


def _started(threads: int) -> ThreadPoolExecutor:
    """An executor that has all its threads. Raises Overloaded.

    One that makes them when they are needed queues the work first: at the limit of threads `submit` raises, and the work, a
    batch that its caller gave up say, is done all the same by the next thread that is free.
    """
    executor = ThreadPoolExecutor(threads, thread_name_prefix="disk")
    everybody = threading.Barrier(threads)
    try:
        for _ in range(threads):
            executor.submit(everybody.wait)
    except RuntimeError as cause:
        everybody.abort()
        executor.shutdown(wait=True, cancel_futures=True)
        raise Overloaded(f"no {threads} threads for a disk: {cause}; raise the limit of threads") from cause
    return executor
