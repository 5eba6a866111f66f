"""Threads that do one thing together and can be told to leave: also those that wait for a server that says nothing.

A thread says what it waits for before it waits. Whoever tells the crew to leave interrupts that: sockets are shut, and what is
asked for next is refused. So nobody waits for a timeout, or for all attempts of a call that nobody wants any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

from ambry.client.stopping import Stopped

T = TypeVar("T")
Item = TypeVar("Item")

LEAVE_S = 5.0
"""How long one who was interrupted waits for the threads: who looks for an address is not interrupted."""

_of_thread = threading.local()


class Interruptible(Protocol):
    """What a thread may wait for."""

    def interrupt(self) -> None:
        """Let whoever waits for it wait no longer; from any thread, at any time, more than once. Does not wait, nor raise."""


class Crew:
    """Told to leave, it stays so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leaves = threading.Event()
        self._awaited: dict[int, Interruptible] = {}
        """What each of its threads waits for, or has waited for last."""

    @property
    def leaves(self) -> bool:
        return self._leaves.is_set()

    def leave(self) -> None:
        with self._lock:
            self._leaves.set()
            for each in self._awaited.values():
                each.interrupt()

    def interrupt(self) -> None:
        """It is what a thread of another crew waits for."""
        self.leave()

    def take_in(self) -> None:
        """This thread is one of the crew from now on."""
        _of_thread.crew = self

    def waits_for(self, thing: Interruptible) -> None:
        """What this thread is about to wait for. Raises Stopped."""
        with self._lock:
            if self.leaves:
                raise Stopped
            self._awaited[threading.get_ident()] = thing

    def done(self) -> None:
        """What this thread waited for may be somebody else's from now on."""
        with self._lock:
            self._awaited.pop(threading.get_ident(), None)

    def pause(self, seconds: float) -> None:
        """Raises Stopped."""
        if self._leaves.wait(seconds):
            raise Stopped

    def run(self, call: Callable[[Item], T], items: Sequence[Item], limit: int, stop: Callable[[], None]) -> list[T]:
        """The results of `call` for all items, in their order, at most `limit` at a time, each in a thread.

        The first failure is raised when none goes on any more; `stop` is called before they are waited for.
        """
        results: dict[int, T] = {}
        failures: list[BaseException] = []
        left = iter(enumerate(items))
        turn = threading.Lock()

        def work() -> None:
            try:
                self.take_in()
                while not self.leaves:
                    with turn:
                        taken = next(left, None)
                    if taken is None:
                        return
                    results[taken[0]] = call(taken[1])
            except BaseException as error:
                failures.append(error)
                leave()

        def leave() -> None:
            stop()
            self.leave()

        if items:
            run_threads(work, min(max(1, limit), len(items)), leave)
        if failures:
            raise next((each for each in failures if not isinstance(each, Stopped)), failures[0])
        return [results[number] for number in range(len(items))]


def run_threads(work: Callable[[], None], count: int, leave: Callable[[], None]) -> None:
    """Let so many threads do `work`, which answers for what it raises, and wait for them.

    Where the machine has no more threads, those that there are do it all; without any, this one does, of the crew that it was
    in before when that is done. Whoever is interrupted meanwhile calls `leave`, and waits for LEAVE_S at most. Thread.join says
    of a thread for which somebody was interrupted once that it has ended (CPython before 3.13), so they are counted.
    """
    changed = threading.Condition()
    running = begun = 0

    def do() -> None:
        nonlocal running
        try:
            work()
        finally:
            with changed:
                running -= 1
                changed.notify()

    try:
        for _ in range(count):
            # Daemons: the interpreter does not wait for them when it ends.
            thread = threading.Thread(target=do, name="ambry", daemon=True)
            with changed:
                running += 1
            try:
                thread.start()
            except BaseException as error:
                with changed:
                    running -= thread.ident is None
                if not isinstance(error, RuntimeError):
                    raise
                break
            begun += 1
        if not begun:
            _in_this_thread(work)
        with changed:
            changed.wait_for(lambda: not running)
    except BaseException:
        leave()
        with changed:
            changed.wait_for(lambda: not running, LEAVE_S)
        raise


def _in_this_thread(work: Callable[[], None]) -> None:
    crew = current()
    try:
        work()
    finally:
        _of_thread.crew = crew


def current() -> Crew | None:
    """The crew of this thread."""
    crew: Crew | None = getattr(_of_thread, "crew", None)
    return crew


class waiting_for:
    """What this thread waits for in the block. Raises Stopped, also in place of what an interruption made of the wait."""

    __slots__ = ("_crew", "_thing")

    def __init__(self, thing: Interruptible) -> None:
        self._thing = thing
        self._crew = current()

    def __enter__(self) -> None:
        if self._crew is not None:
            self._crew.waits_for(self._thing)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._crew is not None and self._crew.leaves:
            raise Stopped from error
