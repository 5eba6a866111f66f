"""A file that is sent in sections, and what is remembered beside it of how far that got.

Nothing that stands beside the file is believed: which parts the server has is asked of the server, and whether they are
those of the file is decided by their sizes and digests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ambry.checksum import Buffer, digest, new_digester
from ambry.client import wire
from ambry.client.beside import is_own, tell_kept
from ambry.client.locked_file import LockedFile, try_lock
from ambry.client.sources import Body
from ambry.client.state_file import sync_directory
from ambry.errors import MALFORMED, InvalidRequest
from ambry.special_file import is_special

PART_BYTES_MIN = 1 << 20
CHUNK_BYTES = 1 << 20
"""Read at a time."""
STATE_BYTES_MAX = 4 << 10
"""Of what is remembered; it has some hundred."""


class FileSection(Body):
    """Part `number` of a file: `size` bytes from `start` on. Opened for each pass; `check` may stop it by raising."""

    replayable = True
    blocking = True

    def __init__(self, path: Path, number: int, start: int, size: int, check: Callable[[], None]) -> None:
        self.number = number
        self.start = start
        self.size = self.section_size = size
        self._path = path
        self._check = check

    def chunks(self) -> Iterator[Buffer]:
        left = self.section_size
        with self._path.open("rb", buffering=0) as handle:
            handle.seek(self.start)
            while left and (chunk := handle.read(min(left, CHUNK_BYTES))):
                self._check()
                left -= len(chunk)
                yield chunk
        if left:
            raise InvalidRequest(f"{self._path} got shorter while it was sent; nothing is stored, send it again")

    def digest(self) -> str:
        """xxh3-128 of its bytes, in hexadecimal."""
        digester = new_digester()
        for chunk in self.chunks():
            digester.update(chunk)
        return digester.hexdigest()


def sections_of(path: Path, size: int, part_size: int, check: Callable[[], None]) -> list[FileSection]:
    """All of a file of `size` bytes, which is not empty."""
    starts = range(0, size, part_size)
    return [
        FileSection(path, number, start, min(part_size, size - start), check)
        for number, start in enumerate(starts, start=1)
    ]


class FileState(NamedTuple):
    """What tells that a file was written to: nothing of it is the same as before, or it was not."""

    size: int
    modified_ns: int
    inode: int


def state_of(path: Path) -> FileState:
    """Raises OSError."""
    found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino)


def large_state(path: Path, threshold: int) -> FileState | None:
    """A file that has at least so many bytes, as it is now; None of a smaller one, and of what is no file. Raises OSError.

    /dev/stdin is no file, whatever was put into it: nothing can be remembered beside it.
    """
    state = state_of(path)
    return state if state.size >= max(1, threshold) and path.is_file() and not is_special(path) else None


def check_unchanged(path: Path, state: FileState) -> None:
    """Raises InvalidRequest where a file was written to since it was in this state; OSError."""
    now = state_of(path)
    if now != state:
        sizes = (
            f"it has {now.size} bytes by now, and had {state.size}"
            if now.size != state.size
            else "its size is the same"
        )
        raise InvalidRequest(f"{path} was written to while it was sent: {sizes}; nothing is stored, send it again")


def said_of(headers: Mapping[str, str]) -> str:
    """What stands for all that was said of a blob with the headers of its upload."""
    return digest(json.dumps(sorted(headers.items())).encode()).hex()


def fitting(part_size: int, size: int) -> int:
    """The size of parts for a file of `size` bytes: at least what is wanted, and so that there are not too many."""
    least = max(PART_BYTES_MIN, part_size, -(-size // wire.uploads.PARTS_MAX))
    return -(-least // PART_BYTES_MIN) * PART_BYTES_MIN


def state_path(file: Path) -> Path:
    """Where it is remembered which upload a file is on its way in."""
    return file.with_name(f"{file.name}.ambry-upload")


class FoundUpload(NamedTuple):
    """What was remembered: the id of the upload, and the size of its parts."""

    upload: str
    part_size: int


class RememberedUpload:
    """`<file>.ambry-upload`: which upload a file is on its way in, by which size of parts, and what was said of its blob.

    Of several uploads of one file at a time that one is remembered which holds it; the others go on without.
    """

    def __init__(self, file: Path, said: str) -> None:
        """`said` is what `said_of` gives: an upload of which something else was said is another one."""
        self.path = state_path(file)
        self._said = said
        self._held: LockedFile | None = None

    def hold(self) -> None:
        """Until `release`, if nobody else does, and it can be written, and is a file of this user alone."""
        with suppress(OSError):
            held = try_lock(self.path)
            if held is not None and is_own(os.fstat(held.fileno())):
                self._held = held
            elif held is not None:
                held.close()

    def load(self) -> FoundUpload | None:
        """None where there is none, or nothing that makes sense."""
        if self._held is None:
            return None
        with suppress(*MALFORMED, OSError):
            self._held.seek(0)
            found: Any = json.loads(self._held.read(STATE_BYTES_MAX))
            upload, part_size = wire.uploads.parse_id(found["upload"]), found["part_size"]
            if isinstance(part_size, int) and part_size >= PART_BYTES_MIN and found["said"] == self._said:
                return FoundUpload(upload, part_size)
        return None

    def save(self, upload: str, part_size: int) -> None:
        """Durable on return. Where nothing can be written an upload goes on all the same, and cannot be resumed.

        One that is killed on the way leaves nothing that makes sense, which is as good as nothing.
        """
        if self._held is None:
            return
        text = json.dumps({"upload": upload, "part_size": part_size, "said": self._said}) + "\n"
        try:
            self._held.seek(0)
            self._held.truncate()
            self._held.write(text.encode())
            os.fsync(self._held.fileno())
            sync_directory(self.path.parent)
        except OSError:
            self.forget()

    def tell(self, error: BaseException) -> None:
        """Let an error say what is kept, if something is."""
        if self.load() is not None:
            tell_kept(error, f"what arrived is kept by the server, as {self.path} says")

    def forget(self) -> None:
        """There is nothing to go on with."""
        if self._held is not None:
            with suppress(OSError):
                self._held.truncate(0)

    def release(self) -> None:
        """Let others hold it. What remembers nothing does not stay."""
        if self._held is not None:
            with suppress(OSError):
                if not os.fstat(self._held.fileno()).st_size:
                    self.path.unlink()
            self._held.close()
            self._held = None
