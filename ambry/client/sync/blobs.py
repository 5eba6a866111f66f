# Generated from ambry/client/aio/blobs.py by `make sync-client`; change that file, not this one.
"""Storing and reading blobs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from numbers import Integral

from ambry.blob import Durability
from ambry.client.model import (
    BlobInfo,
    BlobSource,
    ByteRange,
    Progress,
    StrPath,
    Timeout,
    TransferConfig,
    WritableBuffer,
    check_type,
)
from ambry.client.options import as_range
from ambry.client.part_file import PartFile
from ambry.client.refs import NameRef, Ref, VersionRef
from ambry.client.sync.lifecycles import SyncLifecycles
from ambry.client.sync.reader import BlobReader
from ambry.client.sync.transport import SyncResponse
from ambry.client.sync.waiting import ASYNCHRONOUS, blocking, opening
from ambry.client.transfer import BlobDownload
from ambry.client.wire import blobs as wire
from ambry.client.wire import names as name_wire
from ambry.errors import AlreadyExists, AmbryError, ChecksumMismatch, RangeNotSatisfiable, TooLarge
from ambry.ids import BlobId


class SyncBlobs(SyncLifecycles):
    """The calls that store and read blobs."""

    def put(
        self,
        data: BlobSource,
        *,
        name: str | NameRef | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        size: int | None = None,
        checksum: str | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> BlobInfo:
        """Store a blob; on return it is as durable as `durability` says (the container's class by default).

        `ttl` in seconds, None for ever. `checksum` is its xxh3-128 in hexadecimal, if the caller knows it: nothing is
        kept if the body has another. What the server acknowledges is compared with what was sent; if they differ the
        blob is deleted and ChecksumMismatch raised.

        With `name` the blob is durable before the name points to it. A name that exists points to the new blob then,
        unless `if_absent` (AlreadyExists), or with `if_match` where it points to a blob with another `etag` than that
        (PreconditionFailed).

        A failed put is repeated if the body can be had again (bytes, a path, a list, a file that can be sought). When
        the outcome of the first try is unknown, the repetition gets an id of its own; the first blob, if there is one,
        is garbage that nobody knows. With an `idempotency_key`, which no other put into the container has, all tries of
        this call, and of later calls with it, are one put; a put with a name makes one up.
        """
        place = None if name is None else self._name(name)
        return self._put(
            data,
            place,
            if_absent=if_absent,
            if_match=if_match,
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            size=size,
            filename=filename,
            durability=durability,
            checksum=checksum,
            idempotency_key=idempotency_key,
            progress=progress,
            transfer=transfer,
            timeout=timeout,
        )

    @opening
    def get(
        self, ref: Ref, *, range: ByteRange | tuple[int, int | None] | None = None, timeout: Timeout | None = None
    ) -> BlobReader:
        """Read a blob as a stream. `range` is (start, stop) as in a slice: stop is not included.

        A name is looked up once: what is read is the blob that it pointed to at first, over all connections that it takes.
        Raises BlobNotFound (BlobGone if it existed), RangeNotSatisfiable, Unavailable, InvalidRequest.
        """
        return self._open(BlobDownload(self._place(ref), as_range(range), verify=self._verify), timeout, streaming=True)

    def get_bytes(
        self,
        ref: Ref,
        *,
        range: ByteRange | tuple[int, int | None] | None = None,
        max_size: int | None = None,
        timeout: Timeout | None = None,
    ) -> bytes:
        """Read a blob into memory. Raises TooLarge, before reading, if it has more than `max_size` bytes."""
        if max_size is not None:
            check_type("max_size", max_size, Integral, "a number of bytes")
        download = BlobDownload(self._place(ref), as_range(range), verify=self._verify)
        with self._open(download, timeout) as reader:
            if max_size is not None and reader.remaining > max_size:
                raise TooLarge(f"{ref} gives {reader.remaining} bytes, more than max_size={max_size}; stream it")
            return reader.read()

    def get_into(self, ref: Ref, buffer: WritableBuffer, *, offset: int = 0, timeout: Timeout | None = None) -> int:
        """Fill `buffer` (any writable, C-contiguous one) with the blob's bytes from `offset` on, without a copy.

        Returns how many there were, which is less than the buffer's size at the end of the blob. A buffer that is smaller
        than the blob gets as much as fits. Only a read of the whole blob is verified by its digest.
        """
        view = memoryview(buffer)
        if view.readonly or not view.c_contiguous:
            raise TypeError("get_into needs a writable, C-contiguous buffer")
        check_type("offset", offset, Integral, "a number of bytes")
        if not view.nbytes:
            return 0
        wanted = ByteRange(offset, offset + view.nbytes)
        try:
            with self._open(BlobDownload(self._place(ref), wanted, verify=self._verify), timeout) as reader:
                return reader.readinto(view)
        except RangeNotSatisfiable as error:
            if error.size == offset:  # Nothing lies beyond the end, and nothing in an empty blob.
                return 0
            raise

    def get_file(
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

        The bytes gather in `<path>.<id>.part`; with `resume` an interrupted download goes on from there the next time.
        The file is not synced to disk. Raises AlreadyExists unless `overwrite`.
        """
        place = self._place(ref)
        known = None if isinstance(place, BlobId) else self.head(place, timeout=timeout)
        blob = self._identify(ref if known is None else known.id, timeout)
        chunk_size = self._chunk_size(transfer)
        part = PartFile(path, blob, overwrite=overwrite, unique=self._random.randbytes(16).hex(), resume=resume)
        keep = resume
        try:
            with self._open(self._resume(blob, part, chunk_size, timeout), timeout) as reader:
                total = part.size + reader.remaining
                if progress is not None:
                    progress(part.size, total)
                for chunk in reader.iter_chunks(chunk_size):
                    blocking(part.write, chunk)
                    if progress is not None:
                        progress(part.size, total)
                info = known or reader.info
            blocking(part.commit)
        except ChecksumMismatch:
            keep = False
            raise
        finally:
            part.abandon(keep=keep)
        return info

    def _put(
        self,
        data: BlobSource,
        place: NameRef | VersionRef | None,
        *,
        if_absent: bool,
        if_match: str | None,
        ttl: timedelta | int | None,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
        size: int | None,
        checksum: str | None,
        filename: str | None,
        durability: Durability | str | None,
        idempotency_key: str | None,
        progress: Progress | None,
        transfer: TransferConfig | None,
        timeout: Timeout | None,
    ) -> BlobInfo:
        upload = self._begin_put(
            data,
            place,
            if_absent=if_absent,
            if_match=if_match,
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            size=size,
            filename=filename,
            durability=durability,
            checksum=checksum,
            idempotency_key=idempotency_key,
            progress=progress,
            transfer=transfer,
            asynchronous=ASYNCHRONOUS,
        )
        attempts = self._attempts(timeout)
        try:
            headers = self._send(upload, attempts, timeout)
        except AlreadyExists as error:
            if isinstance(place, NameRef):
                name_wire.reword(error, place, "without if_absent (--if-absent) it would point to the new blob")
            raise
        info = upload.made(headers)
        if (unfit := upload.unfit(info)) is not None:
            attempts.describe(unfit)
            with suppress(AmbryError):
                its_name = isinstance(place, NameRef) and self._identify(place, timeout) == info.id
                self.delete(place if its_name and place is not None else info.id)
            raise unfit
        return info if place is None else wire.placed(info, place, headers)

    def _resume(self, blob: BlobId, part: PartFile, chunk_size: int, timeout: Timeout | None) -> BlobDownload:
        """A download of what the part lacks."""
        if part.size:
            info = self.head(blob, timeout=timeout)
            if part.size < info.size:
                seen = blocking(part.digest_so_far, chunk_size)
                return BlobDownload(blob, ByteRange(part.size, None), verify=self._verify, digester=seen)
            # Complete but never renamed, or not ours: reading it again is rare and always right.
            part.restart()
        return BlobDownload(blob, None, verify=self._verify)

    def _open(self, download: BlobDownload, timeout: Timeout | None, *, streaming: bool = False) -> BlobReader:
        attempts = self._attempts(timeout)
        position = 0

        def reopen(failure: AmbryError | None) -> SyncResponse:
            nonlocal position
            if failure is not None:
                if download.position > position:
                    attempts.progressed()
                self._sleep(attempts.failed(failure))
            response = self._repeat(attempts, download.request, timeout, download)
            position = download.position
            if streaming:
                attempts.without_deadline()
            return response

        response = reopen(None)
        return BlobReader(download, response, reopen, attempts, (timeout or self._timeout).read)
