"""The directories of the cache of this machine: made for its user alone, and not used where others may write."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ambry.errors import AccessDenied

_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Blobs that can be fetched again (ambry). See https://bford.info/cachedir/\n"
)


def make_directories(directories: Sequence[Path]) -> None:
    """The first one is the cache, and has the others. Raises OSError, which says how to name another one."""
    # Each is looked for: who frees a disk may have removed any of them.
    if all(directory.is_dir() for directory in directories):
        return
    cache = directories[0]
    try:
        for directory in directories:
            directory.mkdir(mode=0o700, parents=directory is cache, exist_ok=True)
        with suppress(FileExistsError), (cache / "CACHEDIR.TAG").open("x") as tag:
            tag.write(_TAG)
    except OSError as error:
        words = f"the cache of this machine cannot be made there ({error.strerror}); name another directory (AMBRY_CACHE_DIR)"
        raise OSError(error.errno, words, str(cache)) from error


def check_private(directories: Sequence[Path]) -> None:
    """Raises AccessDenied where somebody else may put something there, and OSError."""
    for directory in directories:
        try:
            found = directory.stat()
        except FileNotFoundError:
            continue  # Nobody can put anything there.
        if not is_trusted(found):
            whose = f"belongs to another user (uid {found.st_uid}): chown it"
        elif found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
            whose = "can be written by others, who could put other bytes under the id of a blob: chmod go-w it"
        else:
            continue
        raise AccessDenied(f"the cache is not used: {directory} {whose}, or name another one (AMBRY_CACHE_DIR)")


def is_trusted(found: os.stat_result) -> bool:
    """Whether it is of this user, or of root."""
    return found.st_uid in (os.geteuid(), 0)
