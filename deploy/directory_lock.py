"""One change of a directory at a time, among processes and threads: flock(2) on it, which goes with whoever has it.

Whoever reads several of its files that belong together takes the lock too, beside others who read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ambry.client.flock_within import flock_within

WAIT_S = 60.0
"""So long somebody else may have it: a change takes some milliseconds, or as long as a disk."""


@contextlib.contextmanager
def locked(directory: Path, *, reads: bool = False, wait_s: float | None = None) -> Iterator[None]:
    """Not reentrant. Where there is no directory nothing is locked.

    Raises TimeoutError where somebody else has it for `wait_s` (without it, WAIT_S), OSError.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        bound_s = WAIT_S if wait_s is None else wait_s
        flock_within(
            descriptor,
            fcntl.LOCK_SH if reads else fcntl.LOCK_EX,
            bound_s,
            directory,
            lambda: f"another command has been changing it for {bound_s:g} s; wait for it, or end it, and try again",
        )
        yield
    finally:
        os.close(descriptor)
