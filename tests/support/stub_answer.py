"""The answers of the stub frontend, and how they misbehave on request."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One misbehaviour, for one request of `method`.

    kind: `status` (answer `status` at once, before the body is read if `early`), `reset` (reset the connection after
    `after` bytes of the answer's body), `reset-before` (without any answer), `reset-after` (do it, then without an
    answer), `cut` (close after `after` bytes), `corrupt` (flip the first byte of the body), `wrong-digest`,
    `no-digest`, `foreign` (200, but as some other server), `hold` (answer when `release` is set). `plain` gives the
    error a page that is not ambry's; `closing` says `Connection: close` and closes.
    """

    method: str
    kind: str
    status: int = 503
    code: str = "Unavailable"
    retry_after: str = ""
    detail: str = "try again later"
    after: int = 0
    early: bool = False
    plain: bool = False
    closing: bool = False
    release: threading.Event = field(default_factory=threading.Event)


@dataclass
class Seen:
    """One request that arrived. `connection` counts connections, `sent_body` the body's bytes that were read."""

    method: str
    path: str
    headers: dict[str, str]
    connection: int
    body_size: int = 0


class Hangup(Exception):
    pass


class StubAnswer:
    """The one answer to a request; `fault` bends it."""

    def __init__(self, connection: socket.socket, seen: Seen, fault: Fault | None, *, draining: bool) -> None:
        self._connection = connection
        self._seen = seen
        self._fault = fault
        asked = seen.headers.get("connection", "").lower() == "close"
        self.closing = asked or draining or (fault is not None and fault.closing)

    def reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Hangup

    def problem(self, status: int, code: str, detail: str, *, size: int | None = None) -> None:
        problem = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}
        headers = {"content-type": "application/problem+json", "x-ambry-error-code": code}
        headers["x-ambry-error-detail"] = detail
        if self._fault is not None and self._fault.retry_after:
            headers["retry-after"] = self._fault.retry_after
        if size is not None:
            headers["content-range"] = f"bytes */{size}"
        body = json.dumps({**problem, "request_id": "stub-request"}).encode()
        if self._fault is not None and self._fault.plain:
            headers, body = {"content-type": "text/html"}, b"<h1>not found</h1>"
        self.send(status, headers, body)

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        fault = self._fault
        kind = fault.kind if fault is not None else ""
        headers = {**headers, "content-length": str(len(body)), "x-ambry-request-id": "stub-request"}
        headers |= {
            "x-ambry-datacenter": "dc1",
            "x-ambry-frontend": "stub",
            "x-ambry-answered-ms": str(time.time_ns() // 1_000_000),
        }
        if self.closing:
            headers["connection"] = "close"
        if kind == "wrong-digest":
            headers["x-ambry-digest"] = "0" * 32
        if kind == "foreign":
            status, body = 200, b"<h1>welcome to our network</h1>"
            headers = {"content-type": "text/html", "content-length": str(len(body))}
        if kind == "no-digest":
            headers.pop("x-ambry-digest", None)
        if kind == "corrupt" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if kind == "reset-after":
            self.reset()
        head = (
            f"HTTP/1.1 {status} Stub\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        )
        self._connection.sendall(head.encode())
        if self._seen.method == "HEAD":
            return
        if kind in ("cut", "reset") and fault is not None:
            self._connection.sendall(body[: fault.after])
            if kind == "reset":
                self.reset()
            raise Hangup
        self._connection.sendall(body)
