"""The log of a process that goes on writing to it."""

from __future__ import annotations

from pathlib import Path


def lines_of(path: Path, start: int = 0) -> list[str]:
    """The whole lines from an offset on, which is where one begins. What is being written at this moment is none yet."""
    with path.open("rb") as stream:
        stream.seek(start)
        whole, _, _ = stream.read().rpartition(b"\n")
    return whole.decode("utf-8").splitlines()


def end_of(path: Path) -> int:
    """Where the last whole line ends, in bytes."""
    return path.read_bytes().rfind(b"\n") + 1
