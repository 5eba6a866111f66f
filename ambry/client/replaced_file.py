"""The owner and the mode of a file that another one is to replace: they stay what they were, as far as the system lets them.

What gathers is of whoever writes it until it is whole, so that what a kill left is known as this user's; and nobody reads
meanwhile who may not read the file. Without a right to change an owner or a mode, on a file system that has none, and for an
owner that is not known here, as one of outside of a container, the new file is as any other one. What the file lets its group
do is never given to another group.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_GROUP = stat.S_IRWXG


def replaced_file(target: Path) -> os.stat_result | None:
    """What lies there, if it is a file and no link. Raises OSError, but for one that is not there."""
    with suppress(FileNotFoundError):
        found = target.lstat()
        return found if stat.S_ISREG(found.st_mode) else None
    return None


def gather_for(part: Path | int, there: os.stat_result) -> None:
    """Let an empty file, or its descriptor, be read by no more users than the one that it is to replace."""
    # It can be gone on with, also where that one may not be written.
    _change_mode(part, there, there.st_mode | stat.S_IRUSR | stat.S_IWUSR)


def take_owner(part: Path | int, there: os.stat_result) -> None:
    """Let a file that is whole, or its descriptor, have the owner and the mode of the one that it is about to replace."""
    try:
        os.chown(part, there.st_uid, there.st_gid)
    except OSError:
        # Who may not give a file away may still give it to a group of their own (chown(2)).
        with suppress(OSError):
            os.chown(part, -1, there.st_gid)
    _change_mode(part, there, there.st_mode)


def _change_mode(part: Path | int, there: os.stat_result, mode: int) -> None:
    if os.stat(part).st_gid != there.st_gid:  # noqa: PTH116  # or a descriptor
        # This group may do what everybody may, and no more.
        mode &= ~_GROUP | (mode & stat.S_IRWXO) << 3
    with suppress(OSError):
        os.chmod(part, stat.S_IMODE(mode) & 0o777)  # noqa: PTH101  # or a descriptor
