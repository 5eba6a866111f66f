"""Files of a person's own or of any file system that fsspec knows, and directories: written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed


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
    path = Path(place)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def written_directory(directory: Path) -> Iterator[Path]:
    """A directory that is there whole or not at all: what is yielded is filled, and gets its name when the block ends.

    It gathers beside `directory` as `.<name>.<random>.part`, which goes after an error and stays where the process is killed.
    Raises what `check_directory` does, OSError.
    """
    check_directory(directory)
    target = directory.resolve()  # A link stays one.
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")
    try:
        part.mkdir()
        if target.is_dir():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        yield part
        check_directory(directory)  # It may have been filled meanwhile; the system replaces none that has files either.
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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
