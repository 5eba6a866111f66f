"""Bodies to upload and files to download into: the one place of the client that touches files.

A body that is `replayable` gives the same bytes on every pass, so a failed put can be repeated.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import os
import stat
import tomllib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, cast

from ambry.checksum import Buffer, Digester, digest, new_digester
from ambry.client.model import BlobSource, StrPath, check_type
from ambry.clock import system_random
from ambry.errors import AlreadyExists, ConfigInvalid, InvalidRequest
from ambry.ids import BlobId


class Body:
    """Something to upload. `size` in bytes, None when unknown; `filename` is its own name, if it has one."""

    size: int | None = None
    replayable = False
    blocking = False
    """Whether getting the next chunk waits for a disk, so that a coroutine must not do it."""
    filename = ""

    def known_digest(self) -> str:
        """The hexadecimal digest if it costs no I/O to know before sending, else empty."""
        return ""

    def chunks(self) -> Iterator[Buffer]:
        raise TypeError("an async iterable can only be put by AsyncAmbryClient")

    async def achunks(self) -> AsyncIterator[Buffer]:
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


def part_path(target: Path, blob: BlobId) -> Path:
    """Where the bytes of a download gather that can go on later."""
    return target.with_name(f"{target.name[:120]}.{blob}.part")


def part_size(target: Path, blob: BlobId) -> int:
    """Bytes that a download which broke off has left to go on from; 0 for none."""
    if not target.name:
        return 0  # `.` or `/`, into which nothing was downloaded
    try:
        return part_path(target, blob).stat().st_size
    except OSError:
        return 0


def write_file(target: Path, blob: BlobId, data: bytes, *, overwrite: bool) -> None:
    """A small blob as a file, which appears whole. Raises as PartFile."""
    part = PartFile(target, blob, overwrite=overwrite, unique=system_random().randbytes(16).hex(), resume=False)
    try:
        part.write(data)
        part.commit()
    finally:
        part.abandon(keep=False)


class PartFile:
    """A download on its way: `<name>.<id>.part` beside the target, renamed to it when whole.

    Locked, so two downloads never write to one part; the second uses a name of its own, which nobody can guess. So does one
    that finds something else there than a file of this user: a link, a pipe, a file that somebody else may write to as well.
    Nothing is ever written through what was there.
    """

    def __init__(self, target: StrPath, blob: BlobId, *, overwrite: bool, unique: str, resume: bool = True) -> None:
        """Raises AlreadyExists, InvalidRequest for what is no file, and OSError where the directory cannot be written."""
        self.target = Path(target)
        self._overwrite = overwrite
        self._committed = False
        self._disk_full = False
        if self.target.is_dir():
            raise IsADirectoryError(f"{self.target} is a directory; name the file to write")
        if self.target.exists() and not self.target.is_file():
            # /dev/null would become a file that grows.
            raise InvalidRequest(
                f"{self.target} is a device or a pipe, which no download may replace; stream the blob (get, ambry cat)"
            )
        if not self.target.parent.exists():
            raise FileNotFoundError(errno.ENOENT, "No such directory", str(self.target.parent))
        self._refuse_existing()
        self.path = part_path(self.target, blob)
        handle = _open_locked(self.path) if resume else None
        if handle is None:
            self.path = self.path.with_suffix(f".{unique}.part")
            handle = self.path.open("xb+", buffering=0)
        self._handle = handle
        self.size = os.fstat(handle.fileno()).st_size

    def digest_so_far(self, chunk_size: int) -> Digester:
        """The digest of what is already there."""
        digester = new_digester()
        self._handle.seek(0)
        while chunk := self._handle.read(chunk_size):
            digester.update(chunk)
        return digester

    def restart(self) -> None:
        """Throw away what is there."""
        self._handle.truncate(0)
        self._handle.seek(0)
        self.size = 0

    def write(self, chunk: Buffer) -> None:
        view = memoryview(chunk)
        while len(view):
            try:
                written = self._handle.write(view)
            except OSError as error:
                self._disk_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                said = f"{error.strerror} after {self.size} bytes"
                if self._disk_full:
                    said += "; they are removed"
                raise OSError(error.errno, said, str(self.path)) from error
            view = view[written:]
            self.size += written

    def commit(self) -> None:
        """Put the part in the target's place, at once. The page cache has it; it is not synced to disk."""
        if self._overwrite:
            self.path.replace(self.target)
        else:
            self._link()
        self._committed = True
        self._handle.close()

    def abandon(self, *, keep: bool) -> None:
        """Stop; `keep` leaves the part for a later resume, unless it is what fills the disk. Does nothing after a commit."""
        if not self._committed:
            if not keep or self.size == 0 or self._disk_full:
                self.path.unlink(missing_ok=True)
            self._handle.close()

    def _link(self) -> None:
        try:
            # Unlike a rename, a link fails if the target appeared meanwhile.
            os.link(self.path, self.target)
        except FileExistsError:
            self._refuse_existing()
            raise
        except OSError:  # A file system without hard links.
            self._refuse_existing()
            self.path.replace(self.target)
            return
        self.path.unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        if not self._overwrite and os.path.lexists(self.target):
            raise AlreadyExists(f"{self.target} exists; pass overwrite=True (--overwrite) to replace it")


def _open_locked(path: Path) -> io.FileIO | None:
    """Open or create, and lock; None where another download holds it, and where it is no file of this user alone."""
    while True:
        try:
            # Without O_NONBLOCK a pipe that was laid there would be waited at.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            handle = io.FileIO(os.open(path, flags, 0o666), "rb+")
        except OSError:
            return None
        try:
            found = os.fstat(handle.fileno())
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held the lock may have renamed or removed the file while we opened it.
            if os.path.samestat(found, path.lstat()):
                if _is_own(found):
                    return handle
                handle.close()
                return None
        except FileNotFoundError:
            pass
        except OSError:
            handle.close()
            return None
        handle.close()


def _is_own(found: os.stat_result) -> bool:
    """Whether it is a file that this user made, which nobody can reach by another name."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1


def read_toml(path: Path) -> dict[str, Any]:
    """A configuration file, {} when there is none. Raises ConfigInvalid."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as cause:
        raise ConfigInvalid(f"cannot read {path}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigInvalid(f"{path} is not valid TOML: {cause}") from cause
