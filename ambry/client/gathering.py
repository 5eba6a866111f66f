"""A blob that gathers in a part file: its pieces come in any order, on any thread, and their digest decides at the end.

Blocking: pieces are written and read back. The digest of the whole follows the pieces that are there from the beginning on,
so that when the last one comes hardly anything is left to be hashed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ambry.checksum import DIGEST_SIZE, Buffer, digest
from ambry.client.model import BlobInfo, Progress, Verify
from ambry.client.part_file import PartFile
from ambry.client.pieces import FOOTER_BYTES, Pieces, PieceSpan, cut, parse_footer, said_digests, sections
from ambry.client.stopping import FileMove
from ambry.client.whole_digest import WholeDigest
from ambry.errors import ChecksumMismatch, must_have

NOTHING = PieceSpan(0, 0)


class Gathering(FileMove):
    """What has come of one blob. `size` is 0 before `begin`, or `resume`, has said how large the blob is."""

    def __init__(self, part: PartFile, piece_size: int, progress: Progress | None) -> None:
        super().__init__()
        self._part = part
        self._wanted = piece_size
        self._progress = progress
        self._hashing = threading.Lock()
        self._there: set[int] = set()
        self._digest: WholeDigest | None = None
        self._hashed = 0
        """Pieces that the digest of the whole has seen."""
        self._zeros = b""
        """A piece that need not be written. Of what an earlier download left there is none: other bytes may stand in it."""
        self._reported = -1
        self._done = 0
        self.pieces = Pieces(0, piece_size)
        self._finished = False
        self.request_id = ""
        """Of the request that brought something last."""
        self.resumed = False
        """Whether some of it came before this call."""

    # --- its beginning ---

    def resume(self) -> None:
        """Take what an earlier download left, as far as its bytes have the digests that it said."""
        file_size = self._part.size
        found = (
            parse_footer(self._part.read_at(file_size - FOOTER_BYTES, FOOTER_BYTES), file_size) if file_size else None
        )
        if found is None:
            if file_size:
                self._part.restart()
            return
        self.pieces = found
        table = self._part.read_at(found.size, found.count * DIGEST_SIZE)
        for index, said in said_digests(table).items():
            span = found.span(index)
            if digest(self._part.read_at(span.start, span.stop - span.start)) == said:
                self._there.add(index)
                self._done += span.stop - span.start
        self.resumed = bool(self._there)

    def begin(self, info: BlobInfo) -> None:
        """How large it is. What is there of a blob of another size is thrown away."""
        if self.pieces.size != info.size:
            self.restart()
            self.pieces = cut(info.size, self._wanted)
            if self.pieces.count > 1:
                self._part.cut_to(info.size + self.pieces.table_size)
                self._part.write_at(info.size + self.pieces.table_size - FOOTER_BYTES, self.pieces.footer())
            self._zeros = bytes(self.pieces.piece_size)
        self._digest = self._digest or WholeDigest(info.size, info.checksum, info.etag)
        self._report()

    def restart(self) -> None:
        """Throw away all that is there."""
        self._part.restart()
        self._there.clear()
        self._digest, self._hashed, self._done = None, 0, 0
        self.pieces = Pieces(0, self._wanted)
        self.request_id = ""
        self.resumed = False

    # --- what is missing ---

    def missing(self, section_size: int, coming: PieceSpan = NOTHING) -> Sequence[PieceSpan]:
        """What has not come, and is not on its way in `coming`, in spans of at most so many bytes, or one piece."""
        size = self.pieces.piece_size
        return sections(
            self.pieces, {*self._there, *range(coming.start // size, -(-coming.stop // size))}, section_size
        )

    @property
    def worth_keeping(self) -> bool:
        """Whether a later download can go on from here."""
        return bool(self._there) and self.pieces.count > 1 and not self._finished

    @property
    def bytes_there(self) -> int:
        """What has come and is what it should be, as far as pieces tell."""
        return self._done

    # --- pieces ---

    def piece_at(self, start: int) -> int:
        """The bytes of the piece that begins at byte `start`."""
        span = self.pieces.span(start // self.pieces.piece_size)
        return span.stop - span.start

    def take(self, start: int, buffer: bytearray, size: int) -> None:
        """The piece that begins at byte `start` is the first `size` bytes of `buffer`, which may be used again on return."""
        self.check()
        index = start // self.pieces.piece_size
        with memoryview(buffer) as whole, whole[:size] as data:
            said = digest(data)
            is_hole = size == len(self._zeros) and buffer.startswith(self._zeros)
            if not is_hole:  # A hole of the blob stays one of the file.
                self._part.write_at(start, data)
            if self.pieces.count > 1:
                self._part.write_at(self.pieces.entry_offset(index), said)
            if index == self._hashed and self._hashing.acquire(blocking=False):
                try:
                    if index == self._hashed:
                        self._see(data)
                        self._hashed += 1
                finally:
                    self._hashing.release()
        with self._lock:
            self._there.add(index)
            self._done += size
            self._report_locked()
        self._hash_on(wait=False)

    def judge(self, info: BlobInfo, verify: Verify) -> str:
        """All has come. Raises ChecksumMismatch where it is not what the server has.

        Gives the xxh3-128 of all bytes, where only another read of the blob can tell whether they are right; else nothing.
        """
        self._digest = self._digest or WholeDigest(info.size, info.checksum, info.etag)
        self._hash_on(wait=True)
        if self._hashed != self.pieces.count or self.pieces.size != info.size:
            raise ChecksumMismatch(
                f"blob {info.id} has {info.size} bytes, and not all of them came; read it again",
                request_id=self.request_id,
            )
        if verify == "never":
            return ""
        self._digest.check(f"blob {info.id}", request_id=self.request_id)
        return self._digest.unsettled

    def finish(self) -> None:
        """It is right: what says which pieces are there is cut off."""
        self._part.cut_to(self.pieces.size)
        self._finished = True

    def _see(self, data: Buffer) -> None:
        must_have(self._digest, "what a blob is comes before its pieces").update(data)

    def _hash_on(self, *, wait: bool) -> None:
        """Go on with the digest of the whole over the pieces that others brought; one at a time does."""
        while self._hashed in self._there:
            if not self._hashing.acquire(blocking=wait):
                return
            try:
                if self._hashed in self._there:
                    span = self.pieces.span(self._hashed)
                    self._see(self._part.read_at(span.start, span.stop - span.start))
                    self._hashed += 1
            finally:
                self._hashing.release()

    def _report(self) -> None:
        with self._lock:
            self._report_locked()

    def _report_locked(self) -> None:
        if self._progress is not None and self._done > self._reported:
            self._reported = self._done
            self._progress(self._done, self.pieces.size)
