"""Small files that remember how far something got, replaced whole.

They may stand in a folder that others write to as well: what is written goes through nothing that somebody laid there.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from ambry.clock import system_random

TEXT_BYTES_MAX = 64 << 10
"""Of what is read; such a file has some hundred."""


def replace_text(path: Path, text: str) -> None:
    """Let the file hold this and nothing else; whole at every moment, durable on return.

    Raises OSError, and leaves nothing of it behind then. Of two who do it at once the last one's stays.
    """
    fresh = path.with_name(f"{path.name}.{system_random().randbytes(16).hex()}.new")
    try:
        with fresh.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_text(path: Path) -> str:
    """What it holds. Raises OSError, also for a link and what is no file; UnicodeDecodeError."""
    # Without O_NONBLOCK a pipe that was laid there would be waited at.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with io.FileIO(os.open(path, flags), "r") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return file.read(TEXT_BYTES_MAX).decode()
