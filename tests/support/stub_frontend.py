"""A frontend for the client's tests: it keeps blobs in a dict, answers as docs/rest.md says, and misbehaves on request.

It is written on bare sockets and knows nothing of the client, so that it can break the protocol where a proper server
would not. Misbehaviour is queued in `faults`: each request takes the first fault that is meant for it.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from io import BufferedReader

import xxhash

from ambry.clock import SystemClock, system_random
from ambry.errors import InvalidBlobId
from ambry.ids import BlobId, IdKind, uuid7
from tests.support.stub_answer import Fault, Hangup, Seen, StubAnswer
from tests.support.threaded_server import ThreadedServer

KEPT = (
    "x-ambry-um-",
    "x-ambry-enc-um-",
    "x-ambry-content-type",
    "x-ambry-filename",
    "x-ambry-enc-filename",
    "x-ambry-ttl",
    "x-ambry-service-id",
)
OTHERS = (
    "authorization",
    "host",
    "connection",
    "user-agent",
    "accept",
    "traceparent",
    "content-length",
    "content-type",
    "x-ambry-service-id",
)
UNDERSTOOD = {
    "POST": (*OTHERS, *KEPT, "transfer-encoding", "x-ambry-digest", "x-ambry-durability", "x-ambry-target-"),
    "PUT": (*OTHERS, "x-ambry-blob-id", "x-ambry-ttl"),
    "GET": (*OTHERS, "range"),
    "HEAD": (*OTHERS, "range"),
}
"""The headers that a request of a method may have, by their beginning. A frontend refuses what it does not understand; the
stub refuses everything else too, so that the clients send nothing unnoticed."""


class StubFrontend(ThreadedServer):
    """While `draining` every answer is a connection's last."""

    def __init__(self, host: str = "127.0.0.1", *, context: ssl.SSLContext | None = None) -> None:
        """With `context` it speaks TLS."""
        self._context = context
        self.blobs: dict[str, bytes] = {}
        self.meta: dict[str, dict[str, str]] = {}
        self.deleted: set[str] = set()
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.arrived = threading.Event()
        self.close_after_answer = False
        self.draining = False
        self.other_names: set[str] = set()
        """What it is also called, as a Host header says it."""
        self.full = 0
        """How many of the next connections are refused with 503 before anything was read from them."""
        super().__init__(host)

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://{self.authority}"

    def add(self, data: bytes, **headers: str) -> str:
        """Store a blob directly; its id."""
        raw = uuid7(SystemClock().wall_ms(), system_random())
        blob = str(BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=raw))
        self.blobs[blob] = data
        self.meta[blob] = {name.replace("_", "-"): value for name, value in headers.items()}
        return blob

    def fail(self, method: str, kind: str, **how: object) -> Fault:
        fault = Fault(method, kind, **how)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def seen(self, method: str) -> list[Seen]:
        return [each for each in self.requests if each.method == method]

    def time_out_idle(self) -> None:
        """Tell every open connection, which waits for no answer, that it was idle for too long, and close it."""
        with self._open_lock:
            for each in self._open:
                with suppress(OSError):
                    each.sendall(b"HTTP/1.1 408 Stub\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for fault in self.faults:
            fault.release.set()
        super().close()

    def _serve(self, connection: socket.socket, number: int) -> None:
        if self._context is not None:
            try:
                connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
        stream = connection.makefile("rb")
        try:
            if self.full > 0:
                self.full -= 1
                connection.sendall(
                    b"HTTP/1.1 503 Stub\r\nconnection: close\r\nretry-after: 1\r\nx-ambry-error-code: Overloaded\r\n"
                    b"x-ambry-request-id: stub-request\r\ncontent-length: 0\r\n\r\n"
                )
                connection.shutdown(socket.SHUT_WR)
                return
            while self._one(connection, stream, number) and not self.close_after_answer:
                pass
        except (Hangup, OSError, ValueError):
            pass
        finally:
            stream.close()
            connection.close()

    def _one(self, connection: socket.socket, stream: BufferedReader, number: int) -> bool:
        if stream.peek(1)[:1] == b"\x16":
            # Somebody begins TLS. A frontend says so at once; there may be no end of a line in what was sent.
            connection.sendall(b"HTTP/1.1 400 Stub\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            return False
        line = stream.readline().decode("latin-1").split()
        if len(line) != 3:
            return False
        headers: dict[str, str] = {}
        while (text := stream.readline().decode("utf-8").strip()) != "":
            name, _, value = text.partition(":")
            headers[name.strip().lower()] = value.strip()
        seen = Seen(line[0], line[1], headers, number)
        self.requests.append(seen)
        self.arrived.set()
        fault = next((each for each in self.faults if each.method == seen.method), None)
        if fault is not None:
            self.faults.remove(fault)
        answer = StubAnswer(connection, seen, fault, draining=self.draining)
        if fault is not None and fault.kind == "reset-before":
            answer.reset()
        if fault is not None and fault.kind == "status" and fault.early:
            answer.problem(fault.status, fault.code, fault.detail)
            # Linger as a server does, so that the answer is not lost with the rest of the body.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
            return False
        if headers.get("host") not in (self.authority, *self.other_names):
            answer.problem(421, "MisdirectedRequest", f"this server is not {headers.get('host')}; use its address")
            return False
        body = _body(stream, headers)
        seen.body_size = len(body)
        if fault is not None and fault.kind == "hold":
            fault.release.wait()
        if fault is not None and fault.kind == "status":
            answer.problem(fault.status, fault.code, fault.detail)
        else:
            self._handle(answer, seen, body)
        return not answer.closing

    def _handle(self, answer: StubAnswer, seen: Seen, body: bytes) -> None:
        strange = [name for name in seen.headers if not name.startswith(UNDERSTOOD.get(seen.method, OTHERS))]
        if strange:
            return answer.problem(400, "InvalidRequest", f"{strange[0]} is not understood here")
        blob = seen.path.strip("/").split(".")[0]
        if seen.path == "/healthCheck":
            answer.send(200, {"content-type": "text/plain"}, b"GOOD")
        elif seen.method == "POST":
            self._post(answer, seen, body)
        elif seen.path in ("/updateTtl", "/undelete"):
            blob = seen.headers.get("x-ambry-blob-id", "")
            if seen.path == "/undelete":
                if blob not in self.deleted:
                    return answer.problem(409, "NotDeleted", f"blob {blob} is not deleted")
                self.deleted.discard(blob)
            elif self._present(answer, blob):
                self.meta[blob]["x-ambry-ttl"] = seen.headers.get("x-ambry-ttl", "-1")
            else:
                return None
            answer.send(200, {}, b"")
        elif seen.method == "DELETE":
            if blob not in self.blobs:
                return answer.problem(404, "BlobNotFound", f"no replica holds blob {blob}")
            self.deleted.add(blob)
            answer.send(202, {}, b"")
        elif self._present(answer, blob):
            self._get(answer, seen, blob)
        return None

    def _present(self, answer: StubAnswer, blob: str) -> bool:
        if blob in self.deleted:
            answer.problem(410, "BlobDeleted", f"blob {blob} was deleted")
        elif not _well_formed(blob):
            answer.problem(400, "InvalidBlobId", f"{blob} is not a blob id")
        elif blob not in self.blobs:
            answer.problem(404, "BlobNotFound", f"no replica holds blob {blob}; check the id")
        else:
            return True
        return False

    def _post(self, answer: StubAnswer, seen: Seen, body: bytes) -> None:
        digest = hexdigest(body)
        if seen.headers.get("x-ambry-digest", digest) != digest:
            return answer.problem(400, "ChecksumMismatch", "the body does not have the digest of x-ambry-digest")
        kept = {name: value for name, value in seen.headers.items() if name.startswith(KEPT)}
        blob = self.add(body)
        self.meta[blob] = kept
        headers = {
            "location": f"/{blob}",
            "etag": f'"{digest}"',
            "x-ambry-blob-size": str(len(body)),
            "x-ambry-digest": digest,
            "x-ambry-durability": seen.headers.get("x-ambry-durability", "disk"),
        }
        return answer.send(201, headers, b"")

    def _get(self, answer: StubAnswer, seen: Seen, blob: str) -> None:
        data = self.blobs[blob]
        headers = {
            "content-type": "application/octet-stream",
            "etag": f'"{hexdigest(data)}"',
            "x-ambry-blob-size": str(len(data)),
            "x-ambry-digest": hexdigest(data),
            "x-ambry-creation-time": "Sat, 21 Nov 2026 23:07:00 GMT",
            **self.meta[blob],
        }
        # Range is defined for GET alone (RFC 9110 section 14.2).
        asked = seen.headers.get("range", "") if seen.method == "GET" else ""
        if not asked:
            return answer.send(200, headers, data)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(data) - int(last))
        stop = min(len(data), int(last) + 1) if first and last else len(data)
        if start >= len(data):
            return answer.problem(416, "RangeNotSatisfiable", "the range lies outside the blob", size=len(data))
        headers["content-range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return answer.send(206, headers, data[start:stop])


def _well_formed(text: str) -> bool:
    try:
        BlobId.parse(text)
    except InvalidBlobId:
        return False
    return True


def hexdigest(data: bytes) -> str:
    return str(xxhash.xxh3_128_hexdigest(data))


def _body(stream: BufferedReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        size = int(headers.get("content-length", "0"))
        body: bytes = stream.read(size)
        if len(body) < size:
            raise Hangup
        return body
    pieces: list[bytes] = []
    while size := int(stream.readline() or b"x", 16):
        pieces.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(pieces)
