"""Files of a person's own or of any file system that fsspec knows, and directories: written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ambry.client.locked_file import TRIES, listed
from ambry.client.special_file import is_special
from ambry.errors import AmbryError, InvalidRequest
from ambry.ml.extras import needed

NAME_SIZE_MAX = 50
"""Characters of a target's name that stand in that of its part."""
_OF_THE_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS))
"""What writing fails with that names no file."""


def opened(place: str | Path) -> AbstractContextManager[Any]:
    """A file, or what is at a URL, to be read. Raises OSError, ModuleNotFoundError for a URL without fsspec."""
    if "://" in str(place):
        there: AbstractContextManager[Any] = needed("fsspec").open(str(place), "rb")
        return there
    return Path(place).open("rb")


@contextmanager
def written(place: str | Path) -> Iterator[Any]:
    """A file that is there whole or not at all. Raises OSError, ModuleNotFoundError for a URL without fsspec."""
    if "://" in str(place):
        filesystem, path = needed("fsspec.core").url_to_fs(str(place))
        file = filesystem.open(path, "wb", autocommit=False)
        try:
            with naming(place):
                yield file
                file.close()
                file.commit()
        except BaseException:
            file.discard()
            raise
        if not filesystem.exists(path):
            # HDFS moves nothing into a directory that is not there, and says nothing either.
            raise FileNotFoundError(errno.ENOENT, "it was not put in place; make its directory first", str(place))
        return
    with written_path(Path(place)) as part, part.open("wb") as file:
        yield file


@contextmanager
def written_path(target: Path) -> Iterator[Path]:
    """The file is there whole or not at all: what is yielded is an empty file that gets its name when the block ends.

    It gathers beside it as `.<name>.<random>.part`, which goes after an error, and where the process is killed, when the same
    file is written again. Raises OSError that names `target`, InvalidRequest for what is no file.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory; name the file to write", str(target))
    if is_special(target):
        raise InvalidRequest(f"{target} is a device or a pipe, which no file may replace; name the file to write")
    with _gathering(target, target, _make_file) as part:
        yield part
        with suppress(FileNotFoundError, PermissionError):
            found = target.lstat()
            if stat.S_ISREG(found.st_mode):
                part.chmod(stat.S_IMODE(found.st_mode) & 0o777)
        part.replace(target)


@contextmanager
def written_directory(directory: Path) -> Iterator[Path]:
    """A directory that is there whole or not at all: what is yielded is filled, and gets its name when the block ends.

    It gathers as `written_path` says. Raises what `check_directory` does, OSError that names `directory`.
    """
    check_directory(directory)
    target = directory.resolve()  # A link stays one.
    target.parent.mkdir(parents=True, exist_ok=True)
    with _gathering(directory, target, Path.mkdir) as part:
        if target.is_dir():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        yield part
        check_directory(directory)  # It may have been filled meanwhile; the system replaces none that has files either.
        part.replace(target)


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
def _gathering(said: Path, target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """What becomes `target`, locked while it is filled, and gone in the end. Parts that dead processes left go first."""
    _sweep(target)
    part, lock = _made(said, target, make)
    try:
        with naming(said, part):
            yield part
    finally:
        _remove(part)
        if lock is not None:
            os.close(lock)


def _make_file(part: Path) -> None:
    part.touch(exist_ok=False)


def _made(said: Path, target: Path, make: Callable[[Path], None]) -> tuple[Path, int | None]:
    """A part, and the descriptor that holds its lock; None of a file system without locks, where nobody sweeps either.

    Raises OSError.
    """
    for _ in range(TRIES):
        part = target.with_name(f".{target.name[:NAME_SIZE_MAX]}.{secrets.token_hex(8)}.part")
        with naming(said, part):
            make(part)
        try:
            return part, _locked(part)
        except (BlockingIOError, FileNotFoundError):
            continue  # Who sweeps in this moment took it for one that was left.
        except OSError:
            return part, None
    raise OSError(errno.ENOLCK, f"what gathers beside it is removed each time, {TRIES} times", str(said))


def _locked(part: Path) -> int:
    """Raises BlockingIOError where somebody else has it, FileNotFoundError where it is gone, OSError without locks."""
    handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), part.lstat()):
            raise FileNotFoundError(errno.ENOENT, "it is another one by now", str(part))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _sweep(target: Path) -> None:
    """Remove parts of `target` that this user's processes left. What somebody holds or somebody else made stays."""
    ours = re.compile(rf"\.{re.escape(target.name[:NAME_SIZE_MAX])}\.[0-9a-f]{{16}}\.part")
    for name in listed(target.parent):
        if ours.fullmatch(name) is None:
            continue
        part = target.with_name(name)
        with suppress(OSError):
            if part.lstat().st_uid == os.geteuid():
                lock = _locked(part)
                _remove(part)
                os.close(lock)


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
        return
    with suppress(OSError):
        part.unlink()


def check_directory(directory: Path) -> None:
    """Raises FileExistsError for what `written_directory` would write over, InvalidRequest for what cannot be put in place."""
    if not os.path.lexists(directory):
        return
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is no directory; name a new one")
    if next(directory.iterdir(), None) is not None:
        raise FileExistsError(f"{directory} is not empty; name a new directory")
    target = directory.resolve()
    if target == Path.cwd() or os.path.ismount(target):
        kind = "the working directory" if target == Path.cwd() else "where a file system is mounted"
        raise InvalidRequest(f"{directory} is {kind}, which is not replaced by a whole one; name a directory below it")
