"""The file of a process's standard output and error, of bounded size: `path`, and `path.1` (the latest) to `path.<keep>`.

The descriptors 1 and 2 are pointed to it, so what a library or the interpreter itself has to say stands there as well. The
directory of a local cluster is as full as its logs, and nobody else turns those over. Of a link it is what that leads to; a
device or a pipe has no bound, and stays where it is.
"""

from __future__ import annotations

import os
from pathlib import Path

STANDARD = (1, 2)


class LogFile:
    """Call `open` once, then `wrote` after every line. One process at a time may have it."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._size = 0
        self._console: int | None = None

    def open(self) -> None:
        """Let everything go to the file from now on, behind what stands there. Raises OSError."""
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            if self._console is None and not os.path.sameopenfile(number, 2):
                self._console = os.dup(2)
            for standard in STANDARD:
                os.dup2(number, standard)
            self._size = os.fstat(number).st_size
        finally:
            os.close(number)

    def tell(self, line: str) -> None:
        """Say something to whoever started this process as well, if standard error was anything else. Raises OSError."""
        if self._console is not None:
            os.write(self._console, f"{line}\n".encode())

    def wrote(self, size: int) -> None:
        """So many bytes were written: begin a new file if that was too much. Raises OSError, and goes on with the old one."""
        self._size += size
        if self._size < self._max_bytes:
            return
        self._size = 0  # where this fails, it is tried again after as much
        path = Path(os.path.realpath(self._path))
        if path.exists():  # else what is written to has its number already, and the new one could not be opened
            if not path.is_file():
                return  # /dev/null would be another thing for all of this machine
            for number in range(self._keep - 1, 0, -1):
                if (older := _numbered(path, number)).exists():
                    older.rename(_numbered(path, number + 1))
            path.rename(_numbered(path, 1))
        self.open()


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
