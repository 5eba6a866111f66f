"""What the kernel knows of this process and of files: anonymous memory, bytes written, blocks held, the page cache."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

BLOCK_SIZE = 4096
READ_SIZE = 1 << 20
STAT_BLOCK = 512


def files_below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def segments_below(directory: Path) -> list[Path]:
    return [path for path in files_below(directory) if path.suffix == ".segment"]


def blocks_mb(directory: Path) -> float:
    """What the files below a directory take of the disk, preallocated bytes included."""
    return sum(path.stat().st_blocks for path in files_below(directory)) * STAT_BLOCK / 1e6


def drop(paths: Iterable[Path]) -> None:
    """Put files out of the page cache (posix_fadvise DONTNEED). Needs no rights, and leaves other files alone."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # Only clean pages go.
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_through(paths: Iterable[Path]) -> int:
    """Read files from start to end in preads of 1 MiB. Returns the bytes."""
    total = 0
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            offset = 0
            while count := len(os.pread(descriptor, READ_SIZE, offset)):
                offset += count
            total += offset
        finally:
            os.close(descriptor)
    return total


def rss_anon_mb() -> float:
    """Anonymous memory of this process; the pages of LMDB's map are none."""
    return parse_rss_anon_kib(Path("/proc/self/status").read_text("ascii", "replace")) * 1024 / 1e6


def written_mb() -> float:
    """Bytes that this process made the kernel send to a disk so far: pages count when they become dirty."""
    return parse_write_bytes(Path("/proc/self/io").read_text("ascii")) / 1e6


def parse_rss_anon_kib(text: str) -> int:
    """RssAnon of /proc/<pid>/status."""
    return int(_field(text, "RssAnon").split()[0])


def parse_write_bytes(text: str) -> int:
    """write_bytes of /proc/<pid>/io."""
    return int(_field(text, "write_bytes"))


def _field(text: str, name: str) -> str:
    return next(line.partition(":")[2].strip() for line in text.splitlines() if line.partition(":")[0] == name)


def appends_per_s(directory: Path, count: int) -> float:
    """fdatasyncs per second of one writer that appends 4 KiB at a time to a preallocated file, as a log does."""
    path = directory / "appends.probe"
    block = os.urandom(BLOCK_SIZE)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, count * BLOCK_SIZE)
        os.fsync(descriptor)
        began = time.perf_counter()
        for number in range(count):
            os.pwrite(descriptor, block, number * BLOCK_SIZE)
            os.fdatasync(descriptor)
        return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
