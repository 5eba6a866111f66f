"""Whose turn it is to write: processes that share a metadata file write one after the other, in the order in which they came.

SQLite's own lock is safe, and unfair: whoever finds it taken sleeps, longer each time, and meanwhile the holder takes it again.
Two busy frontends kept each other waiting for 750 ms that way. Here the kernel keeps the queue (flock(2) on a file beside it).
A process that dies loses its turn with its descriptors; nothing is in the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class WriteTurn:
    """Of one thread. Blocking."""

    def __init__(self, path: Path) -> None:
        """`path` is that of the metadata file."""
        self._path = path.with_name(path.name + "-turn")
        self._descriptor: int | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """While others wait. Raises OSError where the file beside cannot be opened."""
        descriptor = self._descriptor
        if descriptor is None:
            descriptor = self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
