"""`AsyncAmbryClient`: the awaiting client. Its twin is `sync_client.py`; a test holds their methods alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from ambry.blob import Durability
from ambry.checksum import Buffer, Digester
from ambry.client import core
from ambry.client.async_reader import AsyncBlobReader
from ambry.client.async_transport import AsyncResponse, AsyncTransport
from ambry.client.core import Request
from ambry.client.model import (
    BlobInfo,
    BlobSource,
    ByteRange,
    ClusterHealth,
    EndpointHealth,
    Progress,
    Ref,
    StrPath,
    Timeout,
    TransferConfig,
    WritableBuffer,
)
from ambry.client.options import ClientBase, as_range
from ambry.client.retry import Attempts
from ambry.client.sources import Body, PartFile
from ambry.client.transfer import Download, Upload
from ambry.errors import AmbryError, BlobNotFound, ChecksumMismatch, NotDeleted, RangeNotSatisfiable, TooLarge
from ambry.ids import BlobId, new_request_id


class AsyncAmbryClient(ClientBase):
    """A client of one ambry cluster.

    Usable from any event loop, one at a time; pickled, it carries its configuration only. Close it, or use it in an
    `async with` statement. Local files are read and written in threads; a plain iterable is iterated in the loop.
    """

    _sleep: Callable[[float], Awaitable[None]]
    _transport: AsyncTransport

    def _start(self, sleep: Callable[[float], Awaitable[None]] | None) -> None:
        self._sleep = sleep or asyncio.sleep
        self._transport = AsyncTransport(self._clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def put(
        self,
        data: BlobSource,
        *,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        size: int | None = None,
        checksum: str | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        progress: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> BlobInfo:
        """Store a blob; on return it is as durable as `durability` says (the container's class by default).

        `ttl` in seconds, None for ever. `checksum` is its xxh3-128 in hexadecimal, if the caller knows it: nothing is
        kept if the body has another. What the server acknowledges is compared with what was sent; if they differ the
        blob is deleted and ChecksumMismatch raised.

        A failed put is repeated if the body can be had again (bytes, a path, a list, a file that can be sought). When
        the outcome of the first try is unknown, the repetition gets an id of its own; the first blob, if there is one,
        is garbage that nobody knows.
        """
        body, upload = self._begin_put(
            data,
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            size=size,
            filename=filename,
            durability=durability,
            checksum=checksum,
            progress=progress,
            transfer=transfer,
            asynchronous=True,
        )
        headers = await self._send(upload, body, timeout)
        info, unfit = upload.check(headers)
        if unfit is not None:
            with suppress(AmbryError):
                await self.delete(info.id)
            raise unfit
        return info

    async def put_file(
        self,
        path: StrPath,
        *,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: str | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        progress: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> BlobInfo:
        """`put` of a local file; its own name is stored as `filename` if none is given."""
        return await self.put(
            Path(path),
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            checksum=checksum,
            filename=filename,
            durability=durability,
            progress=progress,
            transfer=transfer,
            timeout=timeout,
        )

    async def get(
        self, ref: Ref, *, range: ByteRange | tuple[int, int | None] | None = None, timeout: Timeout | None = None
    ) -> AsyncBlobReader:
        """Read a blob as a stream. `range` is (start, stop) as in a slice: stop is not included.

        Raises BlobNotFound (BlobGone if it existed), RangeNotSatisfiable, Unavailable, InvalidRequest.
        """
        return await self._open(
            Download(core.parse_ref(ref), as_range(range), verify=self._verify), timeout, streaming=True
        )

    async def get_bytes(
        self,
        ref: Ref,
        *,
        range: ByteRange | tuple[int, int | None] | None = None,
        max_size: int | None = None,
        timeout: Timeout | None = None,
    ) -> bytes:
        """Read a blob into memory. Raises TooLarge, before reading, if it has more than `max_size` bytes."""
        download = Download(core.parse_ref(ref), as_range(range), verify=self._verify)
        async with await self._open(download, timeout) as reader:
            if max_size is not None and reader.remaining > max_size:
                raise TooLarge(f"blob {ref} gives {reader.remaining} bytes, more than max_size={max_size}; stream it")
            return await reader.read()

    async def get_into(
        self, ref: Ref, buffer: WritableBuffer, *, offset: int = 0, timeout: Timeout | None = None
    ) -> int:
        """Fill `buffer` (any writable, C-contiguous one) with the blob's bytes from `offset` on.

        Returns how many there were, which is less than the buffer's size at the end of the blob. Only a read of the
        whole blob is verified by its digest.
        """
        view = memoryview(buffer)
        if view.readonly or not view.c_contiguous:
            raise TypeError("get_into needs a writable, C-contiguous buffer")
        if not view.nbytes:
            return 0
        wanted = ByteRange(offset, offset + view.nbytes)
        try:
            async with await self._open(Download(core.parse_ref(ref), wanted, verify=self._verify), timeout) as reader:
                return await reader.readinto(view)
        except RangeNotSatisfiable as error:
            if error.size == offset:  # Nothing lies beyond the end, and nothing in an empty blob.
                return 0
            raise

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

        The bytes gather in `<path>.<id>.part`; with `resume` an interrupted download goes on from there the next time.
        The file is not synced to disk. Raises AlreadyExists unless `overwrite`.
        """
        blob = core.parse_ref(ref)
        chunk_size = (transfer or self._transfer).chunk_size
        part = PartFile(path, blob, overwrite=overwrite, unique=new_request_id(self._random), resume=resume)
        keep = resume
        try:
            async with await self._open(await self._resume(blob, part, chunk_size, timeout), timeout) as reader:
                total = part.size + reader.remaining
                if progress is not None:
                    progress(part.size, total)
                async for chunk in reader.iter_chunks(chunk_size):
                    await asyncio.to_thread(part.write, chunk)
                    if progress is not None:
                        progress(part.size, total)
                info = reader.info
            await asyncio.to_thread(part.commit)
        except ChecksumMismatch:
            keep = False
            raise
        finally:
            part.abandon(keep=keep)
        return info

    async def head(self, ref: Ref, *, timeout: Timeout | None = None) -> BlobInfo:
        """What a blob is, without its bytes. Raises BlobNotFound."""
        blob = core.parse_ref(ref)
        return core.parse_info(blob, await self._simple(core.blob_request("HEAD", blob), timeout))

    async def exists(self, ref: Ref, *, timeout: Timeout | None = None) -> bool:
        """Whether the blob can be read. False is proven, doubt is Unavailable."""
        try:
            await self.head(ref, timeout=timeout)
        except BlobNotFound:
            return False
        return True

    async def delete(self, ref: Ref, *, missing_ok: bool = True, timeout: Timeout | None = None) -> None:
        """Delete a blob. Raises BlobNotFound for one that is not there unless `missing_ok`."""
        try:
            await self._simple(core.blob_request("DELETE", core.parse_ref(ref)), timeout)
        except BlobNotFound:
            if not missing_ok:
                raise

    async def update_ttl(self, ref: Ref, ttl: timedelta | int | None, *, timeout: Timeout | None = None) -> BlobInfo:
        """Let a blob live at least `ttl` longer, or for ever (None); never shortens its life."""
        blob = core.parse_ref(ref)
        await self._simple(core.ttl_request(blob, ttl), timeout)
        return await self.head(blob, timeout=timeout)

    async def undelete(self, ref: Ref, *, timeout: Timeout | None = None) -> None:
        """Bring a deleted blob back, within the retention window. Raises NotDeleted."""
        try:
            await self._simple(core.undelete_request(core.parse_ref(ref)), timeout)
        except NotDeleted as error:
            if error.attempts == 1:
                raise
            # An earlier attempt, of unknown outcome, did it.

    async def health(self, *, timeout: Timeout | None = None) -> ClusterHealth:
        """Ask every endpoint how it is, once each. Never raises for an endpoint that is not well."""
        probes = (self._probe(endpoint, timeout) for endpoint in self.endpoints)
        return ClusterHealth(endpoints=tuple(await asyncio.gather(*probes)))

    async def close(self) -> None:
        """Close the kept connections. The client may still be used, and opens new ones then."""
        await self._transport.close()

    async def _probe(self, endpoint: str, timeout: Timeout | None) -> EndpointHealth:
        request = core.health_request()
        try:
            response = await self._exchange(endpoint, request, timeout or self._timeout, None)
        except AmbryError as error:
            return EndpointHealth(endpoint=endpoint, ok=False, detail=error.message)
        await response.done()
        return core.endpoint_health(endpoint, response.headers)

    async def _resume(self, blob: BlobId, part: PartFile, chunk_size: int, timeout: Timeout | None) -> Download:
        """A download of what the part lacks."""
        if part.size:
            info = await self.head(blob, timeout=timeout)
            if part.size < info.size:
                seen: Digester = await asyncio.to_thread(part.digest_so_far, chunk_size)
                return Download(blob, ByteRange(part.size, None), verify=self._verify, digester=seen)
            # Complete but never renamed, or not ours: reading it again is rare and always right.
            part.restart()
        return Download(blob, None, verify=self._verify)

    async def _open(self, download: Download, timeout: Timeout | None, *, streaming: bool = False) -> AsyncBlobReader:
        attempts = self._attempts(timeout)
        position = 0

        async def reopen(failure: AmbryError | None) -> AsyncResponse:
            nonlocal position
            if failure is not None:
                if download.position > position:
                    attempts.progressed()
                await self._sleep(attempts.failed(failure))
            response = await self._repeat(attempts, download.request, timeout, download)
            position = download.position
            if streaming:
                attempts.without_deadline()
            return response

        response = await reopen(None)
        return AsyncBlobReader(download, response, reopen, attempts.remaining, (timeout or self._timeout).read)

    async def _simple(self, request: Request, timeout: Timeout | None) -> core.Headers:
        """A request without a body, whose answer's body does not matter."""
        response = await self._repeat(self._attempts(timeout), lambda: request, timeout, None)
        await response.done()
        return response.headers

    async def _repeat(
        self, attempts: Attempts, request: Callable[[], Request], timeout: Timeout | None, download: Download | None
    ) -> AsyncResponse:
        """Send a request without a body, which may be repeated at will, until it is answered well."""
        while True:
            endpoint = attempts.begin()
            response = None
            try:
                response = await self._exchange(endpoint, request(), timeout or self._timeout, attempts.deadline)
                if download is not None:
                    download.accept(response.status, response.headers)
            except AmbryError as error:
                if response is not None:
                    response.abort()
                await self._sleep(attempts.failed(error))
            else:
                attempts.succeeded()
                return response

    async def _send(self, upload: Upload, body: Body, timeout: Timeout | None) -> core.Headers:
        """Send a body, again if it can be had again."""
        attempts = self._attempts(timeout)
        while True:
            endpoint = attempts.begin()
            try:
                response = await self._transport.exchange(
                    endpoint,
                    upload.request,
                    self._headers(upload.request),
                    body=_passing(upload, body),
                    complete=lambda: upload.complete,
                    timeout=timeout or self._timeout,
                    deadline=attempts.deadline,
                )
            except AmbryError as error:
                await self._sleep(attempts.failed(error, repeatable=body.replayable or not upload.started))
            else:
                attempts.succeeded()
                await response.done()
                return response.headers

    async def _exchange(
        self, endpoint: str, request: Request, timeout: Timeout, deadline: float | None
    ) -> AsyncResponse:
        return await self._transport.exchange(
            endpoint,
            request,
            self._headers(request),
            body=None,
            timeout=timeout,
            deadline=deadline,
        )


async def _passing(upload: Upload, body: Body) -> AsyncIterator[Buffer]:
    """One pass over the body, seen by `upload`.

    One chunk is held back until it is known to be the last: aiohttp reads the answer while we send, so the answer may
    come before we would be asked for a chunk after the last one.
    """
    upload.begin()
    held: Buffer = b""
    async for chunk in body.achunks():
        if held:
            yield held
            upload.handed_over()
        upload.passed(chunk)
        held = chunk
    upload.ended()
    if held:
        yield held
        upload.handed_over()
