"""Reading one blob, awaiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ambry.client.aio.transport import AsyncResponse
from ambry.client.aio.waiting import Sleep
from ambry.client.model import BlobInfo
from ambry.client.pace import Bandwidth
from ambry.client.refs import Place
from ambry.client.retry import Attempts
from ambry.client.transfer import BlobDownload
from ambry.errors import AmbryError, RequestTimeout

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE = 1 << 20


class AsyncBlobReader:
    """The bytes of one blob, or of a range of it.

    Verified: the last bytes of a whole blob are handed out only if its digest is right, and a body that ends early is
    an error, never an end. When the connection breaks, reading goes on over another one, where it stopped.
    For one task at a time. Close it, or use it in an `async with` statement.

    >>> async with client.get(blob) as reader:
    ...     reader.info.size
    ...     await reader.read(3)
    ...     memory = bytearray(3)
    ...     await reader.readinto(memory)
    ...     [chunk async for chunk in reader.iter_chunks(2)]
    11
    b'hel'
    3
    [b'wo', b'rl', b'd']
    >>> await reader.close()
    """

    def __init__(
        self,
        download: BlobDownload,
        response: AsyncResponse,
        reopen: Callable[[AmbryError], Awaitable[AsyncResponse]],
        attempts: Attempts,
        pace: Bandwidth,
        sleep: Sleep,
        again: Callable[[Place, str], Awaitable[None]],
    ) -> None:
        """`reopen` makes the next request of `download`, after the given failure, or raises.

        `again` reads a blob anew and raises ChecksumMismatch where its bytes have another digest.
        """
        self._download = download
        self._reopen = reopen
        self._attempts = attempts
        self._again = again
        self._pace = pace
        self._sleep = sleep
        self._failure: AmbryError | None = None
        self._reads = False
        """Whether a read began that did not come to its end: what it had would be missing."""
        self._response: AsyncResponse | None = response
        self._closed = False
        if not download.remaining:
            self._finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def info(self) -> BlobInfo:
        """What is read."""
        return self._download.info

    @property
    def remaining(self) -> int:
        """Bytes still to come."""
        return self._download.remaining

    @property
    def request_id(self) -> str:
        """Of the request whose answer is read: the server's logs have it. Another one after a connection that broke."""
        return self._download.request_id

    @property
    def closed(self) -> bool:
        return self._closed

    async def read(self, n: int | None = -1, /) -> bytes:
        """Exactly `n` bytes, or all that remain if those are fewer or `n` is negative; b"" at the end.

        Raises ChecksumMismatch, or Unavailable when the rest cannot be had. What a read had that raised, or was given up, is
        lost, so that all later ones raise too.
        """
        left = self._download.remaining if n is None or n < 0 else min(n, self._download.remaining)
        self._begin()
        pieces: list[bytes] = []
        while left:
            piece = await self._read_piece(min(left, PIECE))
            pieces.append(piece)
            left -= len(piece)
        found = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._reads = False
        return found

    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`; how many bytes there were for it. Raises as `read` does."""
        view = memoryview(buffer).cast("B")
        self._begin()
        wanted = min(len(view), self._download.remaining)
        filled = 0
        while filled < wanted:
            piece = await self._read_piece(min(wanted - filled, PIECE))
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._reads = False
        return filled

    def iter_chunks(self, size: int = 1 << 20) -> AsyncIterator[bytes]:
        """The rest in chunks of `size` bytes; the last may be shorter. Raises as `read` does, whenever it is asked on."""
        if size < 1:
            raise ValueError(f"size must be positive, not {size}")
        return _Chunks(self, size)

    async def close(self) -> None:
        """Stop reading. What was not read is not verified."""
        self._closed = True
        self._failure = None  # Its traceback has the frames in which this reader is.
        self._drop()

    async def _read_piece(self, size: int) -> bytes:
        """What one read gives, over as many connections as it takes."""
        size = self._pace.piece(size)
        while True:
            try:
                if self._response is None:
                    raise self._download.cut()
                if self._attempts.remaining() == 0:
                    raise RequestTimeout(f"{self._download.subject} was not read within the call's total timeout")
                piece = await self._response.read(size)
                if not piece:
                    raise self._download.cut()
            except AmbryError as error:
                self._drop(error)
                self._response = await self._reopened(error)
            else:
                self._received(piece)
                if self._download.unsettled:
                    await self._settle()
                if (delay_s := self._pace.passed(len(piece))) and self._download.remaining:
                    await self._sleep(delay_s)
                return piece

    async def _reopened(self, failure: AmbryError) -> AsyncResponse:
        try:
            return await self._reopen(failure)
        except AmbryError as error:
            self._failure = error
            raise
        finally:
            del failure  # As in Attempts.failed.

    def _received(self, piece: bytes) -> None:
        try:
            self._download.received(piece)
        except AmbryError as error:
            # Reading on must not look like the end of the blob.
            self._failure = error
            self._attempts.describe(error)
            self._drop(error)
            raise
        if not self._download.remaining:
            self._finish()

    async def _settle(self) -> None:
        """All came, and nothing but another read can tell whether it is right."""
        unsettled, self._download.unsettled = self._download.unsettled, ""
        try:
            await self._again(self._download.place, unsettled)
        except AmbryError as error:
            self._failure = error
            raise

    def _finish(self) -> None:
        if self._response is not None:
            self._response.finish()
            self._response = None

    def _drop(self, failure: AmbryError | None = None) -> None:
        if self._response is not None:
            self._response.abort(failure)
            self._response = None

    def _begin(self) -> None:
        if self._closed:
            raise ValueError("this reader is closed")
        if self._failure is not None:
            raise self._failure
        if self._reads:
            self._drop()
            raise self._download.given_up()
        self._reads = True


class _Chunks(AsyncIterator[bytes]):
    """No generator, which would have ended when it raised."""

    def __init__(self, reader: AsyncBlobReader, size: int) -> None:
        self._reader = reader
        self._size = size

    async def __anext__(self) -> bytes:
        chunk = await self._reader.read(self._size)
        if not chunk:
            raise StopAsyncIteration
        return chunk
