"""Locks between processes: an empty file that one of them holds (flock), and that goes with a kill."""

from __future__ import annotations

import fcntl
import io
import os
from pathlib import Path


def try_lock(path: Path) -> io.FileIO | None:
    """Make a file and lock it; None while somebody else has it. Who has it may remove the file, and closes it then."""
    while True:
        handle = opened_for_lock(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have removed the file while we opened it.
            if os.path.samestat(os.fstat(handle.fileno()), path.lstat()):
                return handle
        except FileNotFoundError:
            pass
        except BlockingIOError:
            handle.close()
            return None
        except BaseException:
            handle.close()
            raise
        handle.close()


def opened_for_lock(path: Path) -> io.FileIO:
    """Made where it is not there; never through a link. Raises OSError."""
    return io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "rb+")


def listed(directory: Path) -> list[str]:
    """The names in a directory, none where there is no directory."""
    try:
        return [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
