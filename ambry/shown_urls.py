"""Paths and URLs as they may be printed, logged and published: without what opens something. Pure.

A signature stands in the query of a URL, a token behind its #, a user and a password before its host, and fsspec chains URLs by
`::`. Whoever tells a place that somebody gave tells it so, whether it is a file, a blob, a frontend, a broker or a proxy.
"""

from __future__ import annotations

import re
from enum import Enum

_CHAIN = "::"
_CONTAINERS = frozenset(("abfs", "abfss", "wasb", "wasbs", "oci"))
"""Schemes that have a container before the @, and no user."""
_OF_HDFS = frozenset(("hdfs", "webhdfs", "swebhdfs"))
"""A host and a port of these are no user and password, and an @ in the path is one of a name, written as it is."""
_WITH_FRAGMENTS = frozenset(("http", "https", "ambry", "ambry+id"))
"""Where # is in no name, and what stands behind it may be a token; elsewhere it is part of a name."""
_AUTHORITY_END = re.compile(r"[/?#]")
_PORT = re.compile(r"\d+")
_LINK = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][\w+.-]*://")
"""What stands behind the `::` of a chain."""
_WITHOUT_HOSTS = frozenset(("zip", "tar", "libarchive", "file", "local"))
_MACHINE = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|localhost|\[[^]]*\])(?::\d+)?", re.IGNORECASE)
"""What is a host, and hardly a user or a part of a password."""
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]*")
"""In what libraries say. They escape what was not, and the other way round, and leave out users."""
_PUNCTUATION = ":;,.)]"
"""Of a sentence, behind a URL."""
_OF_A_PATH = re.compile(
    r"\b(https?|ftps?|sftp|s?webhdfs|hdfs|s3[an]?|gs|gcs|abfss?|wasbs?|oci|ambry(?:\+id)?|kafka):/(?!/)", re.IGNORECASE
)
"""What pathlib makes of a URL that was given in the place of a file."""
_OF_AN_ID = re.compile(
    r"(?<![\w-])([A-Za-z0-9_-]{45,51}(?:\.[A-Za-z0-9]{1,16})?(?:/\w+){0,2}/?)[?#][^\s'\"<>]*(?<![:;,.)\]])"
)
"""The end of a URL of a blob, signed or with a token, where what stands before the id was left out; also of a mistyped id."""
UNESCAPED = (
    "the password in it has a sign that ends one, or the path has an @; "
    "write @ as %40, : as %3A, / as %2F, ? as %3F and # as %23"
)
_QUERY = re.compile(r"\?[^\s'\"<>?]*=[^\s'\"<>]*")
"""Of a URL whose scheme and host stand elsewhere in a sentence."""


def shown_place(place: object) -> str:
    """A path as it is; a URL without users, passwords and queries, each piece of a chain by itself.

    Of `abfs://container@account` the container stays. Where nobody can know whether a host and a port or a user and a password
    stand first, neither is shown: whoever writes an @ of the path as %40 sees it whole.
    """
    text = _OF_A_PATH.sub(r"\1://", str(place))
    return _CHAIN.join(map(_shown, _pieces(text))) if "://" in text else _OF_AN_ID.sub(r"\1", text)


def shown_address(text: str) -> str:
    """A host and a port, as `shown_place` has a URL, of one whose scheme may be left out."""
    return shown_place(text) if "//" in text else shown_place(f"http://{text}").removeprefix("http://")


def shown_words(words: str, place: object) -> str:
    """What a library says of a URL, without the secrets of that one or of any other, also where it writes it otherwise.

    Of a password that nobody escaped a library may tell each part, as a host or a path: of what may be such a URL its words are
    left out.
    """
    pieces = _pieces(str(place))
    if any(_end_of(piece) is not _End.CLEAR for piece in pieces):
        return UNESCAPED
    for piece in sorted(pieces, key=len, reverse=True):
        words = words.replace(piece, _shown(piece))
    return _QUERY.sub("", shown_sentence(words))


def shown_sentence(words: str) -> str:
    """A sentence that may have URLs in it, or ends of those of blobs, each as `shown_place` has it."""
    return _OF_AN_ID.sub(r"\1", _URL.sub(_shown_in, _OF_A_PATH.sub(r"\1://", words)))


def _shown_in(found: re.Match[str]) -> str:
    url = found[0].rstrip(_PUNCTUATION)
    return shown_place(url) + found[0][len(url) :]


def is_of_hdfs(place: object) -> bool:
    """Whether it is asked of a name node."""
    return any(piece.partition("://")[0] in _OF_HDFS for piece in _pieces(str(place)))


def has_bare_password(place: object) -> bool:
    """Whether a URL has a password with a sign that ends one, as far as can be told."""
    return any(
        end is _End.LAST or (end is _End.EITHER and "@" in _authority(piece.partition("://")[2]))
        for piece in _pieces(str(place))
        if (end := _end_of(piece)) is not _End.CLEAR
    )


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


def _authority(rest: str) -> str:
    return _AUTHORITY_END.split(rest, maxsplit=1)[0]


def _ends_with_port(authority: str) -> bool:
    return _PORT.fullmatch(authority.rpartition(":")[2]) is not None


def _end_of(piece: str) -> _End:
    """Of a URL with an @ behind what looks like its authority, either that is a part of the password, or the path has an @."""
    rest = piece.partition("://")[2]
    authority = _authority(rest)
    user, at, host = authority.rpartition("@")
    if piece.partition("://")[0] in _WITHOUT_HOSTS or ":" not in (user if at else authority):
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
    scheme, mark, rest = piece.partition("://")
    if not mark:
        return piece.partition("?")[0]
    kind = scheme.strip().lower()
    user, rest = _without_user(rest, _end_of(piece))
    kept = f"{user}@" if kind in _CONTAINERS and user and ":" not in user else ""
    path = rest.partition("?")[0]
    return f"{scheme}{mark}{kept}{path.partition('#')[0] if kind in _WITH_FRAGMENTS else path}"
