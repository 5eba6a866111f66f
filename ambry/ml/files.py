"""Files of a person's own or of any file system that fsspec knows, and directories: written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ambry.client.locked_parts import locked_part, naming, remove_left
from ambry.client.replaced_file import gather_for, replaced_file, take_owner
from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.place_errors import place_told
from ambry.ml.stored_files import FileOfStore, FilePlace
from ambry.shown_urls import shown_place
from ambry.special_file import check_place

NAME_SIZE_MAX = 50
"""Characters of a target's name that stand in that of its part."""


def opened(place: FilePlace) -> AbstractContextManager[Any]:
    """A file, or what is at a URL, to be read. Raises OSError, ModuleNotFoundError for a URL without fsspec."""
    if isinstance(place, FileOfStore):
        stored: AbstractContextManager[Any] = place.open()
        return stored
    if "://" in str(place):
        there: AbstractContextManager[Any] = needed("fsspec").open(str(place), "rb")
        return there
    return Path(place).open("rb")


@contextmanager
def written(place: str | Path) -> Iterator[Any]:
    """A file that is there whole or not at all. Raises OSError, ModuleNotFoundError for a URL without fsspec.

    What the block fails with but for writing, such as what it reads meanwhile, goes on as it is.
    """
    if "://" in str(place):
        yield from _written_there(str(place))
        return
    with written_path(Path(place)) as part, part.open("wb") as file:
        yield file


class _FileThere:
    """A file at a URL, whose failures tell nothing that opens it. What else it can is fsspec's own."""

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url

    def write(self, data: Any) -> Any:
        with _told_there(self._url):
            return self._file.write(data)

    def flush(self, *how: Any) -> Any:
        with _told_there(self._url):
            return self._file.flush(*how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _told_there(url: str) -> Iterator[None]:
    with place_told(url, "written"), naming(shown_place(url)):
        yield


def _written_there(url: str) -> Iterator[Any]:
    with _told_there(url):
        filesystem, path = needed("fsspec.core").url_to_fs(url)
        file = filesystem.open(path, "wb", autocommit=False)
    try:
        yield _FileThere(file, url)
        with _told_there(url):
            file.close()
            file.commit()
    except BaseException:
        with suppress(Exception):  # Whatever it is: why nothing was written is what is told.
            file.discard()
        raise
    with _told_there(url):
        if not filesystem.exists(path):
            # HDFS moves nothing into a directory that is not there, and says nothing either.
            raise FileNotFoundError(errno.ENOENT, "it was not put in place; make its directory first", shown_place(url))


@contextmanager
def written_path(target: Path) -> Iterator[Path]:
    """The file is there whole or not at all: what is yielded is an empty file that gets its name when the block ends.

    A link stays one, and what it leads to is written. It gathers beside that as `.<name>.<random>.part`, which goes after an
    error, and where the process is killed, when the same file is written again.
    Raises OSError that names `target`, InvalidRequest for what is no file.
    """
    check_place(target, instead="name the file to write")
    said, target = target, Path(os.path.realpath(target))
    with _gathering(said, target, _make_file) as part:
        if (there := replaced_file(target)) is not None:
            gather_for(part, there)
        yield part
        if (there := replaced_file(target)) is not None:
            take_owner(part, there)
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
            with suppress(OSError):  # Of a file system without modes.
                part.chmod(stat.S_IMODE(target.stat().st_mode))
        yield part
        check_directory(directory)  # It may have been filled meanwhile; the system replaces none that has files either.
        part.replace(target)


def _gathering(said: Path, target: Path, make: Callable[[Path], None]) -> AbstractContextManager[Path]:
    """What becomes `target`. Parts of it that dead processes left go first."""
    name = target.name[:NAME_SIZE_MAX]
    remove_left(target.parent, re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.part"))
    return locked_part(said, lambda: target.with_name(f".{name}.{secrets.token_hex(8)}.part"), make)


def _make_file(part: Path) -> None:
    part.touch(exist_ok=False)


def check_directory(directory: Path) -> None:
    """Raises FileExistsError for what `written_directory` would write over, InvalidRequest for what cannot be put in place,
    and OSError where nothing can be made beside it.
    """
    if not os.path.lexists(directory):
        _try_beside(directory)
        return
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is no directory; name a new one")
    if next(directory.iterdir(), None) is not None:
        raise FileExistsError(f"{directory} is not empty; name a new directory")
    target = directory.resolve()
    if target == Path.cwd() or os.path.ismount(target):
        kind = "the working directory" if target == Path.cwd() else "where a file system is mounted"
        raise InvalidRequest(f"{directory} is {kind}, which is not replaced by a whole one; name a directory below it")
    _try_beside(directory)


def _try_beside(directory: Path) -> None:
    """It gathers there, in a directory that has to be writable whether the one that is asked for is there or not."""
    parent = next(each for each in directory.resolve().parents if os.path.lexists(each))
    try:
        Path(tempfile.mkdtemp(prefix=".ambry-", dir=parent)).rmdir()
    except OSError as error:
        words = f"{os.strerror(error.errno or errno.EIO)}: the directory {directory} gathers there; name another place"
        raise OSError(error.errno, words, str(parent)) from error
