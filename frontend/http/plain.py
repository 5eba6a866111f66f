"""Heads that ask for nothing out of the ordinary, recognised at one look.

Clients repeat themselves: of thousands of requests only the target differs, and the lines behind the request line are the same
bytes again. So those are judged once, strictly, and remembered. What is not known to be plain goes the ordinary way, which
decides about everything (frontend/http/pipeline.py). Pure, but for what it remembers.
"""

from __future__ import annotations

import re

from ambry.errors import AmbryError
from ambry.service.origin import Hosts

SIZE_MAX = 1 << 10
"""Bytes of lines that are remembered; longer ones are never plain."""
REMEMBERED_MAX = 512
"""So many kinds of lines; beyond that all are forgotten, and judged anew."""
_GET = b"GET /"
_VERSION = b" HTTP/1.1\r\n"
_LINE = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)")
"""A field of visible ASCII. What is looser, and may be right all the same, the parser judges."""
PLAIN_FIELDS = frozenset({
    b"accept", b"accept-encoding", b"accept-language", b"connection", b"host", b"traceparent", b"tracestate", b"user-agent",
})  # fmt: skip
"""Preferences, descriptions, and what is checked below."""


class PlainHeads:
    """Knows plain heads by their bytes."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._judged: dict[bytes, bool] = {}

    def target(self, data: bytes, size: int) -> str | None:
        """The target, `size` characters behind its slash, of a plain GET that `data` is, and nothing else."""
        end = len(_GET) + size
        if data[: len(_GET)] != _GET or data[end : end + len(_VERSION)] != _VERSION:
            return None
        lines = data[end + len(_VERSION) :]
        plain = self._judged.get(lines)
        if plain is None:
            plain = self._judge(lines)
        return data[len(_GET) : end].decode("latin-1") if plain else None

    def _judge(self, lines: bytes) -> bool:
        if len(lines) > SIZE_MAX:
            return False
        if len(self._judged) >= REMEMBERED_MAX:
            self._judged.clear()
        plain = self._judged[lines] = self._plain(lines)
        return plain

    def _plain(self, lines: bytes) -> bool:
        if not lines.endswith(b"\r\n\r\n"):
            return False
        fields: dict[bytes, bytes] = {}
        for line in lines[:-4].split(b"\r\n"):
            match = _LINE.fullmatch(line)
            if match is None:
                return False  # an empty line also: another request comes behind it
            name = match[1].lower()
            if name in fields or name not in PLAIN_FIELDS:
                return False
            fields[name] = match[2]
        host = fields.get(b"host")
        if host is None or fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return False
        try:
            self._hosts.check(host.decode("ascii"))
        except AmbryError:
            return False
        return True
