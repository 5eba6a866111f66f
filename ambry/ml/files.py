"""Files of a person's own or of any file system that fsspec knows: read as they are, written whole or not at all."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

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
