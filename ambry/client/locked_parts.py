"""What gathers beside a file of the user until it is whole: locked by who fills it, removed by the next one where that died.

A lock (flock) goes with the process that has it. So a part that nobody holds was left by a kill, and whoever writes the same
again takes it away; what somebody holds, or another user made, stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ambry.client.locked_file import TRIES, listed_if_allowed
from ambry.client.tree_removal import remove_tree
from ambry.errors import AmbryError

_OF_THE_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS))
"""What writing fails with that names no file."""


@contextmanager
def naming(said: str | Path, part: Path | None = None) -> Iterator[None]:
    """Of an error of the disk `said` is the file, where none is named, or one of the part that it gathers in."""
    try:
        yield
    except OSError as error:
        number, named = error.errno, error.filename
        if isinstance(error, AmbryError) or number is None:
            raise
        if named is None and number in _OF_THE_DISK:
            raise OSError(number, os.strerror(number), str(said)) from error
        inside = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else None
        if part is None or inside is None or not inside.is_relative_to(part):
            raise
        raise OSError(number, os.strerror(number), str(Path(said) / inside.relative_to(part))) from error


@contextmanager
def locked_part(said: Path | None, fresh: Callable[[], Path], make: Callable[[Path], None]) -> Iterator[Path]:
    """A file or directory that `make` makes at a `fresh` path, locked, and gone in the end unless it has another name by then.

    Raises OSError that names `said`, also where the block fails; the part itself without one.
    """
    part, lock = _made(said, fresh, make)
    try:
        with naming(said or part, part):
            yield part
    finally:
        _remove(part)
        if lock is not None:
            os.close(lock)


@contextmanager
def shared_part(part: Path) -> Iterator[None]:
    """A directory of this user, made where it is not there, in which whoever gathers the same does it together.

    The last one removes it, where its block ends well, and `remove_left` where nobody is at it. What has come stays where the
    block fails, to be gone on with. Raises OSError.
    """
    handle = _shared(part)
    ended_well = False
    try:
        yield
        ended_well = True
    finally:
        with suppress(OSError):  # Others are at it, or it is gone.
            _lock_alone(handle)
            if os.path.samestat(os.fstat(handle), part.lstat()):
                if ended_well:
                    _remove(part)
                else:
                    part.rmdir()  # An empty one, from which there is nothing to go on.
        os.close(handle)


def _lock_alone(handle: int) -> None:
    """Raises BlockingIOError where somebody else has it; on a file system without locks nobody is known to have."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


def _shared(part: Path) -> int:
    """The descriptor that says that somebody is at it. Raises OSError."""
    for _ in range(TRIES):
        with suppress(FileExistsError):
            part.mkdir(0o700)
        try:
            handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # The last one removed it in this moment.
        try:
            with suppress(OSError):  # A file system without locks, where `remove_left` removes nothing.
                fcntl.flock(handle, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(handle), part.lstat()):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise OSError(errno.ENOLCK, f"it is removed each time, {TRIES} times", str(part))


def remove_left(directory: Path, ours: re.Pattern[str]) -> None:
    """Remove what dead processes of this user left in a directory, by its names."""
    for name in listed_if_allowed(directory):
        part = directory / name
        if ours.fullmatch(name) is None:
            continue
        with suppress(OSError):
            if part.lstat().st_uid == os.geteuid() and (lock := _locked(part)) is not None:
                _remove(part)
                os.close(lock)


def _made(said: Path | None, fresh: Callable[[], Path], make: Callable[[Path], None]) -> tuple[Path, int | None]:
    """A part, and the descriptor that holds its lock; None of a file system without locks, where nothing is removed either."""
    for _ in range(TRIES):
        part = fresh()
        with naming(said or part, part):
            make(part)
            try:
                return part, _locked(part)
            except (BlockingIOError, FileNotFoundError):
                continue  # Who looks for what was left took it for that in this moment.
            except OSError:  # As where no descriptor is free: without a lock others would take it for what was left.
                _remove(part)
                raise
    raise OSError(errno.ENOLCK, f"what gathers beside it is removed each time, {TRIES} times", str(said or part))


def _locked(part: Path) -> int | None:
    """None where the file system has no locks. Raises BlockingIOError where somebody else has it, FileNotFoundError where it is
    gone, OSError.
    """
    handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            os.close(handle)
            return None
        if not os.path.samestat(os.fstat(handle), part.lstat()):
            raise FileNotFoundError(errno.ENOENT, "it is another one by now", str(part))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        with suppress(OSError):
            part.rmdir()  # An empty one, which takes no descriptor.
            return
        remove_tree(part)
        return
    with suppress(OSError):
        part.unlink()
