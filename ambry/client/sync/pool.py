"""Kept connections of the blocking client.

A pool belongs to a process: a forked child starts with an empty one, so parent and child never share a socket. Any
number of threads may use it.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

    from ambry.client.proxies import Proxy

IDLE_MAX = 16
"""Kept connections per endpoint."""


class CutHead(OSError):
    """A connection ended within the head of an answer: no ConnectionError, since the request did arrive."""


class _HeadLines:
    """The lines of a head. http.client takes the end of a connection for that of the head, with whatever stands in it then."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._begun = False
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit and (line or self._begun):
            raise CutHead("it ended within the head of the answer")
        self._begun = True
        return line


class WholeHeadResponse(http.client.HTTPResponse):
    """An answer whose head came whole."""

    def begin(self) -> None:
        """Raises CutHead."""
        stream = self.fp
        self.fp = _HeadLines(stream)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = stream


def plain_headers(raw: http.client.HTTPResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    # As they were parsed: whatever else gives them goes through the rules of e-mail for each.
    for name, value in raw.headers.raw_items():
        # http.client reads Latin-1; what was sent is UTF-8.
        text = value if value.isascii() else value.encode("latin-1", "surrogateescape").decode("utf-8", "replace")
        key = name.lower()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


class KeptConnection:
    """One connection, and since when it has been idle."""

    def __init__(
        self, endpoint: str, timeout_s: float, context: ssl.SSLContext | None = None, proxy: Proxy | None = None
    ) -> None:
        """`context` is for an endpoint that speaks TLS, and makes sockets that are PeekedSockets."""
        url = urlsplit(endpoint)
        self.endpoint = endpoint
        self.prefix = url.path
        self.pid = os.getpid()
        self.idle_since = 0.0
        self.used = False
        self.headers: dict[str, str] = {}
        """What goes with every request beside its own headers: to a proxy."""
        self.http: http.client.HTTPConnection
        host, port = url.hostname or "", url.port or (80 if context is None else 443)
        if context is None:
            if proxy is not None:
                # In absolute form (RFC 9112 section 3.2.2).
                self.prefix = endpoint
                self.headers = proxy.headers
                host, port = proxy.host, proxy.port
            self.http = http.client.HTTPConnection(host, port, timeout=timeout_s)
        elif proxy is None:
            self.http = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        else:
            self.http = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=timeout_s, context=context)
            self.http.set_tunnel(host, port, proxy.headers)
        self.http.response_class = WholeHeadResponse

    def set_timeout(self, timeout_s: float) -> None:
        self.http.timeout = timeout_s
        if self.http.sock is not None:
            self.http.sock.settimeout(timeout_s)

    def answered(self) -> bool:
        """Whether there is something to read now: an early answer, or the end of the connection."""
        return _readable(self.http.sock)

    def interrupt(self) -> None:
        """Whoever sends or receives on it sees its end."""
        if (sock := self.http.sock) is not None:
            with suppress(OSError):
                # Not that of an SSLSocket, which forgets its TLS while another thread is in it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self.http.close()


class ConnectionPool:
    """The idle connections of one process, newest first."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: dict[str, deque[KeptConnection]] = {}

    def take(self, endpoint: str) -> KeptConnection | None:
        with self._lock:
            idle = self._idle.get(endpoint)
            return idle.pop() if idle else None

    def put(self, connection: KeptConnection) -> bool:
        with self._lock:
            idle = self._idle.setdefault(connection.endpoint, deque())
            if len(idle) >= IDLE_MAX:
                return False
            idle.append(connection)
            return True

    def drop(self, endpoint: str) -> None:
        """Forget the connections to an endpoint that has closed one."""
        with self._lock:
            dropped = self._idle.pop(endpoint, deque())
        for connection in dropped:
            connection.close()

    def clear(self) -> None:
        for endpoint in list(self._idle):
            self.drop(endpoint)


def _readable(sock: socket.socket | None) -> bool:
    if sock is None:
        return True
    if (has_answer := getattr(sock, "has_answer", None)) is not None:
        return bool(has_answer())
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
