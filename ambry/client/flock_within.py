"""flock(2) that is waited for, and not without an end. It belongs to the open file, and goes with whoever has it."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Callable
from pathlib import Path

LOOK_FIRST_S = 0.001
LOOK_S = 0.02
"""How often it is tried again, in the end."""


def flock_within(descriptor: int, how: int, wait_s: float, path: Path, words: Callable[[], str]) -> None:
    """Take a lock that somebody else may have for `wait_s`. `how` is fcntl.LOCK_EX or LOCK_SH.

    Raises TimeoutError, which says then what `words` gives, of `path`; OSError where there are no locks.
    """
    end, look_s = time.monotonic() + wait_s, LOOK_FIRST_S
    while True:
        try:
            return fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise TimeoutError(errno.ETIMEDOUT, words(), str(path)) from None
        time.sleep(look_s)
        look_s = min(2 * look_s, LOOK_S)
