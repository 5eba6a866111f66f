"""The standard streams of the command, whatever the shell made of them.

A descriptor that is closed would go to the next file or socket that is opened, and what is printed would go there. So it is
taken first: what is read from it, or written to it, fails then, as it would have.

An output that takes nothing more ends the command, wherever it was when it noticed: OutputLost is no OSError, so that nobody
takes it for what went wrong with a file. A complaint that nobody can read is dropped, and changes no exit code.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ambry.checksum import Buffer


class OutputLost(Exception):
    """The standard output takes nothing more; the cause is what it said."""

    def __init__(self, cause: OSError, *, closed: bool) -> None:
        super().__init__(
            "the standard output is closed, and there was something to write to it"
            if closed
            else f"the standard output: {cause.strerror}; what was written before is not all"
        )
        self.is_seen_enough = isinstance(cause, BrokenPipeError)
        """Whoever reads it has gone, as `head` does: nothing that anybody must be told of."""


def take_streams() -> None:
    """Once, before anything is opened."""
    closed = False
    for descriptor, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # The lowest that is free: this one.
            closed = closed or descriptor == 1
    sys.stdout = _text(_Output(closed), sys.stdout)
    sys.stderr = _text(_Complaints(2, "w", closefd=False), sys.stderr)


def check_read(descriptor: int = 1) -> None:
    """Raises OutputLost where the output is a pipe that nobody reads any more: whoever writes nothing is told by poll(2) alone.

    A terminal that is gone sends SIGHUP; who ignores that, as under nohup, goes on.
    """
    watch = select.poll()
    watch.register(descriptor, 0)
    if any(event & select.POLLERR and not event & select.POLLHUP for _, event in watch.poll(0)):
        raise OutputLost(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)), closed=False)


def let_go() -> None:
    """What could not be written is not tried again, with a complaint, at exit."""
    with suppress(OSError, ValueError, OutputLost):
        sys.stdout.close()
    sys.stdout = None


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """A stream over `raw` as Python makes it, but for its errors: what is printed is, if need be, the numbers of characters."""
    shown = raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=shown or raw.fileno() == 2,
        write_through=bool(getattr(before, "write_through", False)),
    )


class _Output(io.FileIO):
    def __init__(self, closed: bool) -> None:
        super().__init__(1, "w", closefd=False)
        self._was_closed = closed

    def write(self, data: Buffer, /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            raise OutputLost(error, closed=self._was_closed) from error


class _Complaints(io.FileIO):
    def write(self, data: Buffer, /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
