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
from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 48
"""Of the first of two copies: the counter of commits, how long the WAL is, and checks of both. It is written last."""


class _Inode(NamedTuple):
    device: int
    number: int


class FileMark:
    """That of one file, for all connections of this process that have it open."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.users = 1
        self.descriptors: list[int] = []

    def glance(self) -> bytes:
        """The head as it is now; empty where the file is open no more."""
        try:
            return self._memory[:HEAD_BYTES]
        except ValueError:
            return b""

    def end(self) -> None:
        self._memory.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


_lock = threading.Lock()
_open: dict[_Inode, FileMark] = {}
"""A process that closes any descriptor of a file loses all its locks on it (fcntl(2), "Record locks"), SQLite's too. So there
is one for all connections, and it is closed when the last of them is."""


def take(path: Path) -> FileMark | None:
    """The mark of the metadata file at `path`, which the caller has open; None where it cannot be looked at."""
    shared = path.with_name(path.name + "-shm")
    with _lock:
        try:
            status = shared.stat()
            found = _open.get(_Inode(status.st_dev, status.st_ino))
            if found is not None:
                found.users += 1
                return found
            return _opened(shared)
        except (OSError, ValueError):
            return None


def _opened(shared: Path) -> FileMark | None:
    descriptor = os.open(shared, os.O_RDONLY | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    inode = _Inode(status.st_dev, status.st_ino)
    found = _open.get(inode)
    if found is not None:
        # It came into its place after it was looked for.
        found.descriptors.append(descriptor)
        found.users += 1
        return found
    try:
        # It has a descriptor of its own of the same file, and ends with it.
        made = _open[inode] = FileMark(mmap.mmap(descriptor, HEAD_BYTES, access=mmap.ACCESS_READ))
    except BaseException:
        os.close(descriptor)
        raise
    made.descriptors.append(descriptor)
    return made


def give_back(mark: FileMark) -> None:
    """The caller has closed its connection."""
    with _lock:
        mark.users -= 1
        if not mark.users:
            for inode in [inode for inode, each in _open.items() if each is mark]:
                del _open[inode]
            mark.end()
