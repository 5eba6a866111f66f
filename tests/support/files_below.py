"""What stands in the files of processes that run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def files_below(directory: Path, pattern: str = "*") -> Iterator[tuple[Path, bytes]]:
    """Every file and its bytes, in order. One that is renamed or removed between being seen and being read is passed over."""
    for path in sorted(directory.rglob(pattern)):
        if path.is_file():
            with suppress(FileNotFoundError):
                yield path, path.read_bytes()
