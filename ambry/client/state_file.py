"""Small files that remember how far something got, replaced whole.

They may stand in a folder that others write to as well: what is written goes through nothing that somebody laid there.
"""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

from ambry.client.beside import is_own
from ambry.clock import system_random

TEXT_BYTES_MAX = 64 << 10
"""Of what is read; such a file has some hundred."""


def replace_text(path: Path, text: str) -> None:
    """Let the file hold this and nothing else; whole at every moment, durable on return.

    Raises OSError, and leaves nothing of it behind then. Of two who do it at once the last one's stays.
    """
    fresh = path.with_name(f"{path.name}.{system_random().randbytes(16).hex()}.new")
    try:
        # Who may read it learns of an upload that is under way.
        with open(fresh, "x", encoding="utf-8", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in it durable. Raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_text(path: Path) -> str:
    """What it holds. Raises OSError, also for a link, what is no file and what another user may have laid there;
    UnicodeDecodeError.
    """
    # Without O_NONBLOCK a pipe that was laid there would be waited at.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with io.FileIO(os.open(path, flags), "r") as file:
        if not is_own(os.fstat(file.fileno())):
            raise OSError(errno.EINVAL, "it is no file of this user", str(path))
        return file.read(TEXT_BYTES_MAX).decode()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
