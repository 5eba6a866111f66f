"""A large file sent in parts, several at a time, which goes on where it stopped: after an interruption, a kill, a reboot.

Memory is bounded: each of `parallel` parts on its way holds a few chunks of 1 MiB, whatever its size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ambry.checksum import digest
from ambry.client.model import BlobInfo, Progress, UploadedPart
from ambry.client.sections import FileSection, RememberedUpload, fitting, sections_of
from ambry.errors import ChecksumMismatch, InvalidRequest, UploadNotFound
from ambry.rest.values import digest_text

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.client.sync.uploads import SyncUpload

PART_SIZE = 8 << 20
PARALLEL = 4
PARALLEL_MAX = 32

Begin = Callable[[], "SyncUpload"]


def upload_file(
    client: AmbryClient,
    path: Path,
    begin: Begin,
    *,
    part_size: int = PART_SIZE,
    parallel: int = PARALLEL,
    resume: bool = True,
    progress: Progress | None = None,
) -> BlobInfo:
    """Send a file that is not empty, and complete its upload. `begin` starts a new one where there is none to go on with.

    Which one it is stands in a file beside it until it is complete; with `resume` that is gone on with: parts that arrived
    are compared with the file and not sent again. Raises what the client raises; then the same call goes on.
    """
    if not 1 <= parallel <= PARALLEL_MAX:
        raise InvalidRequest(f"1 to {PARALLEL_MAX} parts are sent at a time, not {parallel}")
    size = path.stat().st_size
    if not size:
        raise InvalidRequest(f"{path} is empty; put it, there is nothing to send in parts")
    remembered = RememberedUpload(path)
    begun = _gone_on_with(client, remembered, size) if resume else None
    if begun is None:
        begun = _Begun(begin(), fitting(part_size, size), [])
        remembered.save(begun.upload.id, begun.part_size)
    sending = _Sending(begun, size, progress)
    parts = sending.run(sections_of(path, size, begun.part_size, sending.check), parallel)
    info = begun.upload.complete(parts)
    remembered.forget()
    whole = parts[0].checksum if len(parts) == 1 else _of_parts(parts)
    if info.size != size or info.etag.strip('"') != whole:
        raise ChecksumMismatch(f"blob {info.id} was completed, but {path} has changed since it was sent; send it again")
    return info


class _Begun(NamedTuple):
    """An upload that goes on."""

    upload: SyncUpload
    part_size: int
    have: list[UploadedPart] | None
    """What arrived; None where it is complete."""


def _gone_on_with(client: AmbryClient, remembered: RememberedUpload, size: int) -> _Begun | None:
    """The upload that is remembered, if it is still there."""
    found = remembered.load()
    if found is None or fitting(found[1], size) != found[1]:
        return None
    try:
        upload = client.resume_upload(found[0])
        is_open = upload.show().state == "open"
        return _Begun(upload, found[1], upload.parts() if is_open else None)
    except UploadNotFound:
        return None


def _of_parts(parts: Sequence[UploadedPart]) -> str:
    """The digest of a blob that was completed from these."""
    return digest_text(digest(b"".join(bytes.fromhex(each.checksum) for each in parts)), len(parts))


class _Stopped(Exception):
    """Another part failed."""


class _Sending:
    """The parts of one file on their way."""

    def __init__(self, begun: _Begun, size: int, progress: Progress | None) -> None:
        self._upload = begun.upload
        self._size = size
        self._complete = begun.have is None
        self._have = {each.part: each for each in begun.have or ()}
        self._progress = progress
        self._lock = threading.Lock()
        self._sent: dict[int, int] = {}
        self._stop = threading.Event()

    def check(self) -> None:
        """Raises when the others have stopped."""
        if self._stop.is_set():
            raise _Stopped

    def run(self, sections: Sequence[FileSection], parallel: int) -> list[UploadedPart]:
        """All of them, by number. The first failure stops the others, and is raised."""
        with ThreadPoolExecutor(min(parallel, len(sections)), thread_name_prefix="ambry-part") as pool:
            futures = [pool.submit(self._one, section) for section in sections]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                failures = [future.exception() for future in futures if future.done() and not future.cancelled()]
                first = next((each for each in failures if each is not None and not isinstance(each, _Stopped)), None)
                if first is not None:
                    raise first from None
                raise

    def _one(self, section: FileSection) -> UploadedPart:
        self.check()
        try:
            here = self._have.get(section.number)
            if self._complete or (here is not None and here.size == section.size):
                own = UploadedPart(part=section.number, size=section.size, checksum=section.digest())
                if self._complete or own == here:
                    self._note(section.number, section.size)
                    return own
            return self._upload.write_part(
                section.number, section, progress=lambda done, _: self._note(section.number, done)
            )
        except BaseException:
            self._stop.set()
            raise

    def _note(self, number: int, done: int) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._sent[number] = done
            self._progress(sum(self._sent.values()), self._size)
