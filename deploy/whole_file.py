"""Files that are there whole or not at all, whatever comes between: a full disk, a kill, a power cut."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int = 0o666, for_others: bool = False) -> None:
    """Write a file so that a reader, and whoever comes after a power cut, sees the old content or the new, never a part.

    The umask takes from `mode`; what is `for_others` everybody may read. Raises OSError, and leaves nothing behind.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if for_others:
                os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            # Without this a rename may be durable before the bytes are, and leave an empty file.
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        # On a full disk say: a directory with a stranger in it would never become a cluster.
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_once(path: Path, text: str) -> None:
    """Write a line into a file that its owner alone reads, unless it is there; under a lock. Raises OSError."""
    if not path.exists():
        replace(path, f"{text}\n".encode(), mode=0o600)
