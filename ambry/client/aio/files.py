"""Blobs as files: reading asks for ranges of one blob, writing makes another one when the file is closed."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from datetime import timedelta
from numbers import Integral
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from ambry.checksum import Buffer
from ambry.client.ahead import FIRST_AHEAD, InOrder, ReadAhead
from ambry.client.aio.uploads import AsyncUploads
from ambry.client.aio.waiting import FileBase, opening
from ambry.client.aio.writing import AsyncBlobWriter, AsyncWriting
from ambry.client.model import BlobInfo, SaidOfBlob, Timeout, check_type
from ambry.client.refs import NameRef, Ref, found_as
from ambry.durability import Durability
from ambry.errors import AlreadyExists, InvalidRequest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FileMode = Literal["rb", "wb", "xb"]
BLOCK_SIZE = 4 << 20


class AsyncFiles(AsyncUploads):
    """The call that opens a blob as a file."""

    @overload
    @opening
    async def open(
        self, ref: Ref, mode: Literal["rb"] = "rb", *, block_size: int = ..., timeout: Timeout | None = None
    ) -> AsyncBlobFile: ...

    @overload
    @opening
    async def open(
        self,
        ref: Ref,
        mode: Literal["wb", "xb"],
        *,
        block_size: int = ...,
        timeout: Timeout | None = None,
        **said: Unpack[SaidOfBlob],
    ) -> AsyncBlobWriter: ...

    @opening
    async def open(
        self,
        ref: Ref,
        mode: FileMode = "rb",
        *,
        block_size: int = BLOCK_SIZE,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        timeout: Timeout | None = None,
    ) -> Any:
        """A blob as a binary file: "rb" reads it, anywhere in it; "wb" and "xb" write one under a name.

        What is read is the blob that a name points to now, to the end. It comes by ranges, up to `block_size` ahead where it
        is read on, and exactly where it is read here and there. Bytes that were read from the first to the last are verified.

        What is written is seen when the file is closed, as a whole: the name points to the new blob then. Where an exception
        leaves the `with` block, and where nobody closes it, nothing is kept. "xb" raises AlreadyExists where the name exists.
        `timeout` is that of each request.

        >>> async with client.open(blob) as file:
        ...     file.seek(6)
        ...     await file.read()
        6
        b'world'
        >>> async with client.open("notes/today", "wb") as file:
        ...     await file.write(b"dear diary")
        10
        """
        check_type("block_size", block_size, Integral, "a number of bytes")
        if block_size < 1:
            raise InvalidRequest(f"block_size must be positive, not {block_size}")
        said: SaidOfBlob = {
            "ttl": ttl,
            "content_type": content_type,
            "metadata": metadata,
            "filename": filename,
            "durability": durability,
        }
        if mode == "rb":
            if any(each is not None for each in said.values()):
                raise InvalidRequest(
                    "what is said of a blob (ttl, metadata, ...) is said when it is written, not when it is read"
                )
            return AsyncBlobFile(self, await self.head(ref, timeout=timeout), block_size, timeout)
        if mode not in ("wb", "xb"):
            raise InvalidRequest(
                f"mode is rb, wb or xb, not {mode!r}; a blob never changes, so that nothing is appended to it"
            )
        target = self._place(ref)
        if not isinstance(target, NameRef):
            raise InvalidRequest(f"{target} is not written to: a blob never changes; write to a name")
        if mode == "xb" and await self.exists(target, timeout=timeout):
            raise AlreadyExists(f"the name {target} exists; with mode wb it would point to the new blob")
        writing = AsyncWriting(
            self,
            target,
            block_size,
            if_absent=mode == "xb",
            if_match=None,
            timeout=timeout,
            said=said,
        )
        return AsyncBlobWriter(writing, str(target))


class AsyncBlobFile(FileBase):
    """One blob, open for reading: what it was when it was opened, whatever its name points to later.

    For one task at a time. Close it, or use it in an `async with` statement. `seek` and `tell` ask for nothing.

    >>> file = await client.open(blob)
    >>> file.seek(-5, 2), file.tell()
    (6, 6)
    >>> await file.peek(1)
    b'w'
    >>> await file.read(2), await file.read1(1)
    (b'wo', b'r')
    >>> memory = bytearray(2)
    >>> await file.readinto(memory), await file.readinto1(memory)
    (2, 0)
    >>> await file.close()
    """

    def __init__(self, client: AsyncUploads, info: BlobInfo, block_size: int, timeout: Timeout | None) -> None:
        self._client = client
        self._info = info
        self._found = found_as(info)
        self._block_size = block_size
        self._timeout = timeout
        self._ahead = ReadAhead(block_size, info.size)
        self._order = InOrder(info.size, *(("", "") if client._verify == "never" else (info.checksum, info.etag)))
        self._position = 0
        self._closed = False

    @property
    def info(self) -> BlobInfo:
        """What is read."""
        return self._info

    @property
    def name(self) -> str:
        """The name that it was asked for by; its id, where that was it."""
        return self._info.name or str(self._info.id)

    @property
    def mode(self) -> str:
        return "rb"

    @property
    def closed(self) -> bool:
        return self._closed

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        """The next byte that is read."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go on at another byte; beyond the end there is nothing to read. Raises ValueError for one before the first."""
        self._check_open()
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        position = (0, self._position, self._info.size)[whence] + offset
        if position < 0:
            raise ValueError(f"there is no byte {position}")
        self._position = position
        return position

    async def read(self, n: int | None = -1, /) -> bytes:
        """Exactly `n` bytes, or all that remain if those are fewer or `n` is negative; b"" at the end.

        Raises ChecksumMismatch, or Unavailable when they cannot be had.
        """
        left = self._left(n)
        if left <= self._block_size:
            found = bytes(await self._fetched(left))
        elif len(held := self._ahead.held(self._position, self._position + left)) < left:
            rest = await self._straight(self._position + len(held), self._position + left)
            found = b"".join((held, rest)) if held else rest
        else:
            found = bytes(held)
        self._position += len(found)
        return found

    async def read1(self, n: int = -1, /) -> bytes:
        """At least one byte and at most `n`, of what is here if there is any; b"" at the end."""
        left = min(self._left(n), self._block_size)
        here = self._ahead.held(self._position, self._position + left)
        found = bytes(here or await self._fetched(min(left, FIRST_AHEAD) if n < 0 else left))
        self._position += len(found)
        return found

    async def peek(self, n: int = 0, /) -> bytes:
        """What comes next, at least one byte unless it is the end, without going on."""
        left = min(self._left(max(1, n)), self._block_size)
        return bytes(await self._fetched(left))

    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`; how many bytes there were for it. Raises as `read` does.

        What is larger than `block_size` comes straight into it, without a copy in between.
        """
        view = memoryview(buffer).cast("B")
        left = self._left(len(view))
        held = self._ahead.held(self._position, self._position + left)
        view[: len(held)] = held
        if len(held) < left:
            start = self._position + len(held)
            if left - len(held) >= self._block_size:
                await self._client.get_into(self._found, view[len(held) : left], offset=start, timeout=self._timeout)
                await self._passed(start, view[len(held) : left])
                self._ahead.went_by(self._position + left)
            else:
                view[:left] = await self._fetched(left)
        self._position += left
        return left

    async def readinto1(self, buffer: WriteableBuffer, /) -> int:
        return await self.readinto(memoryview(buffer).cast("B")[: self._block_size])

    def fileno(self) -> int:
        """Raises io.UnsupportedOperation: no file of this machine has the bytes. `cached_path` gives one."""
        raise io.UnsupportedOperation(
            "a blob has no file descriptor; client.cached_path(ref) gives a file that has one"
        )

    async def close(self) -> None:
        """Let go of what was read ahead."""
        self._closed = True
        self._ahead = ReadAhead(1, 0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _left(self, n: int | None) -> int:
        self._check_open()
        there = max(0, self._info.size - self._position)
        return there if n is None or n < 0 else min(n, there)

    async def _fetched(self, size: int) -> memoryview:
        """The next bytes, as many of them as `size` says and there are, by way of what is read ahead."""
        end = self._position + size
        if len(held := self._ahead.held(self._position, end)) < size:
            fetch = self._ahead.missing(self._position, end)
            data = await self._client.get_bytes(self._found, range=fetch, timeout=self._timeout)
            await self._passed(fetch.start, data)
            self._ahead.arrived(data)
            held = self._ahead.held(self._position, end)
        return held

    async def _straight(self, start: int, end: int) -> bytes:
        """Many bytes at once, which are not kept here beside."""
        data = await self._client.get_bytes(self._found, range=(start, end), timeout=self._timeout)
        await self._passed(start, data)
        self._ahead.went_by(end)
        return data

    async def _passed(self, start: int, data: Buffer) -> None:
        """Bytes came; the last ones of all show whether they are right. Raises ChecksumMismatch."""
        if unsettled := self._order.passed(start, data):
            await self._client._read_again(self._found, unsettled, self._timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this file is closed")
