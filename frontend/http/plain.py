"""Heads that ask for nothing out of the ordinary, recognised at one look.

Clients repeat themselves: of thousands of requests only the target differs, and the lines behind the request line are the same
bytes again. So those are judged once, strictly, and remembered. What is not known to be plain goes the ordinary way, which
decides about everything (frontend/http/pipeline.py). Pure, but for what it remembers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from ambry.errors import AmbryError
from ambry.service.origin import Hosts

M = TypeVar("M")
"""What an API understands of the fields of its requests."""

SIZE_MAX = 1 << 10
"""Bytes of lines that are remembered; longer ones are never plain."""
REMEMBERED_MAX = 512
"""So many kinds of lines; beyond that all are forgotten, and judged anew."""
_GET = b"GET /"
_VERSION = b" HTTP/1.1\r\n"
_POST = b"POST / HTTP/1.1\r\n"
_PUT = b"PUT / HTTP/1.1\r\n"
_LINE = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)")
"""A field of visible ASCII. What is looser, and may be right all the same, the parser judges."""
PLAIN_FIELDS = frozenset({
    b"accept", b"accept-encoding", b"accept-language", b"authorization", b"connection", b"host", b"traceparent", b"tracestate",
    b"user-agent",
})  # fmt: skip
"""Preferences, descriptions, and what is checked below."""


PLAIN_ON_UPLOAD = frozenset({b"content-type"})
"""Beside those, and those of the API that is asked."""
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,7})(?=\r\n)", re.IGNORECASE)


class PlainLines(NamedTuple, Generic[M]):
    """Fields by name in lower case, not to be changed; and what they mean."""

    headers: dict[str, str]
    meaning: M


class Lines(Generic[M]):
    """Judges the lines behind a request line, and remembers them by their bytes.

    `fields` are those that may stand there, and such as begin with one of `prefixes`. `understand` says what they mean, and
    hears whether there are some of the latter; it is asked once for the same lines. Those for which it raises an AmbryError are
    not plain.
    """

    def __init__(
        self,
        hosts: Hosts,
        fields: frozenset[bytes],
        understand: Callable[[dict[str, str], bool], M],
        prefixes: tuple[bytes, ...] = (),
    ) -> None:
        self._hosts = hosts
        self._fields = fields
        self._understand = understand
        self._prefixes = prefixes
        self._judged: dict[bytes, PlainLines[M] | None] = {}

    def judge(self, lines: bytes) -> PlainLines[M] | None:
        """What such lines say, the last of them empty. None unless they are plain."""
        try:
            return self._judged[lines]
        except KeyError:
            pass
        if len(lines) > SIZE_MAX:
            return None
        if len(self._judged) >= REMEMBERED_MAX:
            self._judged.clear()
        found = self._judged[lines] = self._read(lines)
        return found

    def _read(self, lines: bytes) -> PlainLines[M] | None:
        if not lines.endswith(b"\r\n\r\n"):
            return None
        found: dict[str, str] = {}
        prefixed = False
        for line in lines[:-4].split(b"\r\n"):
            match = _LINE.fullmatch(line)
            if match is None:
                return None  # an empty line also: another request comes behind it
            name = match[1].lower()
            text = name.decode()
            has_prefix = name.startswith(self._prefixes)
            if text in found or not (name in self._fields or has_prefix):
                return None
            prefixed |= has_prefix
            found[text] = (match[2] or b"").decode()
        if "host" not in found or found.get("connection", "keep-alive").lower() != "keep-alive":
            return None
        try:
            self._hosts.check(found["host"])
            return PlainLines(found, self._understand(found, prefixed))
        except AmbryError:
            return None


def who_of(headers: dict[str, str], _prefixed: bool) -> str | None:
    """What plain fields of a read say: who asks, by their Authorization."""
    return headers.get("authorization")


class PlainRead(NamedTuple):
    """A plain GET: its target behind the slash, its Authorization, and its traceparent, which may be empty."""

    target: bytes
    authorization: str | None
    traceparent: str = ""


class PlainReads:
    """Knows plain reads by their bytes."""

    def __init__(self, hosts: Hosts) -> None:
        self._lines = Lines(hosts, PLAIN_FIELDS, who_of)

    def target(self, data: bytes, size: int) -> PlainRead | None:
        """The plain GET of a target with `size` characters behind its slash that `data` is, and nothing else."""
        end = len(_GET) + size
        if data[: len(_GET)] != _GET or data[end : end + len(_VERSION)] != _VERSION:
            return None
        lines = self._lines.judge(data[end + len(_VERSION) :])
        if lines is None:
            return None
        return PlainRead(data[len(_GET) : end], lines.meaning, lines.headers.get("traceparent", ""))


class PlainUpload(NamedTuple, Generic[M]):
    """An upload that came as a whole."""

    method: str
    headers: dict[str, str]
    """By name in lower case, without Content-Length; not to be changed."""
    meaning: M
    """What they ask for."""
    body: bytes


class PlainUploads(Generic[M]):
    """Knows plain uploads to the root. `fields` and `prefixes` are those of the API, in lower case; for all three see Lines."""

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

    def upload(self, data: bytes) -> PlainUpload[M] | None:
        """The upload that `data` is, and nothing else; its body may be empty."""
        if data[: len(_POST)] == _POST:
            method, begin = "POST", len(_POST)
        elif data[: len(_PUT)] == _PUT:
            method, begin = "PUT", len(_PUT)
        else:
            return None
        end = data.find(b"\r\n\r\n", begin) + 4
        # The line before belongs to it, so that a field may be found by its beginning, the first too.
        length = LENGTH.search(data, begin - 2, end)
        if end < 4 or length is None or int(length[1]) != len(data) - end:
            return None
        lines = self._lines.judge(data[begin : length.start() + 2] + data[length.end() + 2 : end])
        return None if lines is None else PlainUpload(method, lines.headers, lines.meaning, data[end:])
