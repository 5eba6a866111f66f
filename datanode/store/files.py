"""The file layer: the only module of the data node that touches files (the index's own file aside, index_file.py).

Everything above takes a `Files`, so that a simulation can put a disk that tears, loses and reorders un-synced writes in its
place. All calls block; all errors are OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

from ambry.checksum import Buffer
from datanode.store.index_file import IndexFile
from datanode.store.page_cache import is_cached
from datanode.store.tables import Tables

IOV_MAX = 1024


class File(Protocol):
    """One open file. Offsets and sizes in bytes."""

    def pread(self, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; fewer bytes than asked only at the end of the file."""
        ...

    def pread_cached(self, buffer: bytearray | memoryview, offset: int) -> int:
        """As pread, but -1 when the bytes are not all in the page cache: never waits for the disk."""
        ...

    def is_cached(self, offset: int, size: int) -> bool:
        """Whether these bytes are all in the page cache, as far as one can tell; never waits for the disk."""
        ...

    def send(self, target: int, offset: int, size: int) -> int:
        """Send bytes from `offset` on to a socket, as many as it takes at once; returns how many, 0 at the end of the file.

        Waits for the disk unless they are cached. BlockingIOError: the socket takes none now.
        """
        ...

    def will_need(self, offset: int, size: int) -> None:
        """A hint: begin to bring these bytes into the page cache, and do not wait for them."""
        ...

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write `buffers` in order, at most IOV_MAX of them; they are borrowed until this returns.

        Returns how many bytes were written. As in the system call that may be fewer than there are: see `write_all`.
        """
        ...

    def fdatasync(self) -> None: ...
    def fsync(self) -> None: ...
    def allocate(self, size: int) -> None:
        """Reserve `size` bytes on disk, reading as zeros. ENOSPC here is the clear sign of a full disk."""
        ...

    def truncate(self, size: int) -> None: ...
    def drop_cache(self) -> None:
        """Let the next read come from the disk, but for what was written and not synced."""
        ...

    def size(self) -> int: ...
    def next_data(self, offset: int) -> int:
        """Where the next bytes from `offset` on are that may be other than zero; the size of the file where there are none.

        A file system that does not know answers `offset` itself.
        """
        ...

    def hold(self) -> None:
        """Keep what other calls need, until `release`: none of them fails for lack of descriptors meanwhile."""
        ...

    def release(self) -> None:
        """End a `hold`."""
        ...

    def close(self) -> None: ...


class Lock(Protocol):
    """An exclusive lock on a directory; ends with `release` or with the process."""

    def release(self) -> None: ...


class FileKind(StrEnum):
    """What stands at a path, itself: a link is OTHER, whatever it leads to."""

    FILE = "a file"
    DIRECTORY = "a directory"
    OTHER = "a link, a pipe or a device"
    NOTHING = "nothing"


class Files(Protocol):
    """A file system."""

    def create(self, path: Path) -> File:
        """Create a file that must not exist yet, for reading and writing."""
        ...

    def open(self, path: Path) -> File:
        """Open an existing file for reading and writing."""
        ...

    def make_directory(self, path: Path) -> None:
        """With its parents; an existing one is fine."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def list_directory(self, path: Path) -> list[str]: ...
    def exists(self, path: Path) -> bool: ...
    def is_regular_file(self, path: Path) -> bool:
        """Whether there is a file that can be read and written: no directory, pipe, or link to nothing."""
        ...

    def is_directory(self, path: Path) -> bool: ...
    def kind(self, path: Path) -> FileKind: ...
    def size(self, path: Path) -> int:
        """Of a file, in bytes."""
        ...

    def changed_ms(self, path: Path) -> int:
        """When it was changed last, by the wall clock; of a link itself."""
        ...

    def rename(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def remove_directory(self, path: Path) -> None:
        """An empty one."""
        ...

    def open_tables(self, directory: Path) -> Tables:
        """Open or create the tables of an index in an existing directory. Raises what all methods of Tables raise."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Room that this process may still use on the file system of `path`."""
        ...

    def lock(self, path: Path) -> Lock:
        """Lock a file exclusively, creating it. Raises BlockingIOError when somebody else holds it."""
        ...


class OsFile:
    """A file of this machine."""

    pwritev: Callable[[Sequence[Buffer], int], int]
    fdatasync: Callable[[], None]
    fsync: Callable[[], None]

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.pwritev = partial(os.pwritev, fd)
        self.fdatasync = partial(os.fdatasync, fd)
        self.fsync = partial(os.fsync, fd)

    def pread(self, buffer: bytearray | memoryview, offset: int) -> int:
        view = memoryview(buffer)
        done = 0
        while done < len(view):
            count = os.preadv(self._fd, [view[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def pread_cached(self, buffer: bytearray | memoryview, offset: int) -> int:
        try:
            count = os.preadv(self._fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                return -1
            raise
        # A short answer means that the rest is not cached, or the end of the file: let the waiting read tell.
        return count if count == len(buffer) else -1

    def is_cached(self, offset: int, size: int) -> bool:
        return is_cached(self._fd, offset, size)

    def send(self, target: int, offset: int, size: int) -> int:
        return os.sendfile(target, self._fd, offset, size)

    def will_need(self, offset: int, size: int) -> None:
        with contextlib.suppress(OSError):  # a hint that cannot be taken says nothing about the bytes
            os.posix_fadvise(self._fd, offset, size, os.POSIX_FADV_WILLNEED)

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def drop_cache(self) -> None:
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def next_data(self, offset: int) -> int:
        try:
            # lseek(2): room that was reserved and never written counts as a hole, and a hole reads as zeros.
            return max(offset, os.lseek(self._fd, offset, os.SEEK_DATA))
        except OSError as error:
            if error.errno == errno.ENXIO:
                return max(offset, self.size())
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return offset
            raise

    def hold(self) -> None:
        """It has its descriptor until `close`."""

    def release(self) -> None:
        pass

    def close(self) -> None:
        os.close(self._fd)


class OsLock:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        os.close(self._fd)


class OsFiles:
    """The file system of this machine."""

    def create(self, path: Path) -> OsFile:
        return OsFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))

    def open(self, path: Path) -> OsFile:
        return OsFile(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def list_directory(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: Path) -> bool:
        return path.exists()

    def is_regular_file(self, path: Path) -> bool:
        return path.is_file()

    def is_directory(self, path: Path) -> bool:
        return path.is_dir()

    def kind(self, path: Path) -> FileKind:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return FileKind.NOTHING
        if stat.S_ISREG(mode):
            return FileKind.FILE
        return FileKind.DIRECTORY if stat.S_ISDIR(mode) else FileKind.OTHER

    def size(self, path: Path) -> int:
        return os.stat(path).st_size

    def changed_ms(self, path: Path) -> int:
        return os.lstat(path).st_mtime_ns // 1_000_000

    def open_tables(self, directory: Path) -> IndexFile:
        return IndexFile(directory)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def remove_directory(self, path: Path) -> None:
        os.rmdir(path)

    def free_bytes(self, path: Path) -> int:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def lock(self, path: Path) -> OsLock:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return OsLock(fd)


def read_whole(files: Files, path: Path) -> bytes:
    """All bytes of a small file."""
    file = files.open(path)
    try:
        buffer = bytearray(file.size())
        return bytes(buffer[: file.pread(buffer, 0)])
    finally:
        file.close()
