"""One kept connection of the blocking client: requests go out, heads and bodies come in. HTTP/1.1 as `wire.head` knows it.

What came behind a head is kept for the body; what is left behind a body belongs to no answer, and such a connection is not
used again.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ambry.client.wire.head import (
    CHUNK_LINE_MAX,
    HEAD_BYTES_MAX,
    HEAD_END,
    AnswerHead,
    NotHttp,
    may_be_http,
    parse_chunk_size,
    parse_head,
    request_head,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from ambry.client.proxies import Proxy
    from ambry.client.waits import Waits

READ_SIZE = 32 << 10
"""What is read at once where a head is expected: a head, and most often all of a small body."""


class CutAnswer(OSError):
    """A connection ended within an answer: no ConnectionError, since the request did arrive."""


class NoAnswer(ConnectionError):
    """A connection ended before an answer began."""


class TunnelRefused(Exception):
    """A proxy lets nobody through."""


class KeptConnection:
    """One connection, and since when it has been idle. For one thread at a time."""

    def __init__(
        self, endpoint: str, waits: Waits, context: ssl.SSLContext | None = None, proxy: Proxy | None = None
    ) -> None:
        """Connects: `waits` are for each address, the handshake and the tunnel. `context` is for an endpoint that speaks TLS,
        and makes sockets that are PeekedSockets.

        Raises OSError, TunnelRefused, NotHttp.
        """
        url = urlsplit(endpoint)
        self.endpoint = endpoint
        self.pid = os.getpid()
        self.idle_since = 0.0
        self.used = False
        self._prefix = url.path
        self._host = url.netloc
        self._proxy_headers: dict[str, str] = {}
        self._come = b""
        """What was read and belongs to nobody yet."""
        self._waits = waits
        host, port = url.hostname or "", url.port or (80 if context is None else 443)
        place = (host, port) if proxy is None else (proxy.host, proxy.port)
        self._socket = _connected(place, waits)
        self._timeout_s = self._socket.gettimeout()
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy is not None and context is None:
                # In absolute form (RFC 9112 section 3.2.2).
                self._prefix = endpoint
                self._proxy_headers = proxy.headers
            elif proxy is not None:
                self._tunnel(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", proxy.headers)
            if context is not None:
                self._wait()
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
        except BaseException:
            self._socket.close()
            raise

    def expect(self, waits: Waits) -> None:
        """How long everything from now on may wait for the other end."""
        self._waits = waits

    @property
    def waits(self) -> Waits:
        return self._waits

    def answered(self) -> bool:
        """Whether there is something to read now: an early answer, or the end of the connection."""
        if self._come:
            return True
        has_answer = getattr(self._socket, "has_answer", None)
        return bool(self._poll.poll(0) if has_answer is None else has_answer())

    def send_head(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Raises OSError, ValueError."""
        if self._proxy_headers:
            headers = {**headers, **self._proxy_headers}
        self.send(request_head(method, self._prefix + path, self._host, headers))

    def send(self, data: bytes | memoryview) -> None:
        """All of it, in the time of one wait."""
        self._wait()
        self._socket.sendall(data)

    def receive_head(self, method: str) -> AnswerHead:
        """That of the answer to `method`. Raises NoAnswer, CutAnswer, NotHttp, OSError."""
        come, looked, size = self._come, 0, 0
        while True:
            end = come.find(HEAD_END, looked)
            if end >= 0:
                head = parse_head(come[:end], method)
                come, looked, size = come[end + len(HEAD_END) :], 0, size + end
                if head.status >= 200 or head.status == 101:
                    self._come = come
                    self._waits.head_came()
                    return head
                continue
            if not may_be_http(come):
                raise NotHttp(f"its answer begins with {come[:60]!r}")
            if size + len(come) > HEAD_BYTES_MAX:
                raise NotHttp(f"the head of its answer has more than {HEAD_BYTES_MAX} bytes")
            since = self._wait()
            more = self._socket.recv(READ_SIZE)
            self._waits.head_went_on(since)
            if not more:
                self._come = b""
                raise CutAnswer("it ended within the head of the answer") if come or size else NoAnswer
            looked = max(0, len(come) - len(HEAD_END) + 1)
            come = come + more if come else more

    def receive(self, size: int) -> bytes:
        """Between 1 and `size` bytes; none only at the end of the connection."""
        if not self._come:
            since = self._wait()
            data = self._socket.recv(size)
            self._waits.came(len(data), since)
            return data
        data, self._come = self._come[:size], self._come[size:]
        return data

    def receive_into(self, buffer: memoryview) -> int:
        """As `receive`, into `buffer`, which is not empty."""
        if not self._come:
            since = self._wait()
            size = self._socket.recv_into(buffer)
            self._waits.came(size, since)
            return size
        data = self.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def next_chunk(self, *, first: bool) -> int:
        """Bytes of the chunk that comes now; 0 when the body is over, with its trailers. Raises CutAnswer, NotHttp, OSError."""
        if not first and (line := self._line()) != b"\r\n":
            raise NotHttp(f"{line[:60]!r} stands where a chunk ends")
        size = parse_chunk_size(self._line())
        if not size:
            left = HEAD_BYTES_MAX
            while (line := self._line()) != b"\r\n":
                left -= len(line)
                if left < 0:
                    raise NotHttp(f"the trailers of its answer have more than {HEAD_BYTES_MAX} bytes")
        return size

    def interrupt(self) -> None:
        """Whoever sends or receives on it sees its end."""
        with suppress(OSError):
            # Not that of an SSLSocket, which forgets its TLS while another thread is in it.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _wait(self) -> float:
        """The socket waits no longer than it may from now on, which is the time that is given back."""
        timeout_s = self._waits.next_s()
        if timeout_s != self._timeout_s:
            self._socket.settimeout(timeout_s)
            self._timeout_s = timeout_s
        return self._waits.now()

    def _line(self) -> bytes:
        while (end := self._come.find(b"\n", 0, CHUNK_LINE_MAX)) < 0:
            if len(self._come) >= CHUNK_LINE_MAX:
                raise NotHttp(f"a line around a chunk has more than {CHUNK_LINE_MAX} bytes")
            since = self._wait()
            more = self._socket.recv(READ_SIZE)
            self._waits.came(len(more), since)
            if not more:
                raise CutAnswer("it ended between two chunks of the answer")
            self._come += more
        return self.receive(end + 1)

    def _tunnel(self, place: str, headers: Mapping[str, str]) -> None:
        self.send(request_head("CONNECT", place, place, headers))
        head = self.receive_head("CONNECT")
        if not 200 <= head.status < 300:
            raise TunnelRefused(f"{head.status} {head.reason}")
        if self._come:
            raise NotHttp("something came through a tunnel before it was spoken into")


def _connected(place: tuple[str, int], waits: Waits) -> socket.socket:
    """To the first of its addresses that takes it. Raises OSError."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(*place, type=socket.SOCK_STREAM):
        made = None
        try:
            timeout_s = waits.next_s()
            made = socket.socket(family, kind, protocol)
            made.settimeout(timeout_s)
            made.connect(address)
        except OSError as cause:
            failure = cause
            if made is not None:
                made.close()
        else:
            return made
    try:
        raise failure or OSError(f"{place[0]} has no address")
    finally:
        failure = None  # As in Attempts.failed.
