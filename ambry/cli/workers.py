"""Several things at a time: threads that wait for the network and for disks, and let the command end when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from ambry.client.sync.crew import LEAVE_S, Crew

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
        self._failure: BaseException | None = None

    def check(self) -> None:
        """Raises WorkersStopped when the command is about to end."""
        if self._stop.is_set():
            raise WorkersStopped

    def stop(self) -> None:
        """Begin nothing more."""
        self._stop.set()

    def run(self, things: Iterable[T], do: Callable[[T], None]) -> None:
        """`do` all of them; it answers for what fails. What it raises all the same ends everything, and is raised here."""
        waiting = iter(things)

        def work() -> None:
            self._crew.take_in()
            try:
                while not self._stop.is_set():
                    with self.lock:
                        thing = next(waiting, None)
                    if thing is None:
                        return
                    do(thing)
            except WorkersStopped:
                pass
            except BaseException as error:
                with self.lock:
                    self._failure = self._failure or error
                self._stop.set()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self._count)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop.set()
            self._crew.leave()
            for thread in threads:
                if thread.ident is not None:
                    thread.join(LEAVE_S / self._count)
            raise
        if self._failure is not None:
            raise self._failure
