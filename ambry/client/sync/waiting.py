"""How this client waits: the few things that its awaiting twin does otherwise."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from ambry.client.sync.crew import Crew, current, waiting_for
from ambry.clock import SystemClock

ASYNCHRONOUS = False

Sleep = Callable[[float], None]

_sleep: Sleep = SystemClock().sleep


def pause(seconds: float) -> None:
    """Raises Stopped where the thread is of a crew that leaves."""
    if (crew := current()) is None:
        _sleep(seconds)
    else:
        crew.pause(seconds)


FileBase = io.BufferedIOBase
"""What a file is made of here: whatever takes a binary file takes it."""

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")


def opening(method: Callable[P, T]) -> Callable[P, T]:
    """A method whose result may be used in a `with`, as it is."""
    return method


def blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what waits for a disk."""
    return function(*args, **kwargs)


def at_once(call: Callable[[Item], T], items: Sequence[Item], limit: int, stop: Callable[[], None]) -> list[T]:
    """The results of `call` for all items, in their order, at most `limit` at a time, each in a thread.

    The first failure is raised when none goes on any more; `stop` is called before they are waited for, and what they wait for
    is interrupted.
    """
    crew = Crew()
    with waiting_for(crew):
        return crew.run(call, items, limit, stop)


class SyncMemoryGate:
    """Lets transfers hold so many bytes at a time, and others wait. In a forked child nothing is held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._free = self._limit
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Generator[None]:
        """Bytes that are held until the end of the block: not more than there are at all, so that everybody's turn comes."""
        if self._pid != os.getpid():
            self._begin()
        size = min(size, self._limit)
        changed = self._changed
        crew, taken = current(), 0
        try:
            with waiting_for(self), changed:
                changed.wait_for(lambda: self._free >= size or (crew is not None and crew.leaves))
                if self._free >= size:
                    self._free, taken = self._free - size, size
            yield
        finally:
            with changed:
                self._free += taken
                changed.notify_all()

    def interrupt(self) -> None:
        """Let those who were told to leave look again."""
        with self._changed:
            self._changed.notify_all()


def together(calls: Iterable[T]) -> tuple[T, ...]:
    """The results of calls, which are made one after the other as they are taken."""
    return tuple(calls)
