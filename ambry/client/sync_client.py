"""`AmbryClient`: the blocking client. Its twin is `async_client.py`; a test holds their methods alike."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from ambry.blob import Durability
from ambry.checksum import Buffer, Digester
from ambry.client import core
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
from ambry.client.sync_reader import BlobReader
from ambry.client.sync_transport import SyncResponse, SyncTransport
from ambry.client.transfer import Download, Upload
from ambry.clock import SystemClock
from ambry.errors import AmbryError, BlobNotFound, ChecksumMismatch, NotDeleted, RangeNotSatisfiable, TooLarge
from ambry.ids import BlobId, new_request_id


class AmbryClient(ClientBase):
    """A client of one ambry cluster.

    Safe to share between threads and to keep across a fork; pickled, it carries its configuration only. Close it, or
    use it in a `with` statement.
    """

    _sleep: Callable[[float], None]
    _transport: SyncTransport

    def _start(self, sleep: Callable[[float], None] | None) -> None:
        self._sleep = sleep or SystemClock().sleep
        self._transport = SyncTransport(self._clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(
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
            asynchronous=False,
        )
        headers = self._send(upload, body, timeout)
        info, unfit = upload.check(headers)
        if unfit is not None:
            with suppress(AmbryError):
                self.delete(info.id)
            raise unfit
        return info

    def put_file(
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
        return self.put(
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

    def get(
        self, ref: Ref, *, range: ByteRange | tuple[int, int | None] | None = None, timeout: Timeout | None = None
    ) -> BlobReader:
        """Read a blob as a stream. `range` is (start, stop) as in a slice: stop is not included.

        Raises BlobNotFound (BlobGone if it existed), RangeNotSatisfiable, Unavailable, InvalidRequest.
        """
        return self._open(Download(core.parse_ref(ref), as_range(range), verify=self._verify), timeout, streaming=True)

    def get_bytes(
        self,
        ref: Ref,
        *,
        range: ByteRange | tuple[int, int | None] | None = None,
        max_size: int | None = None,
        timeout: Timeout | None = None,
    ) -> bytes:
        """Read a blob into memory. Raises TooLarge, before reading, if it has more than `max_size` bytes."""
        download = Download(core.parse_ref(ref), as_range(range), verify=self._verify)
        with self._open(download, timeout) as reader:
            if max_size is not None and reader.remaining > max_size:
                raise TooLarge(f"blob {ref} gives {reader.remaining} bytes, more than max_size={max_size}; stream it")
            return reader.read()

    def get_into(self, ref: Ref, buffer: WritableBuffer, *, offset: int = 0, timeout: Timeout | None = None) -> int:
        """Fill `buffer` (any writable, C-contiguous one) with the blob's bytes from `offset` on, without a copy.

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
            with self._open(Download(core.parse_ref(ref), wanted, verify=self._verify), timeout) as reader:
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
        blob = core.parse_ref(ref)
        chunk_size = (transfer or self._transfer).chunk_size
        part = PartFile(path, blob, overwrite=overwrite, unique=new_request_id(self._random), resume=resume)
        keep = resume
        try:
            with self._open(self._resume(blob, part, chunk_size, timeout), timeout) as reader:
                total = part.size + reader.remaining
                if progress is not None:
                    progress(part.size, total)
                for chunk in reader.iter_chunks(chunk_size):
                    part.write(chunk)
                    if progress is not None:
                        progress(part.size, total)
                info = reader.info
            part.commit()
        except ChecksumMismatch:
            keep = False
            raise
        finally:
            part.abandon(keep=keep)
        return info

    def head(self, ref: Ref, *, timeout: Timeout | None = None) -> BlobInfo:
        """What a blob is, without its bytes. Raises BlobNotFound."""
        blob = core.parse_ref(ref)
        return core.parse_info(blob, self._simple(core.blob_request("HEAD", blob), timeout))

    def exists(self, ref: Ref, *, timeout: Timeout | None = None) -> bool:
        """Whether the blob can be read. False is proven, doubt is Unavailable."""
        try:
            self.head(ref, timeout=timeout)
        except BlobNotFound:
            return False
        return True

    def delete(self, ref: Ref, *, missing_ok: bool = True, timeout: Timeout | None = None) -> None:
        """Delete a blob. Raises BlobNotFound for one that is not there unless `missing_ok`."""
        try:
            self._simple(core.blob_request("DELETE", core.parse_ref(ref)), timeout)
        except BlobNotFound:
            if not missing_ok:
                raise

    def update_ttl(self, ref: Ref, ttl: timedelta | int | None, *, timeout: Timeout | None = None) -> BlobInfo:
        """Let a blob live at least `ttl` longer, or for ever (None); never shortens its life."""
        blob = core.parse_ref(ref)
        self._simple(core.ttl_request(blob, ttl), timeout)
        return self.head(blob, timeout=timeout)

    def undelete(self, ref: Ref, *, timeout: Timeout | None = None) -> None:
        """Bring a deleted blob back, within the retention window. Raises NotDeleted."""
        try:
            self._simple(core.undelete_request(core.parse_ref(ref)), timeout)
        except NotDeleted as error:
            if error.attempts == 1:
                raise
            # An earlier attempt, of unknown outcome, did it.

    def health(self, *, timeout: Timeout | None = None) -> ClusterHealth:
        """Ask every endpoint how it is, once each. Never raises for an endpoint that is not well."""
        return ClusterHealth(endpoints=tuple(self._probe(endpoint, timeout) for endpoint in self.endpoints))

    def close(self) -> None:
        """Close the kept connections. The client may still be used, and opens new ones then."""
        self._transport.close()

    def _probe(self, endpoint: str, timeout: Timeout | None) -> EndpointHealth:
        request = core.health_request()
        try:
            response = self._exchange(endpoint, request, timeout or self._timeout, None)
        except AmbryError as error:
            return EndpointHealth(endpoint=endpoint, ok=False, detail=error.message)
        response.done()
        return core.endpoint_health(endpoint, response.headers)

    def _resume(self, blob: BlobId, part: PartFile, chunk_size: int, timeout: Timeout | None) -> Download:
        """A download of what the part lacks."""
        if part.size:
            info = self.head(blob, timeout=timeout)
            if part.size < info.size:
                seen: Digester = part.digest_so_far(chunk_size)
                return Download(blob, ByteRange(part.size, None), verify=self._verify, digester=seen)
            # Complete but never renamed, or not ours: reading it again is rare and always right.
            part.restart()
        return Download(blob, None, verify=self._verify)

    def _open(self, download: Download, timeout: Timeout | None, *, streaming: bool = False) -> BlobReader:
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

        return BlobReader(download, reopen, attempts.remaining, (timeout or self._timeout).read)

    def _simple(self, request: Request, timeout: Timeout | None) -> core.Headers:
        """A request without a body, whose answer's body does not matter."""
        response = self._repeat(self._attempts(timeout), lambda: request, timeout, None)
        response.done()
        return response.headers

    def _repeat(
        self, attempts: Attempts, request: Callable[[], Request], timeout: Timeout | None, download: Download | None
    ) -> SyncResponse:
        """Send a request without a body, which may be repeated at will, until it is answered well."""
        while True:
            endpoint = attempts.begin()
            response = None
            try:
                response = self._exchange(endpoint, request(), timeout or self._timeout, attempts.deadline)
                if download is not None:
                    download.accept(response.status, response.headers)
            except AmbryError as error:
                if response is not None:
                    response.abort()
                self._sleep(attempts.failed(error))
            else:
                attempts.succeeded()
                return response

    def _send(self, upload: Upload, body: Body, timeout: Timeout | None) -> core.Headers:
        """Send a body, again if it can be had again."""
        attempts = self._attempts(timeout)
        while True:
            endpoint = attempts.begin()
            try:
                with closing(_passing(upload, body)) as passing:
                    response = self._transport.exchange(
                        endpoint,
                        upload.request,
                        self._headers(upload.request),
                        body=passing,
                        fresh=not body.replayable,
                        timeout=timeout or self._timeout,
                        deadline=attempts.deadline,
                    )
            except AmbryError as error:
                self._sleep(attempts.failed(error, repeatable=body.replayable or not upload.started))
            else:
                attempts.succeeded()
                response.done()
                return response.headers

    def _exchange(self, endpoint: str, request: Request, timeout: Timeout, deadline: float | None) -> SyncResponse:
        return self._transport.exchange(
            endpoint,
            request,
            self._headers(request),
            body=None,
            fresh=False,
            timeout=timeout,
            deadline=deadline,
        )


def _passing(upload: Upload, body: Body) -> Generator[Buffer, None, None]:
    """One pass over the body, seen by `upload`."""
    upload.begin()
    for chunk in body.chunks():
        upload.passed(chunk)
        yield chunk
        upload.handed_over()
    upload.ended()
