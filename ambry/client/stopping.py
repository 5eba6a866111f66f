"""Those who move one file on several threads: the first failure stops them all."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """Another part failed, or whoever waits for all of them was interrupted."""


class FileMove:
    """What they share; of one file, on its way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.failure: BaseException | None = None
        """The first of all."""

    def check(self) -> None:
        """Raises Stopped when the others have stopped."""
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        self._stop.set()

    def failed(self, error: BaseException) -> None:
        """One part did; the others stop."""
        with self._lock:
            if self.failure is None and not isinstance(error, Stopped):
                self.failure = error
        self._stop.set()
