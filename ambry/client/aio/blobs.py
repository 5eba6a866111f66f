"""Storing and reading blobs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from numbers import Integral

from ambry.checksum import new_digester
from ambry.client import wire
from ambry.client.aio.lifecycles import AsyncLifecycles
from ambry.client.aio.reader import AsyncBlobReader
from ambry.client.aio.transport import AsyncResponse
from ambry.client.aio.waiting import ASYNCHRONOUS, opening
from ambry.client.model import (
    BlobInfo,
    BlobSource,
    ByteRange,
    Progress,
    Timeout,
    TransferConfig,
    WritableBuffer,
    as_range,
    check_type,
)
from ambry.client.refs import NameRef, Place, Ref, VersionRef
from ambry.client.transfer import BlobDownload
from ambry.client.wire import blobs as blob_wire
from ambry.durability import Durability
from ambry.errors import AlreadyExists, AmbryError, ChecksumMismatch, InvalidRequest, RangeNotSatisfiable, TooLarge
from ambry.shown_urls import shown_place


class AsyncBlobs(AsyncLifecycles):
    """The calls that store and read blobs."""

    async def put(
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

        >>> info = await client.put(b"hello world", name="greetings/first", ttl=3600, metadata={"by": "ann"})
        >>> info.size, info.name, info.metadata["by"]
        (11, 'greetings/first', 'ann')
        """
        place = None if name is None else self._name(name)
        return await self._put(
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
    async def get(
        self, ref: Ref, *, range: ByteRange | tuple[int, int | None] | None = None, timeout: Timeout | None = None
    ) -> AsyncBlobReader:
        """Read a blob as a stream. `range` is (start, stop) as in a slice: stop is not included.

        A name is looked up once: what is read is the blob that it pointed to at first, over all connections that it takes.
        Raises BlobNotFound (BlobGone if it existed), RangeNotSatisfiable, Unavailable, InvalidRequest.

        >>> async with client.get(blob) as reader:
        ...     await reader.read(5)
        b'hello'
        """
        return await self._open(
            BlobDownload(self._place(ref), as_range(range), verify=self._verify), timeout, streaming=True
        )

    async def get_bytes(
        self,
        ref: Ref,
        *,
        range: ByteRange | tuple[int, int | None] | None = None,
        max_size: int | None = None,
        timeout: Timeout | None = None,
    ) -> bytes:
        """Read a blob into memory. Raises TooLarge, before reading, if it has more than `max_size` bytes.

        >>> await client.get_bytes(blob)
        b'hello world'
        >>> await client.get_bytes(blob, range=(6, None))
        b'world'
        """
        if max_size is not None:
            check_type("max_size", max_size, Integral, "a number of bytes")
        download = BlobDownload(self._place(ref), as_range(range), verify=self._verify)
        async with await self._open(download, timeout) as reader:
            if max_size is not None and reader.remaining > max_size:
                raise TooLarge(
                    f"{shown_place(ref)} gives {reader.remaining} bytes, more than max_size={max_size}; stream it",
                    request_id=reader.request_id,
                )
            return await reader.read()

    async def get_into(
        self, ref: Ref, buffer: WritableBuffer, *, offset: int = 0, timeout: Timeout | None = None
    ) -> int:
        """Fill `buffer` (any writable, C-contiguous one) with the blob's bytes from `offset` on.

        Returns how many there were, which is less than the buffer's size at the end of the blob. A buffer that is smaller
        than the blob gets as much as fits. Only a read of the whole blob is verified by its digest.

        >>> memory = bytearray(5)
        >>> await client.get_into(blob, memory, offset=6)
        5
        >>> memory
        bytearray(b'world')
        """
        view = memoryview(buffer)
        if view.readonly or not view.c_contiguous:
            raise TypeError("get_into needs a writable, C-contiguous buffer")
        check_type("offset", offset, Integral, "a number of bytes")
        if offset < 0:
            raise InvalidRequest(f"offset is a byte of the blob, from 0 on, and not {offset}")
        if not view.nbytes:
            return 0
        wanted = ByteRange(offset, offset + view.nbytes)
        try:
            async with await self._open(BlobDownload(self._place(ref), wanted, verify=self._verify), timeout) as reader:
                return await reader.readinto(view)
        except RangeNotSatisfiable as error:
            if error.size == offset:  # Nothing lies beyond the end, and nothing in an empty blob.
                return 0
            raise

    async def _put(
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
        timeout = self._whole(timeout)
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
            headers = await self._send(upload, attempts, timeout)
        except AlreadyExists as error:
            if isinstance(place, NameRef):
                wire.names.reword(error, place, "without if_absent (--if-absent) it would point to the new blob")
            raise
        info = upload.made(headers)
        if (unfit := upload.unfit(info)) is not None:
            attempts.describe(unfit)
            with suppress(AmbryError):
                its_name = isinstance(place, NameRef) and await self._identify(place, timeout) == info.id
                await self.delete(place if its_name and place is not None else info.id)
            try:
                raise unfit
            finally:
                del unfit  # As in Attempts.failed.
        return info if place is None else blob_wire.placed(info, place, headers)

    async def _open(
        self, download: BlobDownload, timeout: Timeout | None, *, streaming: bool = False
    ) -> AsyncBlobReader:
        attempts = self._attempts(timeout)
        download.pace = pace = download.pace or self._receiving
        position = 0

        async def reopen(failure: AmbryError | None) -> AsyncResponse:
            nonlocal position
            if failure is not None:
                if download.position > position:
                    attempts.progressed()
                try:
                    delay_s = attempts.failed(failure)
                finally:
                    del failure  # As in Attempts.failed.
                await self._sleep(delay_s)
            response = await self._repeat(attempts, download.request, timeout, download)
            position = download.position
            if streaming:
                attempts.without_deadline()
                response.without_deadline()
            return response

        response = await reopen(None)

        async def again(place: Place, digest: str) -> None:
            await self._read_again(place, digest, timeout)

        return AsyncBlobReader(download, response, reopen, attempts, pace, self._sleep, again)

    async def _read_again(self, place: Place, digest: str, timeout: Timeout | None) -> None:
        """Read a blob of which nobody knows the parts once more. Raises ChecksumMismatch where its bytes are others."""
        digester = new_digester()
        download = BlobDownload(place, None, verify=self._verify, hashed_elsewhere=True)
        async with await self._open(download, timeout, streaming=True) as reader:
            async for chunk in reader.iter_chunks():
                digester.update(chunk)
        if digester.hexdigest() != digest:
            raise ChecksumMismatch(
                f"two reads of {download.subject} gave different bytes, of the xxh3-128 {digest} and {digester.hexdigest()}; "
                "do not use them, read it again",
                request_id=download.request_id,
            )
