"""One segment file of a partition log.

A segment is created whole (preallocated, header written, synced, renamed, directory synced) before the first record goes
in, so a full disk shows before anything is acknowledged, and a crash on the way leaves a `.tmp` file and never a segment
without a header. Its number is in its name and in the index, its base LSN in its header.
"""

from __future__ import annotations

import errno
from pathlib import Path

from ambry.errors import DataCorrupt
from ambry.format import segment as segment_format
from ambry.format.segment import HEADER_SIZE, SegmentHeader
from datanode.store.files import File, Files

SUFFIX = ".segment"
UNFINISHED_SUFFIX = SUFFIX + ".tmp"


def segment_name(number: int) -> str:
    return f"{number:08d}{SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, None for any other name."""
    stem = name.removesuffix(SUFFIX)
    return int(stem) if name.endswith(SUFFIX) and len(stem) == 8 and stem.isdigit() else None


class Segment:
    """An open segment. `end` is the offset behind the last record placed in it, bytes from the start of the file."""

    def __init__(self, number: int, header: SegmentHeader, file: File | None) -> None:
        self.number = number
        self.header = header
        self.end = HEADER_SIZE
        self._file = file

    @property
    def base_lsn(self) -> int:
        return self.header.base_lsn

    @property
    def end_lsn(self) -> int:
        return self.header.base_lsn + self.end

    @property
    def room(self) -> int:
        """Bytes that still fit."""
        return self.header.capacity_bytes - self.end

    @property
    def file(self) -> File:
        if self._file is None:
            raise DataCorrupt(f"segment {self.number} is not on disk")
        return self._file

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    def create(self, files: Files, directory: Path) -> None:
        """Put the planned segment on disk, durable on return. Raises OSError and leaves nothing behind."""
        path = directory / segment_name(self.number)
        temporary = directory / (path.name + ".tmp")
        if files.exists(path):
            raise FileExistsError(errno.EEXIST, "a segment is never written over", str(path))
        if files.exists(temporary):
            files.unlink(temporary)
        at = temporary
        file = files.create(temporary)
        try:
            file.allocate(self.header.capacity_bytes)
            file.pwritev([segment_format.encode(self.header)], 0)
            file.fsync()
            files.rename(temporary, path)
            at = path
            # fsync the directory too: the new name is not durable without it.
            files.sync_directory(directory)
        except OSError:
            file.close()
            files.unlink(at)
            raise
        self._file = file

    @classmethod
    def open(cls, files: Files, directory: Path, number: int) -> Segment:
        """Open an existing segment. Raises DataCorrupt when its header is damaged; OSError."""
        file = files.open(directory / segment_name(number))
        try:
            buffer = bytearray(HEADER_SIZE)
            count = file.pread(buffer, 0)
            return cls(number, segment_format.decode(buffer[:count]), file)
        except BaseException:
            file.close()
            raise

    def view(self, end: int) -> Segment:
        """The same segment up to `end`, for a reader on another thread. It shares the file: do not close it."""
        view = Segment(self.number, self.header, self._file)
        view.end = end
        return view

    def adopt_file(self, file: File) -> None:
        """The planned segment was put on disk by somebody else: compaction."""
        self._file = file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
