"""Blobs that are kept on this machine by their ids, for all processes of a user. What a blob holds never changes, so what is
here is never asked for again.

    <directory>/                     ~/.cache/ambry; made with mode 0700
        blobs/<id>                   a whole blob, mode 0444; its time of change is when it was last asked for
        sums/<id>                    what its bytes were when it came (cache_sums.py)
        incoming/<id>.lock           held (flock) by the one process that fetches the blob, whose id is in it
        incoming/<id>, <id>.*.part   what it has of it
        names/<digest of the name>   what a name pointed to when it was last seen, for offline use
        held/                        links to blobs for those who use several at once (ml/from_cache.py)
        lock                         held while something enters or goes

There is no index: the directory is what is true. A file gets its name in `blobs` by a rename, when all of it is on the disk
and was read back; its sum is there before. So whatever is killed at whatever moment, a file in `blobs` is whole, and what it
left in `incoming` is gone on with by the next one who wants that blob. Whoever has a file open or mapped keeps its bytes when
it goes (POSIX); a path alone is good only until the room is needed.

Nothing is read from a directory into which somebody else can put files, nor does anything enter there.

Blocking: all of it waits for a disk. `lock` is held for one entry at a time: while its sum is written, or while it goes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ambry.client.cache_directories import check_private, is_trusted, make_directories
from ambry.client.cache_names import RememberedNames
from ambry.client.cache_plan import CachedBlob, check_fits, to_evict
from ambry.client.cache_sums import BlobSum, parse_sum, sum_of
from ambry.client.locked_file import LockedFile, listed, try_lock
from ambry.client.model import StrPath
from ambry.client.state_file import replace_text
from ambry.client.whole_digest import WholeDigest
from ambry.clock import Clock
from ambry.errors import ChecksumMismatch, InvalidRequest, RequestTimeout
from ambry.home import expanded
from ambry.ids import BlobId
from ambry.os_errors import text_of

ABANDONED_S = 24 * 3600
"""After so long what nobody fetches any more is thrown away, and gone on with until then."""


class BlobCache:
    """The cache in a directory. Nothing is made there before something enters; objects may be made at will."""

    def __init__(self, directory: StrPath, *, max_bytes: int, clock: Clock) -> None:
        self.directory = expanded(directory)
        self.max_bytes = max_bytes
        self._clock = clock
        self._blobs = self.directory / "blobs"
        self._sums = self.directory / "sums"
        self._incoming = self.directory / "incoming"
        self.names = RememberedNames(self.directory / "names", self._entering)
        self._directories = (self.directory, self._blobs, self._sums, self._incoming, self.names.directory)

    def find(self, blob: BlobId, *, verify: bool = False, sha256: str = "") -> Path | None:
        """The file of a blob that is here, which counts as used now; None of one that is not.

        With `verify` its bytes are read, and one that is not what it was goes. With `sha256` they are read unless they were
        for that before. Raises AccessDenied, ChecksumMismatch for another SHA-256.
        """
        path = self._blobs / str(blob)
        if (found := self._stat(blob)) is None:
            return None
        check_private(self._directories)
        if verify and not self.is_intact(blob):
            self._remove(blob, found=found)
            return None
        if sha256 and not self._has_sha256(blob, found, sha256):
            return None
        with suppress(OSError):  # Another user's, or on a disk that is read-only: then it only looks older than it is.
            os.utime(path)
        return path

    def is_intact(self, blob: BlobId) -> bool:
        """Whether the bytes of a blob are still those that came. False of one that is not here."""
        said = self._sum(blob)
        try:
            return said is not None and sum_of(self._blobs / str(blob)) == said
        except FileNotFoundError:
            return False

    def claim(self, blob: BlobId) -> Arrival | None:
        """The right to fetch a blob; None while another process or thread has it. Raises OSError, AccessDenied."""
        self._make()
        held = try_lock(self._incoming / f"{blob}.lock")
        if held is None:
            return None
        with suppress(OSError):  # For who waits.
            held.truncate(0)
            held.write(b"%d\n" % os.getpid())
        return Arrival(self, blob, held)

    def fetcher_of(self, blob: BlobId) -> str:
        """In words, who has claimed a blob."""
        with suppress(OSError, ValueError):
            return f"process {int((self._incoming / f'{blob}.lock').read_text('ascii'))}"
        return "another process"

    def nameless(self) -> int:
        """The descriptor of a new file without a name, which who is killed does not leave. Raises OSError, AccessDenied."""
        self._make()
        return os.open(self._incoming, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def make_room(self, blob: BlobId, size: int) -> None:
        """Let others go so that a blob of so many bytes fits. Raises TooLarge for one that never will."""
        check_fits(blob, size, self.max_bytes)
        self.sweep(ABANDONED_S)
        self.shrink(self.max_bytes, keep=blob, arriving=size)

    def shrink(self, max_bytes: int, *, keep: BlobId | None = None, arriving: int = 0) -> list[CachedBlob]:
        """Let the least recently used go until no more than `max_bytes` are here, with what is on its way; those that went.

        `keep` stays, and what is on its way of it is counted as `arriving`.
        """
        arriving += sum(self._gathered(keep).values())
        chosen = to_evict(self.entries(), keep=keep, arriving=arriving, max_bytes=max_bytes)
        return [each for each in chosen if self._remove(each.id, used_ns=each.used_ns)]

    def drop_unused(self, seconds: float) -> list[CachedBlob]:
        """Let go what nobody asked for in so long; those that went."""
        before_ns = int((self._clock.wall_ms() - seconds * 1000) * 1_000_000)
        return [
            each for each in self.entries() if each.used_ns < before_ns and self._remove(each.id, used_ns=each.used_ns)
        ]

    def entries(self) -> Iterator[CachedBlob]:
        """All that is here, intact or not, in no order."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._blobs) as found:
            for entry in found:
                with suppress(InvalidRequest, FileNotFoundError):
                    blob, seen = BlobId.parse(entry.name), entry.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(seen.st_mode):
                        yield CachedBlob(id=blob, size=seen.st_size, used_ns=seen.st_mtime_ns)

    def has(self, blob: BlobId) -> bool:
        """Whether a blob is here, intact or not."""
        return self.path_of(blob).exists()

    def path_of(self, blob: BlobId) -> Path:
        """Where a blob is, or would be."""
        return self._blobs / str(blob)

    def remove(self, blob: BlobId) -> bool:
        """Let one go, intact or not; whether it was here."""
        return self._remove(blob)

    def sweep(self, older_than_s: float) -> int:
        """Throw away what was left by those who fetched something and were killed, and have sums of nothing; bytes."""
        freed = 0
        before_ns = (self._clock.wall_ms() - older_than_s * 1000) * 1_000_000
        names = listed(self._incoming)
        for text in {name.partition(".")[0] for name in names}:
            left = [self._incoming / name for name in names if name.partition(".")[0] == text]
            try:
                blob = BlobId.parse(text)
                if older_than_s and any(path.lstat().st_mtime_ns > before_ns for path in left):
                    continue
            except (InvalidRequest, FileNotFoundError):
                continue
            if (arrival := self.claim(blob)) is not None:
                freed += arrival.throw_away()
                arrival.release()
        if self._sums.is_dir():
            with self._locked():
                for name in set(listed(self._sums)) - set(listed(self._blobs)):
                    (self._sums / name).unlink(missing_ok=True)
        return freed

    def admit(self, blob: BlobId, file: Path, checksum: str, etag: str, sha256: str) -> Path:
        """Give a whole file its place. Raises ChecksumMismatch where it is not what its blob has, as BlobInfo says it, and
        for another SHA-256 than `sha256`, unless that is empty.
        """
        file.chmod(0o444)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        seen = WholeDigest(file.stat().st_size, checksum, etag)
        said = sum_of(file, seen, with_sha256=bool(sha256))
        if seen.is_right is False:
            raise ChecksumMismatch(
                f"{file} was read back with the xxh3-128 {said.digest}, but blob {blob} has {checksum}; the disk or the memory "
                "of this machine is at fault"
            )
        said.check(blob, sha256)
        path = self._blobs / str(blob)
        with self._locked():
            replace_text(self._sums / str(blob), said.line)
            file.replace(path)
        self.shrink(self.max_bytes, keep=blob)
        return path

    def arriving_at(self, blob: BlobId) -> Path:
        """Where a blob gathers."""
        return self._incoming / str(blob)

    def leftovers(self, blob: BlobId) -> list[Path]:
        """What gathers of a blob."""
        text = str(blob)
        return [
            self._incoming / name
            for name in listed(self._incoming)
            if name.partition(".")[0] == text and name != f"{text}.lock"
        ]

    def _gathered(self, but: BlobId | None) -> dict[str, int]:
        """The sizes of what is on its way, but for one blob."""
        found: dict[str, int] = {}
        for name in listed(self._incoming):
            if name.partition(".")[0] != str(but):
                with suppress(FileNotFoundError):
                    found[name] = (self._incoming / name).lstat().st_size
        return found

    def _stat(self, blob: BlobId) -> os.stat_result | None:
        """Of an entry; None where there is none, or none of this user's that is as long as it was."""
        try:
            found = (self._blobs / str(blob)).lstat()
        except FileNotFoundError:
            return None
        said = self._sum(blob)
        if said is None or not stat.S_ISREG(found.st_mode) or found.st_size != said.size or not is_trusted(found):
            return None
        return found

    def _sum(self, blob: BlobId) -> BlobSum | None:
        try:
            return parse_sum((self._sums / str(blob)).read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def _has_sha256(self, blob: BlobId, found: os.stat_result, sha256: str) -> bool:
        """True, or False where the entry goes in this moment. Raises ChecksumMismatch."""
        said = self._sum(blob)
        if said is None:
            return False
        if not said.sha256:
            try:
                seen = sum_of(self._blobs / str(blob), with_sha256=True)
            except FileNotFoundError:
                return False
            if seen != said:
                self._remove(blob, found=found)
                return False
            said = replace(said, sha256=seen.sha256)
            with suppress(OSError), self._locked():  # On a disk that is read-only it is read again the next time.
                if os.path.samestat(found, (self._blobs / str(blob)).lstat()):
                    replace_text(self._sums / str(blob), said.line)
        said.check(blob, sha256)
        return True

    def _remove(self, blob: BlobId, *, found: os.stat_result | None = None, used_ns: int | None = None) -> bool:
        """Let an entry go: with `found` that one alone, and with `used_ns` unless somebody has asked for it since."""
        with self._locked(), suppress(FileNotFoundError):
            now = (self._blobs / str(blob)).lstat()
            if (found is None or os.path.samestat(found, now)) and used_ns in (None, now.st_mtime_ns):
                self._drop(blob)
                return True
        return False

    def _drop(self, blob: BlobId) -> None:
        for directory in (self._blobs, self._sums):
            (directory / str(blob)).unlink(missing_ok=True)

    def _make(self) -> None:
        """Raises OSError, AccessDenied."""
        make_directories(self._directories)
        check_private(self._directories)

    @contextmanager
    def _entering(self) -> Generator[None]:
        self._make()
        with self._locked():
            yield

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Raises RequestTimeout where somebody has it for too long, OSError."""
        with LockedFile(self.directory / "lock") as file:
            try:
                file.lock(wait=True)
            except TimeoutError as held:
                raise RequestTimeout(f"{text_of(held)}, or name another cache (AMBRY_CACHE_DIR)") from None
            yield


class Arrival:
    """The right to fetch one blob into a cache, until `release`: a process that is killed loses it."""

    def __init__(self, cache: BlobCache, blob: BlobId, held: LockedFile) -> None:
        self._cache = cache
        self._blob = blob
        self._held = held
        self.target = cache.arriving_at(blob)
        """Where the blob is to be written; what gathers beside it begins with this and a dot."""

    def admit(self, checksum: str, etag: str = "", sha256: str = "") -> Path:
        """`target` is whole: it enters. Raises ChecksumMismatch where its bytes are not those of the blob, as BlobInfo says."""
        try:
            return self._cache.admit(self._blob, self.target, checksum, etag, sha256)
        except ChecksumMismatch:
            self.target.unlink(missing_ok=True)
            raise

    def throw_away(self) -> int:
        """All that gathered of it goes; bytes."""
        freed = 0
        for path in self._cache.leftovers(self._blob):
            with suppress(FileNotFoundError):
                freed += path.lstat().st_blocks * 512
                path.unlink()
        return freed

    def release(self) -> None:
        if not self._held.closed:  # In a forked child it is the parent's.
            self.target.with_name(f"{self._blob}.lock").unlink(missing_ok=True)
            self._held.close()
