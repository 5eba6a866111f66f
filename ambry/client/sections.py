"""A file that is sent in sections, and what is remembered beside it of how far that got.

Nothing that stands beside the file is believed: which parts the server has is asked of the server, and whether they are
those of the file is decided by their sizes and digests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ambry.checksum import Buffer, digest, new_digester
from ambry.client import wire
from ambry.client.beside import tell_kept
from ambry.client.sources import Body
from ambry.client.special_file import is_special
from ambry.client.state_file import read_text, replace_text
from ambry.errors import InvalidRequest

PART_BYTES_MIN = 1 << 20
CHUNK_BYTES = 1 << 20
"""Read at a time."""


class FileSection(Body):
    """Part `number` of a file: `size` bytes from `start` on. Opened for each pass; `check` may stop it by raising."""

    replayable = True
    blocking = True

    def __init__(self, path: Path, number: int, start: int, size: int, check: Callable[[], None]) -> None:
        self.number = number
        self.start = start
        self.size: int = size
        self._path = path
        self._check = check

    def chunks(self) -> Iterator[Buffer]:
        left = self.size
        with self._path.open("rb", buffering=0) as handle:
            handle.seek(self.start)
            while left and (chunk := handle.read(min(left, CHUNK_BYTES))):
                self._check()
                left -= len(chunk)
                yield chunk

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


def large_size(path: Path, threshold: int) -> int | None:
    """The size of a file that has at least so many bytes; None of a smaller one, and of what is no file. Raises OSError.

    /dev/stdin is no file, whatever was put into it: nothing can be remembered beside it.
    """
    size = path.stat().st_size
    return size if size >= max(1, threshold) and path.is_file() and not is_special(path) else None


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
    """`<file>.ambry-upload`: which upload a file is on its way in, by which size of parts, and what was said of its blob."""

    def __init__(self, file: Path, said: str) -> None:
        """`said` is what `said_of` gives: an upload of which something else was said is another one."""
        self.path = state_path(file)
        self._said = said

    def load(self) -> FoundUpload | None:
        """None where there is none, or nothing that makes sense."""
        with suppress(OSError, ValueError, KeyError, TypeError, InvalidRequest):
            found: Any = json.loads(read_text(self.path))
            upload, part_size = wire.uploads.parse_id(found["upload"]), found["part_size"]
            if isinstance(part_size, int) and part_size >= PART_BYTES_MIN and found["said"] == self._said:
                return FoundUpload(upload, part_size)
        return None

    def save(self, upload: str, part_size: int) -> None:
        """At once, whole or not at all. Where nothing can be written an upload goes on all the same, and cannot be resumed."""
        with suppress(OSError):
            replace_text(self.path, json.dumps({"upload": upload, "part_size": part_size, "said": self._said}) + "\n")

    def tell(self, error: BaseException) -> None:
        """Let an error say what is kept, if something is."""
        if self.load() is not None:
            tell_kept(error, f"what arrived is kept by the server, as {self.path} says")

    def forget(self) -> None:
        with suppress(OSError):
            self.path.unlink()
