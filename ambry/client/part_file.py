"""The file of a download on its way: it appears under its own name whole, or not at all."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from ambry.checksum import Buffer
from ambry.client.beside import is_own
from ambry.client.locked_file import TRIES, LockedFile, listed_if_allowed, try_lock
from ambry.client.model import StrPath
from ambry.client.replaced_file import gather_for, replaced_file, take_owner
from ambry.client.small_file import local_path
from ambry.clock import system_random
from ambry.errors import AlreadyExists, UpdateConflict
from ambry.ids import ID_TEXT_SIZE, BlobId
from ambry.special_file import check_place

NAME_SIZE_MAX = 120
"""Characters of a target's name that stand in a part's."""


def part_path(target: Path, blob: BlobId) -> Path:
    """Where the bytes of a download gather that can go on later."""
    return target.with_name(f"{target.name[:NAME_SIZE_MAX]}.{blob}.part")


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
        self.target = Path(local_path(target))
        self._overwrite = overwrite
        self._committed = False
        self._disk_full = False
        # /dev/null would become a file that grows, /dev/stdout one for all of this machine.
        check_place(self.target, instead="stream the blob (get, ambry cat)")
        if not self.target.parent.exists():
            raise FileNotFoundError(errno.ENOENT, "No such directory", str(self.target.parent))
        self._refuse_existing()
        self.path = part_path(self.target, blob)
        handle = _open_locked(self.path) if resume else None
        self._found_again = handle is not None
        if handle is None:
            try:
                self.path, handle = _made_locked(self.path, unique)
            except OSError as error:
                error.filename = str(self.target.parent)  # Nobody knows the name that was tried.
                raise
        self._handle = handle
        self.size = os.fstat(handle.fileno()).st_size
        if (there := replaced_file(self.target)) is not None:
            gather_for(handle.fileno(), there)

    def restart(self) -> None:
        """Throw away what is there."""
        if self.size:
            # Not where nothing is: what was ever cut to nothing, ext4 writes to the disk when it is closed
            # (auto_da_alloc, ext4(5)), which takes as long as all the rest.
            self._handle.truncate(0)
        self._handle.seek(0)
        self.size = 0

    def write(self, chunk: Buffer) -> None:
        view = memoryview(chunk)
        while len(view):
            try:
                written = self._handle.write(view)
            except OSError as error:
                raise self._failed(error) from error
            view = view[written:]
            self.size += written

    def write_at(self, offset: int, data: Buffer) -> None:
        """Anywhere in the file, from any thread. `size` counts what was written."""
        view = memoryview(data)
        while len(view):
            try:
                written = os.pwrite(self._handle.fileno(), view, offset)
            except OSError as error:
                raise self._failed(error) from error
            view = view[written:]
            offset += written
            self.size += written

    def read_at(self, offset: int, size: int) -> bytes:
        """What stands there, which may be less."""
        return os.pread(self._handle.fileno(), size, max(0, offset))

    def cut_to(self, size: int) -> None:
        """Let the file have so many bytes: what was never written is a hole."""
        try:
            self._handle.truncate(size)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OSError:
        self._disk_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = f"{error.strerror} after {self.size} bytes"
        if self._disk_full:
            said += "; they are removed"
        return OSError(error.errno, said, str(self.path))

    def commit(self) -> None:
        """Put the part in the target's place, at once. The page cache has it; it is not synced to disk.

        Raises UpdateConflict where something else lies in the part's own place: it stays there, and the target is left alone.
        """
        self._hold()
        if self._overwrite:
            if (there := replaced_file(self.target)) is not None:  # A link is replaced as it is.
                take_owner(self._handle.fileno(), there)
            self.path.replace(self.target)
        else:
            self._link()
        self._committed = True
        self._handle.close()

    def drop_older(self) -> None:
        """Remove what broken downloads to this target left: of other blobs, as a name has another one by now, and under names
        of their own, from which nobody goes on.

        What somebody holds or somebody else made stays, and so does what may be of a target with a longer name.
        """
        ours = re.compile(rf"{re.escape(self.target.name)}\.[A-Za-z0-9_-]{{{ID_TEXT_SIZE}}}(\.[0-9a-f]{{32}})?\.part")
        if len(self.target.name) > NAME_SIZE_MAX:
            return
        for name in listed_if_allowed(self.target.parent):
            path = self.target.with_name(name)
            if ours.fullmatch(name) and (held := _open_locked(path)) is not None:
                path.unlink(missing_ok=True)
                held.close()

    def abandon(self, *, keep: bool) -> bool:
        """Stop; `keep` leaves the part for a later resume, and says whether it is there.

        It is not where nobody would find it again, and where it is what fills the disk. Does nothing after a commit, nor in a
        forked child, whose parent goes on with it.
        """
        if self._committed or self._handle.closed:
            return False
        kept = keep and self._found_again and self.size > 0 and not self._disk_full
        if not kept and self._is_at(self.path):
            self.path.unlink(missing_ok=True)
        self._handle.close()
        return kept

    def _hold(self) -> None:
        """Give what was written a name that nobody knows: under the one before, others may have put a file of theirs."""
        if not self._found_again:
            return
        fresh = self.path.with_suffix(f".{system_random().randbytes(16).hex()}.part")
        try:
            self.path.rename(fresh)
        except FileNotFoundError:
            raise UpdateConflict(f"{self.path}, where {self.target} gathered, was removed; read it again") from None
        if not self._is_at(fresh):
            fresh.rename(self.path)
            raise UpdateConflict(f"{self.path}, where {self.target} gathered, is another file by now; read it again")
        self.path, self._found_again = fresh, False

    def _is_at(self, path: Path) -> bool:
        """Whether what was written is there, and not something else."""
        try:
            return os.path.samestat(os.fstat(self._handle.fileno()), path.lstat())
        except OSError:
            return False

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


def _open_locked(path: Path) -> LockedFile | None:
    """Open or create, and lock; None where another download holds it, and where it is no file of this user alone."""
    try:
        file = try_lock(path, 0o666)
    except OSError:
        return None
    if file is not None and not is_own(os.fstat(file.fileno())):
        file.close()
        return None
    return file


def _made_locked(part: Path, unique: str) -> tuple[Path, LockedFile]:
    """A new file beside `part`, which nobody takes for one that was left. Raises OSError."""
    for _ in range(TRIES):
        path = part.with_suffix(f".{unique}.part")
        file = LockedFile(path, 0o666, new=True)
        try:
            file.lock(wait=False)
            path.lstat()
        except (BlockingIOError, FileNotFoundError):
            file.close()  # Before it was locked somebody did.
            unique = system_random().randbytes(16).hex()
            continue
        except OSError:
            pass  # A file system without locks, where nobody removes it either.
        return path, file
    raise OSError(errno.ENOLCK, f"what gathers beside it is removed each time, {TRIES} times", str(part))
