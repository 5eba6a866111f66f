"""Plain requests about something that has a name below `/named/<account>/<container>/`, recognised at one look.

As frontend/http/plain.py, by the same judgement of lines. A name is plain that stands in the path as it is: whatever is
percent-encoded goes the ordinary way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple

from ambry.service.origin import Hosts
from frontend.http.plain import LENGTH, PLAIN_FIELDS, PLAIN_ON_UPLOAD, Lines, M, PlainUpload, who_of

PATH_SIZE_MAX = 1_024
_UNRESERVED = rb"-A-Za-z0-9._~"
_NAME = _UNRESERVED + rb"!$&'()*+,;=:@/"
"""What a path holds as it is (RFC 3986 section 3.3)."""
_TARGET = rb"/named/([%s]{1,64})/([%s]{1,64})/([%s]{1,%d}) HTTP/1\.1\r\n" % (
    _UNRESERVED,
    _UNRESERVED,
    _NAME,
    PATH_SIZE_MAX,
)


class PlainName(NamedTuple):
    """What a path names."""

    account: str
    container: str
    key: bytes


class PlainNamedRead(NamedTuple):
    """A plain GET by a name, its Authorization, and its traceparent, which may be empty."""

    name: PlainName
    authorization: str | None
    traceparent: str = ""


class PlainNamedReads:
    """Knows plain reads by a name."""

    def __init__(self, hosts: Hosts) -> None:
        self._lines = Lines(hosts, PLAIN_FIELDS, who_of)
        self._match = re.compile(rb"GET " + _TARGET).match

    def read(self, data: bytes) -> PlainNamedRead | None:
        """The plain GET by a name that `data` is, and nothing else."""
        match = self._match(data)
        if match is None:
            return None
        lines = self._lines.judge(data[match.end() :])
        if lines is None:
            return None
        account, container, key = match.groups()
        name = PlainName(account.decode(), container.decode(), key)
        return PlainNamedRead(name, lines.meaning, lines.headers.get("traceparent", ""))


class PlainNamedUploads(Generic[M]):
    """Knows plain uploads under a name; made as frontend/http/plain.py, PlainUploads."""

    def __init__(
        self,
        hosts: Hosts,
        fields: Iterable[str],
        prefixes: Iterable[str],
        understand: Callable[[dict[str, str], bool], M],
    ) -> None:
        own = frozenset(field.encode() for field in fields)
        starts = tuple(each.encode() for each in prefixes)
        self._lines = Lines(hosts, PLAIN_FIELDS | PLAIN_ON_UPLOAD | own, understand, starts)
        self._match = re.compile(rb"PUT " + _TARGET).match

    def upload(self, data: bytes) -> tuple[PlainName, PlainUpload[M]] | None:
        """The upload that `data` is, and nothing else, and the name it is for."""
        match = self._match(data)
        if match is None:
            return None
        begin = match.end()
        end = data.find(b"\r\n\r\n", begin) + 4
        length = LENGTH.search(data, begin - 2, end)
        if end < 4 or length is None or int(length[1]) != len(data) - end:
            return None
        lines = self._lines.judge(data[begin : length.start() + 2] + data[length.end() + 2 : end])
        if lines is None:
            return None
        account, container, key = match.groups()
        name = PlainName(account.decode(), container.decode(), key)
        return name, PlainUpload("PUT", lines.headers, lines.meaning, data[end:])
