"""Crowds of clients that behave badly against one frontend, what that costs it in memory, and what others see meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from tests.support.rest import call, connect

MIB = 1 << 20


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def anonymous_mib(pid: int) -> float:
    """Memory of a process that is its own: RssAnon."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no RssAnon")


@dataclass(slots=True)
class Peak:
    """The most memory a process was seen with, MiB."""

    before_mib: float
    most_mib: float = 0.0


@contextlib.contextmanager
def memory_of(pid: int) -> Iterator[Peak]:
    """Looks twenty times a second while the block runs."""
    peak = Peak(before_mib=anonymous_mib(pid))
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            peak.most_mib = max(peak.most_mib, anonymous_mib(pid))

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def crowd(url: str, count: int, sent: bytes, *, receive_buffer: int = 0) -> Iterator[list[socket.socket]]:
    """Connections that have each sent `sent`, as far as the frontend takes it, and do nothing more."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        socks: list[socket.socket] = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.connect(address(url))
            sock.setblocking(False)
            socks.append(sock)
            selector.register(sock, selectors.EVENT_WRITE, [memoryview(sent)])
        left = count
        deadline = time.monotonic() + 60
        while left and time.monotonic() < deadline:
            events = selector.select(timeout=1.0)
            if not events:
                break  # the frontend takes no more, as it should
            for key, _ in events:
                client = cast(socket.socket, key.fileobj)
                try:
                    key.data[0] = key.data[0][client.send(key.data[0][: 256 << 10]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    key.data[0] = memoryview(b"")
                if not key.data[0]:
                    selector.unregister(client)
                    left -= 1
        yield socks


@dataclass(slots=True)
class Others:
    """What well-behaved clients saw: seconds of every call, and those that failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def figure(self) -> str:
        ordered = sorted(self.seconds)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        return f"p50 {statistics.median(ordered) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms of {len(ordered)}"


def others(look: Callable[[], int], *, seconds: float, least: int) -> Others:
    """Call for so long, and at least so often; `look` returns a status, which must be good."""
    seen = Others()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(seen.seconds) < least:
        began = time.monotonic()
        try:
            status = look()
            if status not in (200, 201):
                seen.failures.append(str(status))
        except OSError as error:
            seen.failures.append(f"{type(error).__name__}: {error}")
        seen.seconds.append(time.monotonic() - began)
    return seen


class Steady:
    """One connection for all calls of a client, which makes another one when it breaks."""

    def __init__(
        self, url: str, *, timeout_s: float, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._headers = headers or {}
        self._tls = tls
        self._connection = self._connected()

    def _connected(self) -> http.client.HTTPConnection:
        return connect(self._url, self._timeout_s, self._tls)

    def close(self) -> None:
        """The next call connects."""
        self._connection.close()

    def call(self, method: str, path: str, body: bytes | None, seen: Others) -> str:
        """Note in `seen` how long it took, and whether it failed; returns the Location of the answer."""
        began = time.monotonic()
        location = ""
        try:
            self._connection.request(method, path, body=body, headers=self._headers)
            response = self._connection.getresponse()
            response.read()
            location = response.headers.get("Location", "")
            if response.status not in (200, 201):
                seen.failures.append(str(response.status))
        except (OSError, http.client.HTTPException) as error:
            seen.failures.append(f"{type(error).__name__}: {error}")
            self._connection.close()
            self._connection = self._connected()
        seen.seconds.append(time.monotonic() - began)
        return location


def small_put(url: str) -> Callable[[], int]:
    return lambda: call(url, "POST", "/", b"x", timeout_s=10).status


def read_of(url: str, blob_id: str, size: int) -> Callable[[], int]:
    """Reads all of a blob, as a client that does what Retry-After says: the time of a call includes that."""

    def look() -> int:
        for _ in range(5):
            answer = call(url, "GET", f"/{blob_id}", timeout_s=30)
            if answer.status != 503:
                break
            time.sleep(int(answer.headers["Retry-After"]))
        assert answer.status != 200 or len(answer.body) == size
        return answer.status

    return look
