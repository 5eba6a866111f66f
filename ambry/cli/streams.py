"""The standard streams of the command, whatever the shell made of them.

A descriptor that is closed would go to the next file or socket that is opened, and what is printed would go there. So it is
taken first: what is read from it, or written to it, fails then, as it would have. Complaints that nobody can read are dropped.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress


def take_streams() -> None:
    """Once, before anything is opened."""
    for descriptor, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # The lowest that is free: this one.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        _closed.append("output")
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A name is printed, if need be by the numbers of its characters, and never is a traceback.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


_closed: list[str] = []


def told_of(error: OSError) -> str:
    """What to say of an error that may be that of a closed stream; empty for another one."""
    if error.errno == errno.EBADF and error.filename is None and _closed:
        return "the standard output is closed, and there was something to write to it"
    return ""


def let_go() -> None:
    """What could not be written is not tried again, with a complaint, at exit."""
    with suppress(OSError, ValueError):
        sys.stdout.close()
    sys.stdout = None
