"""What the client keeps beside files of the user, to go on from: its names, and whose it is."""

from __future__ import annotations

import os
import re
import stat

from ambry.errors import AmbryError

_OURS = re.compile(
    r".*\.[A-Za-z0-9_-]{48}(\.[0-9a-f]{32})?\.part|.*\.ambry-upload(\.([0-9a-f]{32}\.)?new)?|\.ambry-([0-9a-f]{64}|lock)_*"
    r"|\..*\.[0-9a-f]{16}\.part",
    re.DOTALL,
)

LEFT_OUT = "it is called as what downloads and uploads keep beside files, and is left out"
"""Of a file: one that is somebody's own must go alone, or be called something else."""


def is_ours(name: str) -> bool:
    """Whether a file of this name is what a download or an upload keeps: whoever stores a folder leaves it out."""
    return _OURS.fullmatch(name) is not None


def is_own(found: os.stat_result) -> bool:
    """Whether it is a file that this user made, which nobody can reach by another name."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1


def tell_kept(error: BaseException, what: str) -> None:
    """Let an error say what it left, and how to go on."""
    told = f"{what}; the same call goes on from there, or remove it"
    if isinstance(error, AmbryError):
        error.message = f"{error.message}; {told}" if error.message else told
    else:
        error.add_note(told)
