"""Reading one blob, blocking."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ambry.client.model import BlobInfo
from ambry.client.pace import Bandwidth
from ambry.client.refs import Place
from ambry.client.retry import Attempts
from ambry.client.sync.transport import SyncResponse
from ambry.client.sync.waiting import Sleep
from ambry.client.transfer import BlobDownload
from ambry.errors import AmbryError, RequestTimeout

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE = 1 << 20

T = TypeVar("T", bytes, int)


class BlobReader(io.BufferedIOBase):
    """The bytes of one blob, or of a range of it, as a binary file that cannot be sought.

    Verified: the last bytes of a whole blob are handed out only if its digest is right, and a body that ends early is
    an error, never an end. When the connection breaks, reading goes on over another one, where it stopped.
    For one thread at a time. Close it, or use it in a `with` statement.

    >>> with client.get(blob) as reader:
    ...     reader.info.size
    ...     reader.read(3)
    ...     memory = bytearray(3)
    ...     reader.readinto(memory)
    ...     [chunk for chunk in reader.iter_chunks(2)]
    11
    b'hel'
    3
    [b'wo', b'rl', b'd']
    >>> reader.close()
    """

    def __init__(
        self,
        download: BlobDownload,
        response: SyncResponse,
        reopen: Callable[[AmbryError], SyncResponse],
        attempts: Attempts,
        pace: Bandwidth,
        sleep: Sleep,
        again: Callable[[Place, str], None],
    ) -> None:
        """`reopen` makes the next request of `download`, after the given failure, or raises.

        `again` reads a blob anew and raises ChecksumMismatch where its bytes have another digest.
        """
        super().__init__()
        self._attempts = attempts
        self._again = again
        self._pace = pace
        self._sleep = sleep
        self._download = download
        self._reopen = reopen
        self._failure: AmbryError | None = None
        self._reads = False
        """Whether a read began that did not come to its end: what it had would be missing."""
        self._response: SyncResponse | None = response
        if not download.remaining:
            self._finish()

    @property
    def info(self) -> BlobInfo:
        """What is read."""
        return self._download.info

    @property
    def request_id(self) -> str:
        """Of the request whose answer is read: the server's logs have it. Another one after a connection that broke."""
        return self._download.request_id

    @property
    def remaining(self) -> int:
        """Bytes still to come."""
        return self._download.remaining

    def readable(self) -> bool:
        return True

    def read(self, n: int | None = -1, /) -> bytes:
        """Exactly `n` bytes, or all that remain if those are fewer or `n` is negative; b"" at the end.

        Raises ChecksumMismatch, or Unavailable when the rest cannot be had. What a read had that raised, or was given up, is
        lost, so that all later ones raise too.
        """
        left = self._download.remaining if n is None or n < 0 else min(n, self._download.remaining)
        self._begin()
        pieces: list[bytes] = []
        while left:
            piece = self._read_piece(min(left, PIECE))
            pieces.append(piece)
            left -= len(piece)
        found = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._reads = False
        return found

    def read1(self, n: int = -1, /) -> bytes:
        """As `read`, but at most one piece of 1 MiB."""
        return self.read(PIECE if n < 0 else min(n, PIECE))

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`, without a copy in between; how many bytes there were for it. Raises as `read` does."""
        view = memoryview(buffer).cast("B")
        self._begin()
        wanted = min(len(view), self._download.remaining)
        filled = 0
        while filled < wanted:
            filled += self._fill(view[filled : min(wanted, filled + PIECE)])
        self._reads = False
        return filled

    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        return self.readinto(memoryview(buffer).cast("B")[:PIECE])

    def iter_chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The rest in chunks of `size` bytes; the last may be shorter. Raises as `read` does, whenever it is asked on."""
        if size < 1:
            raise ValueError(f"size must be positive, not {size}")
        return iter(partial(self.read, size), b"")

    def close(self) -> None:
        """Stop reading. What was not read is not verified."""
        if self._response is not None:
            self._response.abort()
            self._response = None
        self._failure = None  # Its traceback has the frames in which this reader is.
        super().close()

    def _read_piece(self, size: int) -> bytes:
        size = self._pace.piece(size)
        piece = self._attempt(lambda response: response.read(size))
        self._received(piece)
        return piece

    def _fill(self, part: memoryview) -> int:
        part = part[: self._pace.piece(len(part))]
        count = self._attempt(lambda response: response.readinto(part))
        self._received(part[:count])
        return count

    def _attempt(self, read: Callable[[SyncResponse], T]) -> T:
        """What one read gives, over as many connections as it takes."""
        while True:
            try:
                if self._response is None:
                    raise self._download.cut()
                if self._attempts.remaining() == 0:
                    raise RequestTimeout(f"{self._download.subject} was not read within the call's total timeout")
                got = read(self._response)
                if got:
                    return got
                raise self._download.cut()
            except AmbryError as error:
                self._drop(error)
                self._response = self._reopened(error)

    def _reopened(self, failure: AmbryError) -> SyncResponse:
        try:
            return self._reopen(failure)
        except AmbryError as error:
            self._failure = error
            raise
        finally:
            del failure  # As in Attempts.failed.

    def _received(self, piece: bytes | memoryview) -> None:
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
        if self._download.unsettled:
            self._settle()
        if (delay_s := self._pace.passed(len(piece))) and self._download.remaining:
            self._sleep(delay_s)

    def _settle(self) -> None:
        """All came, and nothing but another read can tell whether it is right."""
        unsettled, self._download.unsettled = self._download.unsettled, ""
        try:
            self._again(self._download.place, unsettled)
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
        if self.closed:
            raise ValueError("this reader is closed")
        if self._failure is not None:
            raise self._failure
        if self._reads:
            self._drop()
            raise self._download.given_up()
        self._reads = True
