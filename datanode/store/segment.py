"""One segment file of a partition log.

A segment is created whole (preallocated, header written, synced, renamed, directory synced) before the first record goes
in, so a full disk shows before anything is acknowledged, and a crash on the way leaves a `.tmp` file and never a segment
without a header. Its number is in its name and in the index, its base LSN in its header.
"""

from __future__ import annotations

import errno
from pathlib import Path

from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format import segment as segment_format
from ambry.format.segment import FOOTER_SIZE, HEADER_SIZE, SegmentFooter, SegmentHeader
from datanode.store.files import File, Files
from datanode.store.writing import write_all

SUFFIX = ".segment"
UNFINISHED_SUFFIX = SUFFIX + ".tmp"


def segment_name(number: int) -> str:
    return f"{number:08d}{SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, None for any other name."""
    stem = name.removesuffix(SUFFIX)
    return int(stem) if name.endswith(SUFFIX) and len(stem) == 8 and stem.isdigit() else None


class Segment:
    """An open segment, or one that is planned and has no file yet."""

    file: File
    """Of one that is or was on disk: after `close` it refuses every call."""

    def __init__(self, number: int, header: SegmentHeader, file: File | None = None) -> None:
        self.number = number
        self.header = header
        self.salt = header.salt
        self.base_lsn = header.base_lsn
        self.end = HEADER_SIZE
        """Offset behind the last record placed in it, bytes from the start of the file."""
        self.limit = header.capacity_bytes - FOOTER_SIZE
        """Offset that no record goes beyond: the footer's bytes are not given away."""
        self.footer: SegmentFooter | None = None
        self.footer_damaged = False
        self.on_disk = False
        if file is not None:
            self.adopt_file(file)

    @property
    def end_lsn(self) -> int:
        """First LSN behind the last record. In a compacted segment offsets are no LSNs: there, behind all it covers."""
        return self.header.end_lsn if self.header.generation else self.header.base_lsn + self.end

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
            write_all(file, [segment_format.encode(self.header)], 0)
            file.fsync()
            files.rename(temporary, path)
            at = path
            # fsync the directory too: the new name is not durable without it.
            files.sync_directory(directory)
        except OSError:
            file.close()
            files.unlink(at)
            raise
        self.adopt_file(file)

    @classmethod
    def open(cls, files: Files, directory: Path, number: int) -> Segment:
        """Open an existing segment. Raises DataCorrupt when its header is damaged; OSError.

        FormatUnknown, with the name of the file, for one of a later release.
        """
        file = files.open(directory / segment_name(number))
        try:
            buffer = bytearray(HEADER_SIZE)
            count = file.pread(buffer, 0)
            segment = cls(number, segment_format.decode(buffer[:count]), file)
            segment._read_footer()
            return segment
        except FormatUnknown as cause:
            file.close()
            raise FormatUnknown(f"{directory / segment_name(number)}: {cause.message}") from cause
        except BaseException:
            file.close()
            raise

    def _read_footer(self) -> None:
        size = self.file.size()
        if size < self.header.capacity_bytes or size < HEADER_SIZE + FOOTER_SIZE:
            # Cut: what stands at its end now is no footer. A compacted file is written whole, and always has one.
            self.footer_damaged = self.header.generation > 0
            return
        buffer = bytearray(FOOTER_SIZE)
        self.file.pread(buffer, size - FOOTER_SIZE)
        try:
            footer = segment_format.decode_footer(buffer, self.salt)
        except DataCorrupt:
            self.footer_damaged = True
            return
        if footer is not None and footer.base_lsn == self.base_lsn and footer.end_offset <= size - FOOTER_SIZE:
            self.footer = footer
        else:
            self.footer_damaged = footer is not None or self.header.generation > 0

    def data_size(self) -> int:
        """Offset behind the last byte that may belong to a record. Raises OSError."""
        if self.footer is not None:
            return self.footer.end_offset
        size = self.file.size()
        cut = size < self.header.capacity_bytes or self.header.generation > 0
        return size if cut else size - FOOTER_SIZE

    def seal(self) -> None:
        """Write the footer: nothing is appended any more. Not durable yet. Blocking. Raises OSError."""
        footer = SegmentFooter(base_lsn=self.base_lsn, end_lsn=self.end_lsn, end_offset=self.end)
        image = segment_format.encode_footer(footer, self.salt)
        write_all(self.file, [image], max(self.end, self.header.capacity_bytes - FOOTER_SIZE))
        self.footer = footer

    def frame_intact(self) -> bool:
        """Whether header and footer still stand in the file as they were read or written. Blocking. Raises OSError."""
        expected = [(0, segment_format.encode(self.header))]
        if self.footer is not None:
            place = max(self.footer.end_offset, self.file.size() - FOOTER_SIZE)
            expected.append((place, segment_format.encode_footer(self.footer, self.salt)))
        for offset, image in expected:
            buffer = bytearray(len(image))
            if self.file.pread(buffer, offset) != len(image) or buffer != image:
                return False
        return not self.footer_damaged

    def view(self, end: int) -> Segment:
        """The same segment up to `end`, for a reader on another thread. It shares the file: do not close it."""
        view = Segment(self.number, self.header, self.file)
        view.end = end
        view.footer = self.footer
        view.footer_damaged = self.footer_damaged
        return view

    def adopt_file(self, file: File) -> None:
        """It is on disk: opened, created, or put there by somebody else (compaction)."""
        self.file = file
        self.on_disk = True

    def close(self) -> None:
        if self.on_disk:
            self.on_disk = False
            self.file.close()
