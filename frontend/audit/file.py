"""The file of an audit: whole lines, appended. At `rotate_bytes` FILE becomes FILE.1, FILE.1 becomes FILE.2, `keep` of them.

Its owner alone reads it. It may be moved away by others, too: the next line begins another one. Blocking; one thread at a time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class AuditFile:
    """One process has it."""

    def __init__(self, path: Path, *, rotate_bytes: int, keep: int) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._number: int | None = None

    def begin(self) -> None:
        """Begin it, or go on behind what stands there, which a kill may have cut in the middle of a line. Raises OSError."""
        number = self._open()
        size = os.fstat(number).st_size
        with self._path.open("rb") as file:
            file.seek(max(0, size - 1))
            torn = file.read(1) not in (b"", b"\n")
        if torn:
            self._write(b"\n")

    def write(self, lines: bytes, *, sync: bool) -> None:
        """Append whole lines, and with `sync` see that all are on the disk.

        Raises OSError; lines that could not be written are not there, not in part either.
        """
        if lines:
            self._write(lines)
        if sync and self._number is not None:
            os.fdatasync(self._number)

    def close(self) -> None:
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def _write(self, lines: bytes) -> None:
        if self._number is not None and self._is_moved(self._number):
            self.close()
        number = self._open()
        size = os.fstat(number).st_size
        if size and size + len(lines) > self._rotate_bytes:
            number = self._rotate(number)
            size = os.fstat(number).st_size
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(number, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(number, size)
            raise

    def _open(self) -> int:
        if self._number is None:
            self._number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return self._number

    def _is_moved(self, number: int) -> bool:
        try:
            return not os.path.samestat(os.fstat(number), self._path.stat())
        except FileNotFoundError:
            return True

    def _rotate(self, number: int) -> int:
        """Begin a new file. What was written is on the disk before it gets another name."""
        os.fdatasync(number)
        # Where a number is free no older file moves: one that failed in the middle goes on where it was, and loses none.
        free = next((number for number in range(1, self._keep) if not self._numbered(number).exists()), self._keep)
        for older in range(free - 1, 0, -1):
            self._numbered(older).rename(self._numbered(older + 1))
        self._path.rename(self._numbered(1))
        self.close()
        return self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
