"""The request target (RFC 9112 section 3.2): its form, its path in normal form, its query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ambry.errors import InvalidRequest, NotSupported, UriTooLong

PATH_SIZE_MAX = 4096

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about.

    `path` begins with a slash, or is `*`. Its percent-encoding is in normal form: unreserved characters stand as themselves,
    digits are upper case, so equal targets are equal texts (RFC 3986 section 6.2.2). `segments` are its parts, still encoded.

    Segments `.` and `..` stand as they were sent, and so do empty ones: a resource that keeps names with slashes in them gets
    them all (`rest`), any other has `check_segments` refuse them. Nothing is ever resolved.
    """

    path: str
    segments: tuple[str, ...]
    query: str = ""
    authority: str | None = None
    """Of a target in absolute form: it counts, and the Host header does not (RFC 9112 section 3.2.2)."""

    def rest(self, first: int) -> str:
        """The path from segment `first` to its end, still encoded and otherwise exactly as it was sent, slashes included."""
        return "/".join(self.segments[first:])

    def check_segments(self, count: int | None = None) -> None:
        """Raises InvalidRequest where one of the first `count` segments, or of all, is empty, `.` or `..`."""
        segments = self.segments[:count]
        if "." in segments or ".." in segments:
            raise InvalidRequest("a path has no segments . or ..: name the resource itself")
        if "" in segments and self.path != "/":
            raise InvalidRequest("a path has no empty segments: one slash between names, none at its end")

    def query_pairs(self) -> dict[str, str]:
        """The query's keys and values, decoded. Raises InvalidRequest for a key that stands there twice, or no UTF-8."""
        pairs: dict[str, str] = {}
        for piece in filter(None, self.query.split("&")):
            key, _, value = (_decoded(part) for part in piece.partition("="))
            if key in pairs:
                raise InvalidRequest(f"the query key {key!r} stands there twice")
            pairs[key] = value
        return pairs


ROOT = Target("/", ("",))
"""What most uploads are sent to."""


def parse_target(method: str, raw: str) -> Target:
    """The target as it stands in the request line. Raises UriTooLong, InvalidRequest; NotSupported for CONNECT."""
    if method == "CONNECT":
        raise NotSupported("CONNECT asks for a tunnel, and this server is no proxy (RFC 9110 section 9.3.6)")
    if not raw.startswith("/"):
        return _other_form(method, raw)
    path, _, query = raw.partition("?")
    return _origin_form(path, query, None)


def _origin_form(path: str, query: str, authority: str | None) -> Target:
    if len(path) > PATH_SIZE_MAX:
        raise UriTooLong(f"a path has at most {PATH_SIZE_MAX} bytes, this one {len(path)}")
    if "#" in path or "#" in query:
        raise InvalidRequest("a request target has no fragment: encode # as %23")
    if "%" in path:
        path = _ESCAPE.sub(_normal_escape, path)
    return Target(path, tuple(path[1:].split("/")), query, authority)


def _other_form(method: str, raw: str) -> Target:
    if raw == "*":
        if method != "OPTIONS":
            raise InvalidRequest("the target * is for OPTIONS alone (RFC 9112 section 3.2.4)")
        return Target("*", ("*",))
    scheme, separator, rest = raw.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise InvalidRequest("the request target is a path, or a URL of http or https")
    end = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    authority, tail = rest[:end], rest[end:]
    if "@" in authority:
        raise InvalidRequest("a URL with user and password is not a request target (RFC 9110 section 4.2.4)")
    path, _, query = tail.partition("?")
    if method == "OPTIONS" and not tail:
        return Target("*", ("*",), "", authority)
    return _origin_form(path or "/", query, authority)


def _normal_escape(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        raise InvalidRequest("the path has a % without two hexadecimal digits behind it")
    character = chr(int(digits, 16))
    return character if character in _UNRESERVED else f"%{digits.upper()}"


def _decoded(text: str) -> str:
    for match in _ESCAPE.finditer(text):
        if match[1] is None:
            raise InvalidRequest("the query has a % without two hexadecimal digits behind it")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise InvalidRequest("the query is not UTF-8, percent-encoded") from None
