"""Several things at a time: threads that wait for the network and for disks, and let the command end when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from ambry.client.sync.crew import Crew, run_threads

T = TypeVar("T")


class WorkersStopped(Exception):
    """The command ends before all is done."""


class Workers:
    """Does things with at most `count` threads. Nothing waits in a queue: each thread takes the next thing when it is free."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.lock = threading.Lock()
        """For what those who do things share."""
        self._stop = threading.Event()
        self._crew = Crew()

    def check(self) -> None:
        """Raises WorkersStopped when the command is about to end."""
        if self._stop.is_set():
            raise WorkersStopped

    def stop(self) -> None:
        """Begin nothing more."""
        self._stop.set()

    def run(self, things: Iterable[T], do: Callable[[T], None]) -> None:
        """`do` all of them; it answers for what fails. What it raises all the same ends everything, and is raised here.

        An interruption has the notes of those that it ended, as what a download keeps.
        """
        waiting = iter(things)
        ended: list[BaseException] = []

        def work() -> None:
            self._crew.take_in()
            try:
                while not self._stop.is_set():
                    with self.lock:
                        thing = next(waiting, None)
                    if thing is None:
                        return
                    do(thing)
            except BaseException as error:
                with self.lock:
                    ended.append(error)
                self._stop.set()

        def leave() -> None:
            self._stop.set()
            self._crew.leave()

        try:
            run_threads(work, self._count, leave)
        except BaseException as interrupt:
            for note in (note for each in ended for note in getattr(each, "__notes__", ())):
                interrupt.add_note(note)
            raise
        for error in ended:
            if not isinstance(error, WorkersStopped):
                raise error
