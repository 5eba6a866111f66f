"""Whether a metadata file has changed, told by one glance at memory.

The processes that have a SQLite file open share the head of its WAL index (the file `-shm`). Every commit changes that head
before it returns, since other processes' reads go by it (https://www.sqlite.org/walformat.html section 2.2). So where its bytes
are the same as before, nothing was committed in between, by whomever. Where they are not, that is all they say.

No disk is waited for.
"""

from __future__ import annotations

import mmap
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 48
"""Of the first of two copies: the counter of commits, how long the WAL is, and checks of both. It is written last."""


class _Inode(NamedTuple):
    device: int
    number: int


class FileMark:
    """That of one file, for all connections of this process that have it open, also for those that could not look at it."""

    def __init__(self) -> None:
        self.users = 0
        self.descriptors: list[int] = []
        self._memory: mmap.mmap | None = None

    def glance(self) -> bytes:
        """The head as it is now; empty where it cannot be looked at."""
        try:
            return b"" if self._memory is None else self._memory[:HEAD_BYTES]
        except ValueError:
            return b""

    def look(self) -> None:
        """Look at the file, if there is room for that."""
        if self._memory is None and self.descriptors:
            with suppress(OSError, ValueError):
                # One that fails closes a descriptor of the file (see _open): so it is seen first whether there is room.
                mmap.mmap(-1, HEAD_BYTES).close()
                # It has a descriptor of its own, and ends with it.
                self._memory = mmap.mmap(self.descriptors[0], HEAD_BYTES, access=mmap.ACCESS_READ)

    def end(self) -> None:
        if self._memory is not None:
            self._memory.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


_lock = threading.Lock()
_open: dict[_Inode, FileMark] = {}
"""A process that closes any descriptor of a file loses all its locks on it (fcntl(2), "Record locks"), SQLite's too. So there
is one for all connections, and it is closed when the last of them is: those too that found no room for one."""


def take(path: Path) -> FileMark | None:
    """The mark of the metadata file at `path`, which the caller has open; None where there is no such file any more."""
    shared = path.with_name(path.name + "-shm")
    with _lock:
        try:
            mark = _mark_of(shared.stat())
        except OSError:
            return None
        if not mark.descriptors:
            with suppress(OSError):
                descriptor = os.open(shared, os.O_RDONLY | os.O_CLOEXEC)
                # Another one may have come into its place.
                mark = _mark_of(os.fstat(descriptor))
                mark.descriptors.append(descriptor)
        mark.look()
        mark.users += 1
        return mark


def _mark_of(status: os.stat_result) -> FileMark:
    return _open.setdefault(_Inode(status.st_dev, status.st_ino), FileMark())


def give_back(mark: FileMark) -> None:
    """The caller has closed its connection."""
    with _lock:
        mark.users -= 1
        for inode, each in list(_open.items()):
            if not each.users:
                del _open[inode]
                each.end()
