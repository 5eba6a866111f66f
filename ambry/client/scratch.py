"""Directories for what stands on a disk of this machine only while something is made of it: gone in the end, however that ends.

A process that is killed leaves its own, with up to a whole checkpoint or snapshot in it. It was locked (locked_parts.py), and
the next one of its kind at that place removes it. What another machine made there stays, as locks of some shared file systems
are of one machine alone.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ambry.client.locked_parts import locked_part, remove_left


@contextmanager
def scratch_directory(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """A new one of mode 0700 in `parent`, else in the system's directory for temporary files: `ambry-KIND-...`.

    Raises OSError, which names what it was about, as that of a full disk does not by itself.
    """
    where = Path(tempfile.gettempdir() if parent is None else parent)
    prefix = f"ambry-{kind}-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]}-"
    remove_left(where, re.compile(rf"{re.escape(prefix)}[0-9a-f]{{16}}"))
    with locked_part(None, lambda: where / f"{prefix}{secrets.token_hex(8)}", _make) as directory:
        yield directory


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700)
