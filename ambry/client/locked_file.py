"""Locks between processes: a file that one of them holds (flock), and that goes with a kill.

flock(2) belongs to the open file, which a forked child has as well: it would go on until that child ends too. So the lock is
given back before the file is closed, and a forked child closes what it was given, before anything else of it runs.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from ambry.client.flock_within import flock_within

TRIES = 1000
"""So often the file may be another one than that which was opened; each time somebody else has made and removed it."""
WAIT_S = 60.0
"""So long somebody else may have what is waited for: files get names or go under it, which takes milliseconds or as long as a
disk."""
LOCKS = Path("/proc/locks")
"""Who holds which file, as the kernel tells it (proc(5))."""

_opening = threading.Lock()
"""Nobody forks between the opening of a file and its entry in `_open`."""


class LockedFile(io.FileIO):
    """A file to be locked: made where it is not there, never opened through a link, nor waited for as a pipe.

    Closing it gives the lock back. In a forked child it is closed from the beginning, and the lock stays with the parent.
    """

    def __init__(self, path: Path, mode: int = 0o600, *, new: bool = False) -> None:
        """Raises OSError, also where the file is there and is to be a `new` one."""
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_EXCL if new else 0)
        with _opening:
            super().__init__(os.open(path, flags, mode), "rb+")
            _open.add(self)

    def lock(self, *, wait: bool) -> None:
        """Raises BlockingIOError where somebody else has it and it is not waited for, TimeoutError, which says who that is,
        where it is waited for in vain, OSError where there are no locks.
        """
        if wait:
            flock_within(self.fileno(), fcntl.LOCK_EX, WAIT_S, self._path, self._waited_in_vain)
        else:
            fcntl.flock(self, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _waited_in_vain(self) -> str:
        return f"{self._holder()} has had it locked for {WAIT_S:g} s; it may be stopped: end it, and try again"

    def _holder(self) -> str:
        """In words, who has it."""
        with suppress(OSError, ValueError):
            about = os.fstat(self.fileno())
            place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
            for line in LOCKS.read_text("ascii").splitlines():
                fields = line.split()
                if "FLOCK" in fields and "->" not in fields and place in fields and int(fields[4]) > 0:
                    return f"process {int(fields[4])}"
        return "another process"

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):  # Of a file system without locks.
                fcntl.flock(self, fcntl.LOCK_UN)
            super().close()

    def forget(self) -> None:
        """Close it, and leave the lock to the other process that has the file."""
        super().close()


_open: WeakSet[LockedFile] = WeakSet()


def _in_child() -> None:
    global _opening
    _opening = threading.Lock()
    for file in list(_open):
        file.forget()
    _open.clear()


os.register_at_fork(
    before=lambda: _opening.acquire(), after_in_parent=lambda: _opening.release(), after_in_child=_in_child
)


def try_lock(path: Path, mode: int = 0o600) -> LockedFile | None:
    """Make a file and lock it; None while somebody else has it. Who has it may rename or remove it, and closes it then.

    Raises OSError, also on a file system without locks, and on one that tells another file each time.
    """
    try:
        return _locked(path, mode, wait=False)
    except BlockingIOError:
        return None


@contextmanager
def locked_by(path: Path) -> Iterator[None]:
    """The block runs when nobody else has this file, which is made for it, waited for, and gone in the end.

    It is to be a file that nobody locks for something else; one with something in it is somebody's own, and stays. Where it
    cannot be made, as beside one of another user, and on a file system without locks nobody is waited for.

    Raises TimeoutError where somebody has it for too long.
    """
    file = None
    try:
        file = _locked(path, 0o600, wait=True)
    except TimeoutError:
        raise
    except OSError:
        pass
    with _gone_in_the_end(file, path):
        yield


@contextmanager
def locked_at_once(path: Path) -> Iterator[None]:
    """As `locked_by`, by who does not wait. Raises BlockingIOError where somebody else has it, OSError where there is none."""
    with _gone_in_the_end(_locked(path, 0o600, wait=False), path):
        yield


@contextmanager
def _gone_in_the_end(file: LockedFile | None, path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        if file is not None and not file.closed:  # In a forked child it is the parent's.
            _remove_empty(file, path)
            file.close()


def _locked(path: Path, mode: int, *, wait: bool) -> LockedFile:
    """The file that is there under this name, made where there is none, and locked.

    Raises what `LockedFile.lock` does where somebody else has it, OSError where it cannot be had at all: what was
    made for it, and is empty, is gone then.
    """
    for _ in range(TRIES):
        file = LockedFile(path, mode)
        try:
            file.lock(wait=wait)
            # Who had it before may have renamed or removed the file while we opened it.
            if _is_at(file, path):
                return file
        except (BlockingIOError, TimeoutError):  # It is somebody else's.
            file.close()
            raise
        except OSError:
            # A file system without locks. Who writes into such a file has it locked, so that nobody does here.
            _remove_empty(file, path)
            file.close()
            raise
        except BaseException:
            file.close()
            raise
        file.close()
    raise OSError(errno.ENOLCK, f"it is another file each time it is looked at, {TRIES} times", str(path))


def _remove_empty(file: LockedFile, path: Path) -> None:
    """What may have been made to be locked; a file with something in it, or what is none, nobody made for that."""
    with suppress(OSError):
        found = os.fstat(file.fileno())
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not found.st_size and _is_at(file, path):
            path.unlink()


def _is_at(file: LockedFile, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def listed_if_allowed(directory: Path) -> list[str]:
    """The names in a directory for who tidies up beside what was asked for: none of one that may be written and not read."""
    try:
        return listed(directory)
    except OSError:
        return []


def listed(directory: Path) -> list[str]:
    """The names in a directory, none where there is no directory."""
    try:
        return [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
