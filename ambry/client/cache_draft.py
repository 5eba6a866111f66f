"""What is stored, kept in the cache of this machine as it goes out, so that who reads it here again asks nobody.

The copy has no name (O_TMPFILE, open(2)) until the store has all of it: who is killed leaves nothing behind. It enters by the
cache's own rule: on the disk, read back, and with the digest that the store says. Where it cannot be, because the disk is full,
the file system knows no files without a name, or the cache is too small, there is none, and the blob is fetched as any other:
nothing of it is an error of whoever stores.

Blocking: all of it waits for a disk.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from ambry.checksum import Buffer
from ambry.client.cache import BlobCache
from ambry.client.model import BlobInfo
from ambry.errors import AmbryError


class CacheDraft:
    """A copy of one blob that is on its way to the store. Of one thread at a time."""

    def __init__(self, cache: BlobCache) -> None:
        self._cache = cache
        self._file: FileIO | None = None
        self._size = 0
        with suppress(OSError, AmbryError):
            self._file = FileIO(cache.nameless(), "w")

    def write(self, data: Buffer) -> None:
        """`data` is not kept."""
        if self._file is None:
            return
        with memoryview(data).cast("B") as left:
            self._size += len(left)
            try:
                if self._size > self._cache.max_bytes:
                    self.close()
                written = 0
                while self._file is not None and written < len(left):
                    written += self._file.write(left[written:])
            except OSError:
                self.close()

    def enter(self, info: BlobInfo) -> Path | None:
        """It is the blob that `info` says: let it into the cache. None where it does not get there. The draft is closed."""
        file = self._file
        if file is None:
            return None
        try:
            return _enter(self._cache, info, lambda target: _name(file, target))
        finally:
            self.close()

    def close(self) -> None:
        """What did not enter is gone."""
        if self._file is not None:
            self._file.close()
            self._file = None


def enter_file(cache: BlobCache, info: BlobInfo, path: Path) -> Path | None:
    """Let a file that was stored into the cache, by a link where both are of one disk. It is the cache's from then on, and not
    to be written. None where it does not get there.
    """
    return _enter(cache, info, lambda target: _link(path, target))


def _enter(cache: BlobCache, info: BlobInfo, place: Callable[[Path], None]) -> Path | None:
    try:
        arrival = cache.claim(info.id)
        if arrival is None:
            return None
        try:
            if (found := cache.find(info.id)) is not None:
                return found
            cache.make_room(info.id, info.size)
            arrival.throw_away()
            place(arrival.target)
            return arrival.admit(info.checksum, info.etag)
        except (OSError, AmbryError):
            arrival.throw_away()
            return None
        finally:
            arrival.release()
    except (OSError, AmbryError):
        return None


def _name(file: FileIO, target: Path) -> None:
    """linkat(2) with AT_SYMLINK_FOLLOW, which os.link asks for where it is given a directory."""
    directory = os.open(target.parent, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", target.name, dst_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _link(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)
