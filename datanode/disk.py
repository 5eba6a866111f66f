"""The threads of one disk, which all blocking work of its replicas runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """The threads of one disk."""

    def __init__(self, *, threads: int, load: Callable[[], float] = lambda: 0.0) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="disk")
        self.load = load
        """What share of a core the event loop uses, from 0 to 1: background work on these threads rests the longer for it."""

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run blocking `function` on a disk thread."""
        call = function if not (args or kwargs) else lambda: function(*args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        self._executor.shutdown(wait=True)
