"""Errors of files that are read and written at paths and URLs, told without what opens something (ambry/shown_urls.py)."""

from __future__ import annotations

import errno
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from ambry.errors import AmbryError, BlobGone, BlobNotFound
from ambry.ml.stored_files import FilePlace
from ambry.shown_urls import UNESCAPED, is_of_hdfs, shown_place, shown_words

_OF_ARCHIVES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)
"""Of a chained URL, such as `zip://a.avro::https://...`, whose file is none."""


@contextmanager
def file_or_version(said: str) -> Iterator[None]:
    """Of what looks up a version by a text in whose place a file could stand, and is not there: a mistyped file is told as one.

    Raises BlobNotFound.
    """
    try:
        yield
    except BlobNotFound as error:
        if not isinstance(error, BlobGone) and "://" not in said and "@" not in said.rpartition("/")[2]:
            error.message = f"there is no file or directory {shown_place(said)!r}, and {error.message}"
        raise


@contextmanager
def place_told(place: FilePlace, done: str = "read") -> Iterator[None]:
    """Of what reading a URL, or what else is `done` to it, fails with, the words without its secrets, and more of them than the
    URL alone.

    Raises OSError that names the place, as `shown_place` has it.
    """
    try:
        yield
    except (AmbryError, ImportError):
        raise
    except Exception as error:
        is_url = "://" in str(place)
        told = " ".join(str(error).split())
        clean = _with_status(shown_words(told, place), error) if is_url else told
        is_of_http = type(error).__module__.partition(".")[0] == "aiohttp"
        is_bare = isinstance(error, FileNotFoundError) and not isinstance(error.errno, int)  # fsspec has the URL there.
        if is_bare and is_url and (cause := _failure_behind(error)) is not None:
            words = _with_status(shown_words(" ".join(str(cause).split()), place), cause) or type(cause).__name__
            raise OSError(errno.EIO, f"it cannot be {done}: {words}", shown_place(place)) from None
        is_unnamed = isinstance(error, OSError) and isinstance(error.errno, int) and error.filename is None
        is_broken = isinstance(error, _OF_ARCHIVES)
        # What a name node refuses without a class of Python's for it, fsspec raises so.
        is_refusal = type(error) is RuntimeError and is_of_hdfs(place)
        if not is_url or (clean == told and not (is_bare or is_of_http or is_unnamed or is_broken or is_refusal)):
            raise
        shown = shown_place(place)
        if isinstance(error, FileNotFoundError):
            words = f"there is no such file, or it is not for whoever asks{_answered(error)}"
            # Without an answer it may have been looked for elsewhere.
            raise FileNotFoundError(errno.ENOENT, clean if clean == UNESCAPED else words, shown) from None
        number = error.errno if isinstance(error, OSError) and is_unnamed else errno.EIO
        raise OSError(number, f"it cannot be {done}: {clean or type(error).__name__}", shown) from None


def _failure_behind(error: BaseException) -> BaseException | None:
    """What fsspec took for a file that is not there, and is not that: a server that is down, or does not answer."""
    cause = _cause_of(error)
    if isinstance(status := getattr(cause, "status", None), int):
        return None if status in (403, 404, 410) else cause
    is_of_network = isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] == "aiohttp"
    return cause if is_of_network else None


def _cause_of(error: BaseException) -> BaseException | None:
    cause: BaseException | None = error
    while isinstance(cause, FileNotFoundError):
        cause = cause.__cause__
    return cause


def _answered(error: BaseException) -> str:
    """The status of a server, where one is known."""
    status = getattr(_cause_of(error), "status", None)
    return f" (the server answered {status})" if isinstance(status, int) else ""


def _with_status(words: str, error: BaseException) -> str:
    """Where the words of the library, which have the status, are left out."""
    return words + _answered(error) if words == UNESCAPED else words
