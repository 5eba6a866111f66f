"""A blob that is written piece by piece, and is there when it is published: in parts when it gets large."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ambry.checksum import Buffer
from ambry.client.aio.upload_session import AsyncUpload
from ambry.client.aio.uploads import AsyncUploads
from ambry.client.aio.waiting import FileBase
from ambry.client.model import BlobInfo, SaidOfBlob, Timeout, UploadedPart
from ambry.client.refs import NameRef
from ambry.client.sections import PART_BYTES_MIN
from ambry.client.unwinding import PublishedOnClose
from ambry.client.whole_digest import PARTS_PER_SIZE
from ambry.errors import AmbryError, Unavailable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class AsyncWriting:
    """What was written so far, on its way to a name. Nothing of it is seen before `publish`."""

    def __init__(
        self,
        client: AsyncUploads,
        target: NameRef,
        part_size: int,
        *,
        if_absent: bool,
        if_match: str | None,
        timeout: Timeout | None,
        said: SaidOfBlob,
    ) -> None:
        """`said` is what is said of the blob, as `start_upload` takes it."""
        self._client = client
        self._target = target
        self._timeout = timeout
        self._if_absent = if_absent
        self._if_match = if_match
        self._said = said
        self._upload: AsyncUpload | None = None
        self._parts: list[UploadedPart] = []
        self._rest: bytes | None = None
        self._failure: BaseException | None = None
        """Why a part did not get there: what comes behind it makes no whole any more."""
        self.part_size = max(part_size, PART_BYTES_MIN)
        """Bytes of the next part; the last one may have less."""

    async def write_part(self, data: Buffer) -> None:
        """Send what comes next. It may be used again on return. Where that fails, all later calls raise the same."""
        self.check()
        try:
            if self._upload is None:
                self._upload = await self._client.start_upload(
                    name=self._target,
                    if_absent=self._if_absent,
                    if_match=self._if_match,
                    timeout=self._timeout,
                    **self._said,
                )
            self._parts.append(await self._upload.write_part(len(self._parts) + 1, data))
        except BaseException as error:
            self._failure = error
            raise
        if not len(self._parts) % PARTS_PER_SIZE:
            self.part_size *= 2

    async def end(self, data: Buffer) -> None:
        """The last bytes, of which there may be none. They are sent with what is published, where they are all there is."""
        self.check()
        if self._upload is None:
            self._rest = bytes(data)
        elif len(data):
            await self.write_part(data)

    async def publish(self) -> BlobInfo | None:
        """Make the blob, after `end`: on return it is as durable as its container says, and the name points to it.

        None where that was done, or nothing was ended. Raises AlreadyExists, PreconditionFailed where the name may not point
        to it; what was written is gone then.
        """
        self.check()
        info = None
        if self._upload is not None:
            info = await self._upload.complete(self._parts)
        elif self._rest is not None:
            info = await self._client.put(
                self._rest,
                name=self._target,
                if_absent=self._if_absent,
                if_match=self._if_match,
                timeout=self._timeout,
                **self._said,
            )
        self._upload = self._rest = None
        return info

    def check(self) -> None:
        """Raises what a part failed with before."""
        if isinstance(self._failure, AmbryError | OSError):
            raise self._failure
        if self._failure is not None:
            raise Unavailable(
                f"a part for {self._target} was given up while it was sent; nothing is kept, write all of it again"
            ) from self._failure

    async def discard(self) -> None:
        """Nothing of what was written is kept."""
        upload, self._upload, self._rest = self._upload, None, None
        if upload is not None:
            with suppress(AmbryError):  # The server gives up what nobody goes on with.
                await upload.abort()


class AsyncBlobWriter(PublishedOnClose, FileBase):
    """A blob that is being written under a name, which is what it was until the file is closed. For one task at a time.

    It is closed at the end of its `async with` statement, unless an exception leaves that.

    >>> file = await client.open("notes/written", "wb")
    >>> await file.write(b"dear "), await file.write(b"diary")
    (5, 5)
    >>> await file.flush()
    >>> file.tell()
    10
    >>> await file.close()
    >>> file.info.size
    10
    >>> other = await client.open("notes/written", "wb")
    >>> await other.discard()
    """

    def __init__(self, writing: AsyncWriting, name: str) -> None:
        self._writing = writing
        self._name = name
        self._note_opener()
        self._buffer = bytearray()
        self._position = 0
        self._info: BlobInfo | None = None
        self._closed = False

    @property
    def info(self) -> BlobInfo:
        """What was made, once it is closed. Raises ValueError before, and where nothing was."""
        if self._info is None:
            raise ValueError(
                f"{self._name} is not published" + (": nothing is" if self._closed else " before it is closed")
            )
        return self._info

    @property
    def name(self) -> str:
        """The name that points to it once it is closed, as an ambry:// URL."""
        return self._name

    @property
    def mode(self) -> str:
        return "wb"

    @property
    def closed(self) -> bool:
        return self._closed

    def writable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        self._check_open()
        return self._position

    async def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`. What fills a part is sent at once.

        Where that fails the file is given up: every later `write` raises the same, and so does `close`, which keeps nothing.
        """
        self._check_open()
        self._writing.check()
        view = memoryview(data).cast("B")
        rest = view
        while len(self._buffer) + len(rest) >= self._writing.part_size:
            size = self._writing.part_size
            if not self._buffer:
                await self._writing.write_part(rest[:size])
                rest = rest[size:]
                continue
            fits = size - len(self._buffer)
            self._buffer += rest[:fits]
            part, self._buffer = self._buffer, bytearray()
            await self._writing.write_part(part)
            rest = rest[fits:]
        self._buffer += rest
        self._position += len(view)
        return len(view)

    async def flush(self) -> None:
        """Nothing: what was written is sent part by part, and seen when the file is closed."""
        self._check_open()

    def fileno(self) -> int:
        """Raises io.UnsupportedOperation: the blob is no file of this machine."""
        raise io.UnsupportedOperation("a blob has no file descriptor; write a file, and client.put_file it")

    async def close(self) -> None:
        """Publish what was written: on return it is as durable as its container says, and the name points to it.

        Again is fine. Where it is called because an exception leaves a block, nothing is kept. Raises AlreadyExists for one
        that was opened with "xb" where there is one meanwhile; after an error nothing is kept.
        """
        if self._closed:
            return
        if self._is_given_up():
            if self._is_dropped:
                self._warn()
            await self.discard()
            return
        self._closed = True
        try:
            part, self._buffer = self._buffer, bytearray()
            await self._writing.end(part)
            self._info = await self._writing.publish()
        except BaseException:
            await self._writing.discard()
            raise

    async def discard(self) -> None:
        """Close it, and keep nothing of what was written."""
        self._closed = True
        self._buffer = bytearray()
        await self._writing.discard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self.discard()
        else:
            await self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self._closed = True
            self._warn()

    def _warn(self) -> None:
        warnings.warn(
            f"{self._name} was never closed: nothing of it is kept", ResourceWarning, source=self, stacklevel=3
        )

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this file is closed")
