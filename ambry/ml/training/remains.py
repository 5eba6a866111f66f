"""Directories of jobs on a machine: locked while somebody has them, and removed by the next job when their owner was killed.

They have the key of the store, so none is to outlive its job. Only directories of this user with a lock that nobody holds are
removed. One that has STAGED stays, without its secrets, until its launcher has removed what it names: of files that are called
after an application of YARN the name stays, empty.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from ambry.client.locked_file import listed_if_allowed
from ambry.client.tree_removal import remove_tree
from ambry.ml.training.launchers.spark_task import LOCK, PREFIX, take_lock

STAGED = "staged.json"
"""Names what lies elsewhere for this job."""
CONF = "conf"
APPLICATION = re.compile(r"application_\d+_\d+")
"""What TonY's client leaves where it is started begins with its application, from before it stages anything."""
LEFT_MAX = 64
"""So many are looked at by one job."""


@contextmanager
def held_directory() -> Iterator[Path]:
    """A directory of this process, of mode 0700, which is gone in the end. Raises OSError."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = take_lock(directory)
    try:
        yield directory
    finally:
        empty(directory)
        os.close(lock)


def left_behind() -> Iterator[Path]:
    """Directories whose owners are dead, each locked while it is looked at."""
    for directory in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        try:
            found = directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # Nobody's yet, or gone.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # Its owner lives.
        else:
            yield directory
        finally:
            os.close(lock)


def remove_left_behind() -> None:
    """What dead owners left, with the key of the store in it."""
    for directory in islice(left_behind(), LEFT_MAX):
        empty(directory)


def empty(directory: Path) -> None:
    """Remove a directory, but for what says where the rest of the job lies. The lock goes last: without it nobody takes what is
    left for that, where this process is killed meanwhile.
    """
    is_staged = (directory / STAGED).exists()
    for name in listed_if_allowed(directory):
        _remove(directory / name, is_staged=is_staged)
    if not is_staged:
        remove_tree(directory)


def _remove(path: Path, *, is_staged: bool) -> None:
    named = APPLICATION.match(path.name) if is_staged else None
    if path.name == LOCK or (is_staged and path.name in (STAGED, CONF)):
        return
    with suppress(OSError):  # What an earlier job left keeps no other one.
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        elif named is None or path.is_symlink():
            path.unlink(missing_ok=True)
        else:  # Neither of the two takes room, and the application has its name at any time.
            os.truncate(path, 0)
            path.rename(path.with_name(named[0]))
