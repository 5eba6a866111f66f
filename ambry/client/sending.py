"""The parts of one file on their way: what is there already, and how far the others are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ambry.checksum import digest
from ambry.client.model import BlobInfo, Progress, UploadedPart
from ambry.client.refs import NameRef
from ambry.client.sections import FileSection
from ambry.client.stopping import FileMove
from ambry.client.wire.message import Headers
from ambry.errors import ChecksumMismatch
from ambry.rest import names
from ambry.rest.values import digest_text


class UploadName(NamedTuple):
    """The name that an upload in parts is for, and what must hold of it when the upload is completed."""

    place: NameRef
    if_absent: bool
    if_match: str | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """What the server has of an upload; `parts` None where it is complete."""

    parts: Sequence[UploadedPart] | None

    def bytes_of(self, size: int, part_size: int) -> int:
        """How much that is of a file of `size` bytes in parts of `part_size`, by their sizes alone."""
        if self.parts is None:
            return size
        return sum(part.size for part in self.parts if part.size == min(part_size, size - (part.part - 1) * part_size))


class PartProgress:
    """How much of several parts there is in all, told by one thread at a time."""

    def __init__(self, progress: Progress, size: int | None) -> None:
        self._progress = progress
        self._size = size
        self._lock = threading.Lock()
        self._done: dict[int, int] = {}

    def of(self, number: int) -> Progress:
        """What is called with the bytes of one part."""
        return lambda done, _: self.note(number, done)

    def note(self, number: int, done: int) -> None:
        """So many bytes of a part are there; of one that is sent again, those that were there before count."""
        with self._lock:
            self._done[number] = max(done, self._done.get(number, 0))
            self._progress(sum(self._done.values()), self._size)


class Sending(FileMove):
    """Shared by those who send the parts of a file of `size` bytes, on any thread."""

    def __init__(self, arrived: Arrived, size: int, progress: Progress | None) -> None:
        super().__init__()
        self._complete = arrived.parts is None
        self._have = {each.part: each for each in arrived.parts or ()}
        self._progress = None if progress is None else PartProgress(progress, size)

    def may_be_there(self, section: FileSection) -> bool:
        """Whether the server may have these bytes, which their digest decides."""
        here = self._have.get(section.number)
        return self._complete or (here is not None and here.size == section.size)

    def is_there(self, own: UploadedPart) -> bool:
        """Whether it has them: of a complete upload the server compares them all with what it is made of."""
        return self._complete or self._have.get(own.part) == own

    def note(self, number: int, done: int) -> None:
        """So many bytes of a part are there."""
        if self._progress is not None:
            self._progress.note(number, done)


def check_made(info: BlobInfo, size: int, parts: Sequence[UploadedPart], checksum: str, answer: Headers) -> None:
    """`answer` said what was made. Raises ChecksumMismatch where that is not the blob of these parts, or not of the digest that
    was said."""
    whole = parts[0].checksum if len(parts) == 1 else checksum
    expected = whole or digest_text(digest(b"".join(bytes.fromhex(each.checksum) for each in parts)), len(parts))
    if info.size != size or info.etag.strip('"') != expected:
        raise ChecksumMismatch(
            f"blob {info.id} is not what was sent; do not use it, and put the file again",
            request_id=answer.get(names.REQUEST_ID, ""),
        )
