"""Trees that go for good, whatever their modes are: who made a directory that may not be written removes it all the same.

shutil.rmtree leaves what lies in such a directory (unlink(2): the directory needs the permission, not the file), but for root.

Imports the standard library alone: it travels to nodes and to executors of Spark (bundle.py, spark_driver.py).
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it, as far as this user may; nothing is raised for what stays, also of a tree
    that is deeper than Python goes.

    Links in it go, and what they lead to stays as it is.
    """
    _remove(directory)
    if directory.is_dir() and not directory.is_symlink():
        _let_write(directory)
        _remove(directory)


def _remove(directory: Path) -> None:
    with suppress(RecursionError):
        shutil.rmtree(directory, ignore_errors=True)


def _let_write(directory: Path) -> None:
    """Let this user, whose it is, remove what lies in it at any depth."""
    left = [str(directory)]
    while left:
        with suppress(OSError):  # Somebody else's.
            here = left.pop()
            os.chmod(here, 0o700)  # noqa: PTH101  # many of them
            with os.scandir(here) as found:
                left += [each.path for each in found if each.is_dir(follow_symlinks=False)]
