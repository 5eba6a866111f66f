"""One change of a directory at a time, among processes and threads: flock(2) on it, which goes with whoever has it.

Whoever reads several of its files that belong together takes the lock too, beside others who read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

WAIT_S = 60.0
"""So long somebody else may have it: a change takes some milliseconds, or as long as a disk."""
LOOK_EVERY_S = 0.02


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
        _take(descriptor, directory, fcntl.LOCK_SH if reads else fcntl.LOCK_EX, WAIT_S if wait_s is None else wait_s)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, directory: Path, how: int, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise TimeoutError(
                    errno.ETIMEDOUT,
                    f"another command has been changing it for {wait_s:g} s; wait for it, or end it, and try again",
                    str(directory),
                ) from None
        time.sleep(LOOK_EVERY_S)
