"""Bodies to upload and files to download into: the one place of the client that touches files.

A body that is `replayable` gives the same bytes on every pass, so a failed put can be repeated.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, cast

from ambry.checksum import Buffer, digest
from ambry.client.model import BlobSource, check_type
from ambry.client.pace import Bandwidth
from ambry.client.small_file import read_small
from ambry.errors import ConfigInvalid, InvalidRequest


class Body:
    """Something to upload. `size` in bytes, None when unknown; `filename` is its own name, if it has one."""

    size: int | None = None
    replayable = False
    blocking = False
    """Whether getting the next chunk waits for a disk, so that a coroutine must not do it."""
    filename = ""
    pace: Bandwidth | None = None
    """How fast it may go; None is as fast as all that its client sends."""

    def known_digest(self) -> str:
        """The hexadecimal digest if it costs no I/O to know before sending, else empty."""
        return ""

    def chunks(self) -> Iterator[Buffer]:
        raise TypeError("an async iterable can only be put by AsyncAmbryClient")

    async def achunks(self) -> AsyncIterator[Buffer]:
        import asyncio

        chunks = self.chunks()
        while True:
            chunk = await asyncio.to_thread(next, chunks, None) if self.blocking else next(chunks, None)
            if chunk is None:
                return
            yield chunk


class MemoryBody(Body):
    """Bytes in memory; must not be changed before the put returns."""

    replayable = True

    def __init__(self, view: memoryview, chunk_size: int) -> None:
        self._view = view
        self._chunk_size = chunk_size
        self.size = len(view)

    def known_digest(self) -> str:
        return digest(self._view).hex()

    def chunks(self) -> Iterator[Buffer]:
        for start in range(0, len(self._view), self._chunk_size):
            yield self._view[start : start + self._chunk_size]


class PathBody(Body):
    """A file by its path. Opened for each pass."""

    blocking = True

    def __init__(self, path: Path, chunk_size: int) -> None:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(f"{path} is a directory; put its files one by one")
        # A pipe or a device by path has no size and gives its bytes once.
        self.replayable = stat.S_ISREG(found.st_mode)
        self.size = found.st_size if self.replayable else None
        self.filename = path.name
        self._path = path
        self._chunk_size = chunk_size

    def chunks(self) -> Iterator[Buffer]:
        with self._path.open("rb", buffering=0) as handle:
            while chunk := handle.read(self._chunk_size):
                yield chunk


class HandleBody(Body):
    """An open binary file, from where it stands to its end; replayable when it can be sought."""

    blocking = True

    def __init__(self, handle: BinaryIO, chunk_size: int) -> None:
        self._handle = handle
        self._chunk_size = chunk_size
        self._start = 0
        try:
            self.replayable = handle.seekable()
        except AttributeError:
            self.replayable = False
        if self.replayable:
            self._start = handle.tell()
            self.size = max(0, handle.seek(0, os.SEEK_END) - self._start)
            handle.seek(self._start)

    def chunks(self) -> Iterator[Buffer]:
        if self.replayable:
            self._handle.seek(self._start)
        while chunk := self._handle.read(self._chunk_size):
            yield _checked(chunk)


class IterableBody(Body):
    """An iterable of bytes; a list or tuple is replayable. Iterated in the caller's thread or loop."""

    def __init__(self, items: Iterable[bytes]) -> None:
        self._items = items
        if isinstance(items, list | tuple):
            self.replayable = True
            self.size = sum(memoryview(_checked(item)).nbytes for item in items)

    def chunks(self) -> Iterator[Buffer]:
        for item in self._items:
            if piece := _kept(item):
                yield piece


class AsyncIterableBody(Body):
    """An async iterable of bytes, for the async client."""

    def __init__(self, items: AsyncIterable[bytes]) -> None:
        self._items = items

    async def achunks(self) -> AsyncIterator[Buffer]:
        async for item in self._items:
            if piece := _kept(item):
                yield piece


def open_body(data: BlobSource, *, size: int | None, chunk_size: int, asynchronous: bool) -> Body:
    """What `data` is as a body. Raises TypeError for what is none, InvalidRequest for a size that is not its own."""
    body = _body(data, chunk_size)
    if isinstance(body, AsyncIterableBody) and not asynchronous:
        raise TypeError(
            "an async iterable can only be put by AsyncAmbryClient; await its items into a list, or use that"
        )
    if size is not None:
        check_type("size", size, Integral, "a number of bytes")
        if size < 0:
            raise InvalidRequest(f"size must not be negative, not {size}")
        if body.size is not None and body.size != size:
            raise InvalidRequest(f"size={size} was given, but the body has {body.size} bytes")
        body.size = size
    return body


def _body(data: Any, chunk_size: int) -> Body:
    if isinstance(data, str):
        raise TypeError(
            "a str is never a body: for a file pass pathlib.Path(text) or call put_file(text), "
            "for its characters pass text.encode()"
        )
    try:
        view = memoryview(data)
    except TypeError:
        pass
    else:
        if not view.c_contiguous:
            raise TypeError("a buffer must be C-contiguous to be put; copy it first (numpy.ascontiguousarray)")
        return MemoryBody(view.cast("B") if view.nbytes else memoryview(b""), chunk_size)
    if isinstance(data, os.PathLike):
        return PathBody(Path(cast("os.PathLike[str]", data)), chunk_size)
    if isinstance(data, io.TextIOBase):
        raise TypeError("a file opened as text is not a body; open it with mode 'rb'")
    if hasattr(data, "read"):
        return HandleBody(data, chunk_size)
    if isinstance(data, AsyncIterable):
        return AsyncIterableBody(cast(AsyncIterable[bytes], data))
    if isinstance(data, Iterable) and not isinstance(data, dict):
        return IterableBody(cast(Iterable[bytes], data))
    kind = type(cast(object, data)).__name__
    raise TypeError(f"{kind} is not a body; pass bytes, a path, a file opened with 'rb', or an iterable of bytes")


def _kept(chunk: Any) -> bytes:
    """A copy of what the caller may fill anew while it still waits to be sent."""
    return chunk if isinstance(chunk, bytes) else bytes(_checked(chunk))


def _checked(chunk: Any) -> Buffer:
    if isinstance(chunk, bytes | bytearray | memoryview):
        return cast(Buffer, chunk)
    hint = "; encode it first" if isinstance(chunk, str) else ""
    raise TypeError(f"a body gives bytes, this one gave {type(chunk).__name__}{hint}")


CONFIG_BYTES_MAX = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """A configuration file, {} when there is none. Raises ConfigInvalid."""
    import tomllib

    try:
        return tomllib.loads(read_small(path, CONFIG_BYTES_MAX).decode())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as cause:
        raise ConfigInvalid(f"cannot read {path}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigInvalid(f"{path} is not valid TOML: {cause}") from cause
