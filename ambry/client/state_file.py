"""Small files that remember how far something got, replaced whole.

They may stand in a folder that others write to as well: what is written goes through nothing that somebody laid there.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from functools import partial
from pathlib import Path

from ambry.client.beside import is_own
from ambry.client.locked_parts import locked_part, remove_left
from ambry.clock import system_random

TEXT_BYTES_MAX = 64 << 10
"""Of what is read; such a file has some hundred, and one with more is none."""


def replace_text(path: Path, text: str) -> None:
    """Let the file hold this and nothing else; whole at every moment, durable on return.

    Raises OSError that names it, also where something else than a file stands there, and leaves nothing of it behind then. Of
    two who do it at once the last one's stays.
    """
    check_replaceable(path)
    # Who may read it learns of an upload that is under way.
    with locked_part(path, partial(_fresh, path), _make_private) as fresh:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    sync_directory(path.parent)


def check_replaceable(path: Path) -> None:
    """Raises OSError where something stands that is no file: a device would be replaced itself, for all of this machine, and of
    a link what it leads to would stay as it was.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = (
            "a link" if stat.S_ISLNK(mode) else "a directory" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        )
        raise OSError(errno.EINVAL, f"it is {kind}, which no file of ours takes the place of; name a file", str(path))


def check_writable(path: Path) -> None:
    """Raises OSError that names it where `replace_text` could not begin: before what it is to remember is done."""
    check_replaceable(path)
    with locked_part(path, partial(_fresh, path), _make_private):
        pass


def remove_left_texts(path: Path) -> None:
    """Take away what processes that were killed left of it. Not for one of many files in a directory, which is listed."""
    remove_left(path.parent, re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{32}}\.new"))


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.{system_random().randbytes(16).hex()}.new")


def _make_private(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def sync_directory(path: Path) -> None:
    """Make the names in it durable. Raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_text(path: Path) -> str:
    """As `read_bytes`. Raises UnicodeDecodeError, OSError."""
    return read_bytes(path).decode()


def read_bytes(path: Path) -> bytes:
    """What it holds. Raises OSError, also for a link, what is no file, what another user may have laid there, and what is
    too large: the first half of a state may look like one.
    """
    # Without O_NONBLOCK a pipe that was laid there would be waited at.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with io.FileIO(os.open(path, flags), "r") as file:
        if not is_own(os.fstat(file.fileno())):
            raise OSError(errno.EINVAL, "it is no file of this user", str(path))
        # Not by its size: it may grow in this moment.
        text = file.read(TEXT_BYTES_MAX + 1)
    if len(text) > TEXT_BYTES_MAX:
        words = f"it has more than {TEXT_BYTES_MAX} bytes, so ambry did not write it; name another file, or remove it"
        raise OSError(errno.EFBIG, words, str(path))
    return text
