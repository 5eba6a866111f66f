"""Paths and URLs as they may be printed, logged and published: without what opens something.

A signature stands in the query of a URL, a user and a password before its host, and fsspec chains URLs by `::`.
"""

from __future__ import annotations

import errno
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from ambry.client.refs import ID_SCHEME, SCHEME
from ambry.errors import AmbryError
from ambry.ml.stored_files import FilePlace

_CHAIN = "::"
_CONTAINERS = frozenset(("abfs", "abfss", "wasb", "wasbs", "oci"))
"""Schemes that have a container before the @, and no user."""
_OF_HDFS = frozenset(("hdfs", "webhdfs", "swebhdfs"))
"""A host and a port of these are no user and password, and an @ in the path is one of a name, written as it is."""
_WITH_FRAGMENTS = frozenset(("http", "https"))
"""Where # begins something that is not sent, and may be a token; elsewhere it is part of a name."""
_AUTHORITY_END = re.compile(r"[/?#]")
_PORT = re.compile(r"\d+")
_LINK = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][\w+.-]*://")
"""What stands behind the `::` of a chain."""
_WITHOUT_HOSTS = frozenset(("zip", "tar", "libarchive", "file", "local"))
_MACHINE = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|localhost|\[[^]]*\])(?::\d+)?", re.IGNORECASE)
"""What is a host, and hardly a user or a part of a password."""
_OF_ARCHIVES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)
"""Of a chained URL, such as `zip://a.avro::https://...`, whose file is none."""
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]*")
"""In what libraries say. They escape what was not, and the other way round, and leave out users."""
_UNESCAPED = (
    "the password in it has a sign that ends one, or the path has an @; "
    "write @ as %40, : as %3A, / as %2F, ? as %3F and # as %23"
)
_QUERY = re.compile(r"\?[^\s'\"<>?]*=[^\s'\"<>]*")
"""Of a URL whose scheme and host stand elsewhere in a sentence."""


def shown_place(place: FilePlace) -> str:
    """A path as it is; a URL without users, passwords and queries, each piece of a chain by itself.

    Of `abfs://container@account` the container stays, and `ambry://` as it is.
    """
    text = str(place)
    return _CHAIN.join(map(_shown, _pieces(text))) if "://" in text else text


def shown_words(words: str, place: FilePlace) -> str:
    """What a library says of a URL, without the secrets of that one or of any other, also where it writes it otherwise.

    Of a password that nobody escaped a library may tell each part, as a host or a path: of what may be such a URL its words are
    left out.
    """
    pieces = _pieces(str(place))
    if any(_end_of(piece) is not _End.CLEAR for piece in pieces):
        return _UNESCAPED
    for piece in sorted(pieces, key=len, reverse=True):
        words = words.replace(piece, _shown(piece))
    return _QUERY.sub("", _URL.sub(lambda found: shown_place(found[0]), words))


def has_bare_password(place: FilePlace) -> bool:
    """Whether a URL has a password with a sign that ends one, as far as can be told."""
    return any(
        end is _End.LAST or (end is _End.EITHER and "@" in _authority(piece.partition("://")[2]))
        for piece in _pieces(str(place))
        if (end := _end_of(piece)) is not _End.CLEAR
    )


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
        is_refusal = isinstance(error, RuntimeError)
        if not is_url or (clean == told and not (is_bare or is_of_http or is_unnamed or is_broken or is_refusal)):
            raise
        shown = shown_place(place)
        if isinstance(error, FileNotFoundError):
            words = f"there is no such file, or it is not for whoever asks{_answered(error)}"
            # Without an answer it may have been looked for elsewhere.
            raise FileNotFoundError(errno.ENOENT, clean if clean == _UNESCAPED else words, shown) from None
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
    return words + _answered(error) if words == _UNESCAPED else words


def _pieces(text: str) -> list[str]:
    """Of a chain. A `::` in a password, or in an address of IPv6, begins none."""
    pieces: list[str] = []
    start = 0
    for found in [*re.finditer(_CHAIN, text), None]:
        piece = text[start : found.start()] if found else text[start:]
        scheme, mark, rest = piece.partition("://")
        if found and mark and scheme not in _WITHOUT_HOSTS:
            authority = _authority(rest)
            is_whole = "@" in authority or ":" not in authority or _ends_with_port(authority)
            if not (is_whole and _LINK.match(text, found.end())):
                continue
        pieces.append(piece)
        start = found.end() if found else start
    return pieces


class _End(Enum):
    """Where the user and the password of a URL end."""

    CLEAR = "at the last @ of the authority"
    LAST = "at the last @ of all"
    EITHER = "at one of them"


def _is_stored(piece: str) -> bool:
    return piece.startswith((SCHEME, ID_SCHEME))


def _authority(rest: str) -> str:
    return _AUTHORITY_END.split(rest, maxsplit=1)[0]


def _ends_with_port(authority: str) -> bool:
    return _PORT.fullmatch(authority.rpartition(":")[2]) is not None


def _end_of(piece: str) -> _End:
    """Of a URL with an @ behind what looks like its authority, either that is a part of the password, or the path has an @."""
    rest = piece.partition("://")[2]
    authority = _authority(rest)
    user, at, host = authority.rpartition("@")
    if _is_stored(piece) or piece.partition("://")[0] in _WITHOUT_HOSTS or ":" not in (user if at else authority):
        return _End.CLEAR
    if _CHAIN in user:
        # fsspec splits it there, and takes what it begins with for a host.
        return _End.EITHER if "@" in rest[len(authority) :] else _End.LAST
    if "@" not in rest[len(authority) :]:
        return _End.CLEAR
    behind = rest.rpartition("@")[2]
    last = _authority(behind)
    is_first = _MACHINE.fullmatch(host) is not None or bool(at and ":" in host and _ends_with_port(host))
    is_last = _MACHINE.fullmatch(last) is not None or (":" in last and _ends_with_port(last))
    if is_first or is_last:
        return _End.EITHER if is_first and is_last else _End.CLEAR if is_first else _End.LAST
    if at:
        return _End.EITHER
    if not _ends_with_port(authority):
        return _End.LAST
    if piece.partition("://")[0] in _OF_HDFS:
        return _End.CLEAR
    # A host that is meant has a path.
    return _End.EITHER if "/" in behind else _End.CLEAR


def _without_user(rest: str, end: _End) -> tuple[str, str]:
    """The user, and what stands behind. Of a password that may end in several places nothing is shown that can be of it."""
    if end is _End.CLEAR:
        user, at, _ = _authority(rest).rpartition("@")
        return user, rest[len(user) + len(at) :]
    user, _, behind = rest.rpartition("@")
    between = user.partition("@")[2]
    if "?" in between or "#" in between:
        return user, "..."
    # Neither is known to be the host.
    return user, behind if end is _End.LAST else "..." + behind[len(_authority(behind)) :]


def _shown(piece: str) -> str:
    if _is_stored(piece):
        return piece
    scheme, mark, rest = piece.partition("://")
    if not mark:
        return piece.partition("?")[0]
    kind = scheme.strip().lower()
    user, rest = _without_user(rest, _end_of(piece))
    kept = f"{user}@" if kind in _CONTAINERS and user and ":" not in user else ""
    path = rest.partition("?")[0]
    return f"{scheme}{mark}{kept}{path.partition('#')[0] if kind in _WITH_FRAGMENTS else path}"
