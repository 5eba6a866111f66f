"""Blobs into files: large ones in sections, several at a time, and on from where an earlier download stopped."""

from __future__ import annotations

from typing import NamedTuple

from ambry.client.aio.blobs import AsyncBlobs
from ambry.client.aio.reader import AsyncBlobReader
from ambry.client.aio.waiting import at_once, blocking
from ambry.client.beside import tell_kept
from ambry.client.gathering import Gathering
from ambry.client.model import BlobInfo, ByteRange, Progress, StrPath, Timeout, TransferConfig
from ambry.client.pace import Bandwidth
from ambry.client.part_file import PartFile
from ambry.client.pieces import PieceSpan, cut
from ambry.client.refs import PinnedName, Ref, found_as, id_in
from ambry.client.transfer import BlobDownload
from ambry.errors import ChecksumMismatch, RangeNotSatisfiable
from ambry.ids import BlobId

ALL_BYTES = 1 << 62


class AsyncDownloads(AsyncBlobs):
    """The call that writes a blob into a file."""

    async def get_file(
        self,
        ref: Ref,
        path: StrPath,
        *,
        resume: bool = True,
        overwrite: bool = False,
        progress: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> BlobInfo:
        """Download a blob; `path` appears at once, whole and verified, or not at all.

        From `transfer.threshold` bytes on it comes in sections, `max_concurrency` at a time. The bytes gather in
        `<path>.<id>.part`; with `resume` an interrupted download goes on from there the next time, also after a kill. Nothing
        that is found there is believed: pieces count whose bytes have their digests, and the digest of the blob decides at the
        end; where it says no, all is read anew, once. What is zero in the blob is a hole in the file,
        but for what comes when a download goes on: other bytes may stand there. With `overwrite` it has the owner and the mode
        of the file whose place it takes; a link there is replaced, not followed.
        The file is not synced to disk. Raises AlreadyExists unless `overwrite`. An error says which bytes are kept, and where.

        >>> info = await client.get_file(blob, "greeting.txt")
        >>> open("greeting.txt").read()
        'hello world'
        """
        timeout = self._whole(timeout)
        place = self._place(ref)
        known = None if isinstance(place, (BlobId, PinnedName)) else await self.head(place, timeout=timeout)
        found = await self._find(ref, timeout) if known is None else found_as(known)
        blob = id_in(found)
        asked = _Asked(found, self._transfer_of(transfer), self._pace_of(transfer), timeout)
        part = PartFile(path, blob, overwrite=overwrite, unique=self._random.randbytes(16).hex(), resume=resume)
        gathering = Gathering(part, asked.transfer.chunk_size, progress)
        try:
            await blocking(gathering.resume)
            try:
                info = await self._gathered(asked, gathering)
            except ChecksumMismatch:
                if not gathering.resumed:
                    raise
                await blocking(gathering.restart)
                info = await self._gathered(asked, gathering)
            await blocking(gathering.finish)
            await blocking(part.commit)
        except BaseException as error:
            keep = resume and gathering.worth_keeping and not isinstance(error, ChecksumMismatch)
            if part.abandon(keep=keep):
                tell_kept(error, f"{gathering.bytes_there} bytes are kept in {part.path}")
            raise
        if gathering.pieces.count > 1:  # Smaller ones leave nothing, and would look into their directory each.
            await blocking(part.drop_older)
        return known or info

    async def _gathered(self, asked: _Asked, gathering: Gathering) -> BlobInfo:
        """Fetch what is missing, and look whether all of it is right. Raises ChecksumMismatch."""
        info = await self._gather(asked, gathering)
        if unsettled := await blocking(gathering.judge, info, self._verify):
            await self._read_again(asked.found, unsettled, asked.timeout)
        return info

    async def _gather(self, asked: _Asked, gathering: Gathering) -> BlobInfo:
        """Fetch what is missing. The first request tells how large the blob is, and goes on as one of the sections."""
        moved = asked.transfer
        section_size = moved.part_size if moved.max_concurrency > 1 else ALL_BYTES
        missing = gathering.missing(section_size)
        if gathering.pieces.size and not missing:
            info = await self.head(asked.found, timeout=asked.timeout)
            if info.size == gathering.pieces.size:
                return info
            await blocking(gathering.restart)
        if missing:
            wanted = ByteRange(*missing[0])
        else:
            piece_size = cut(0, moved.chunk_size).piece_size
            most = max(piece_size, moved.threshold // piece_size * piece_size)
            wanted = ByteRange(0, most if moved.max_concurrency > 1 else None)
        try:
            reader = await self._section(asked, wanted)
        except RangeNotSatisfiable:  # An empty blob, or one that is not as large as what is there says.
            await blocking(gathering.restart)
            wanted = ByteRange(0)
            reader = await self._section(asked, wanted)
        info = reader.info
        before = gathering.pieces
        try:
            await blocking(gathering.begin, info)
        except BaseException:
            await reader.close()
            raise
        if before.size and gathering.pieces.size != before.size:
            await reader.close()
            return await self._gather(asked, gathering)
        first = PieceSpan(wanted.start, wanted.start + reader.remaining)
        others = gathering.missing(section_size, first)

        async def one(section: _Section) -> None:
            try:
                gathering.check()
                opened = section.reader or await self._section(asked, ByteRange(*section.span))
                async with opened as reading:
                    if (reading.info.size, reading.info.checksum) != (info.size, info.checksum):
                        raise ChecksumMismatch(
                            f"blob {id_in(asked.found)} changed while it was read, which must never be; report this",
                            request_id=reading.request_id,
                        )
                    await self._fill(gathering, reading, section.span)
            except BaseException as error:
                gathering.failed(error)
                raise

        work = [_Section(first, reader), *(_Section(span, None) for span in others)]
        if len(work) == 1:
            await one(work[0])
            return info
        try:
            await at_once(one, work, moved.max_concurrency, gathering.stop)
        except Exception:
            await reader.close()
            if gathering.failure is not None:
                raise gathering.failure from None
            raise
        return info

    async def _fill(self, gathering: Gathering, reader: AsyncBlobReader, span: PieceSpan) -> None:
        """Bring all pieces of a section."""
        position = span.start
        async with self._memory.hold(gathering.pieces.piece_size):
            buffer = bytearray(min(gathering.pieces.piece_size, max(1, gathering.pieces.size)))
            while position < span.stop:
                size = gathering.piece_at(position)
                with memoryview(buffer) as whole, whole[:size] as view:
                    await reader.readinto(view)
                await blocking(gathering.take, position, buffer, size)
                position += size
            gathering.request_id = reader.request_id

    async def _section(self, asked: _Asked, wanted: ByteRange) -> AsyncBlobReader:
        whole = None if wanted == ByteRange(0) else wanted
        download = BlobDownload(asked.found, whole, verify=self._verify, hashed_elsewhere=True)
        download.pace = asked.pace
        return await self._open(download, asked.timeout)


class _Asked(NamedTuple):
    """One call."""

    found: BlobId | PinnedName
    transfer: TransferConfig
    pace: Bandwidth | None
    timeout: Timeout | None


class _Section(NamedTuple):
    """Bytes that one request brings; `reader` is there where it was made already."""

    span: PieceSpan
    reader: AsyncBlobReader | None
