"""Writing to files of the file layer (files.py): all of what is given, in calls of a size that the page cache likes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ambry.checksum import Buffer
from datanode.store.files import IOV_MAX, File, Files

WRITE_BYTES = 512 << 10
"""What one call writes at most. The page cache takes memory in pieces as large as a write (ext4 since Linux 6.16), and pieces
of 1 MiB and more are often not at hand: they are put together first, or, in a virtual machine, asked of its host."""


def write_all(file: File, buffers: Sequence[Buffer], offset: int) -> None:
    """Write all of `buffers` in order, however many calls that takes; they are borrowed until this returns."""
    some: list[Buffer] = []
    size = 0
    for buffer in buffers:
        at, end = 0, len(buffer)
        while at < end:
            part = buffer if not at and end <= WRITE_BYTES - size else memoryview(buffer)[at : at + WRITE_BYTES - size]
            some.append(part)
            at += len(part)
            size += len(part)
            if size == WRITE_BYTES or len(some) == IOV_MAX:
                _write_some(file, some, size, offset)
                offset += size
                some, size = [], 0
    if some:
        _write_some(file, some, size, offset)


def _write_some(file: File, buffers: Sequence[Buffer], size: int, offset: int) -> None:
    done = file.pwritev(buffers, offset)
    if done < size:
        # A short write is rare (a signal, or the disk filling up): finish it from one joined copy.
        rest = memoryview(b"".join(buffers))
        while done < size:
            done += file.pwritev([rest[done:]], offset + done)


def write_atomically(files: Files, path: Path, data: bytes) -> None:
    """Replace a small file so that a crash leaves the old or the new content, durable on return."""
    temporary = path.with_name(path.name + ".tmp")
    if files.exists(temporary):
        files.unlink(temporary)
    file = files.create(temporary)
    try:
        write_all(file, [data], 0)
        file.fsync()
    finally:
        file.close()
    files.rename(temporary, path)
    files.sync_directory(path.parent)
