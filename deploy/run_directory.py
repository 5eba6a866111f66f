"""The directory of one run: files that are wanted until its end, which nobody finds there afterwards, however it ends.

It is locked while the run lasts. A run that is killed leaves it, and the next one of whatever kind removes it: a mark tells
that it had begun, the lock that it is over. Who still works in it is ended before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ambry.client.tree_removal import remove_tree
from deploy.directory_lock import locked
from deploy.directory_processes import end_processes

_PREFIX = "ambry-"
_MARK = ".ambry-run"


@contextlib.contextmanager
def run_directory(kind: str) -> Iterator[Path]:
    """A new one below the directory for temporary files, `ambry-KIND-...`. It is gone at the end, also by an interrupt.

    What is left of others that were killed is removed first. Raises OSError.
    """
    remove_left()
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-"))
    try:
        with locked(directory, wait_s=0):
            (directory / _MARK).touch()
            try:
                yield directory
            finally:
                _end(directory)
    finally:
        with contextlib.suppress(OSError):
            directory.rmdir()  # One that has not begun.


def keep(directory: Path) -> None:
    """Let what is in it stay when the run ends, for somebody to look at. Its processes end all the same."""
    (directory / _MARK).unlink(missing_ok=True)


def remove_left() -> None:
    """Remove those of runs of this user that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = left.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and _has_begun(left):
                with locked(left, wait_s=0):
                    _remove(left)


def _end(directory: Path) -> None:
    with contextlib.suppress(OSError):
        try:
            _remove(directory)
        except KeyboardInterrupt:  # A second one. It takes a moment, and nobody else does it.
            _remove(directory)
            raise


def _remove(directory: Path) -> None:
    """The mark goes last: where it does not come to that, the next run goes on. Nobody's files go who still works with them."""
    if end_processes(directory) or not _has_begun(directory):
        return
    for path in directory.iterdir():
        if path.name != _MARK:
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)
    if [path.name for path in directory.iterdir()] == [_MARK]:
        shutil.rmtree(directory)


def _has_begun(directory: Path) -> bool:
    return (directory / _MARK).exists()
