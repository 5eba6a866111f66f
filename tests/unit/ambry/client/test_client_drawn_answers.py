"""Answers drawn at random around a good one: what a client makes of them is right or an error of ours, and never takes long.

The fuzzing this came from: 19,500 answers for each client.
"""

from __future__ import annotations

import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from ambry import AmbryError, BlobId, RetryPolicy, Timeout
from ambry.ids import IdKind
from tests.support.clusters import seed_of
from tests.support.stub_frontend import hexdigest
from tests.support.threaded_server import ThreadedServer
from tests.support.twins import Twins

DATA = b"hello world" * 10
BLOB = str(BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=bytes(16)))
ANSWERS = 250

GOOD = {
    "content-type": "application/octet-stream",
    "content-length": str(len(DATA)),
    "etag": '"x"',
    "location": f"/{BLOB}",
    "x-ambry-blob-size": str(len(DATA)),
    "x-ambry-digest": hexdigest(DATA),
    "x-ambry-request-id": "r",
    "x-ambry-ttl": "-1",
    "x-ambry-creation-time": "Sat, 21 Nov 2026 23:07:00 GMT",
    "x-ambry-um-k": "v",
    "x-ambry-enc-um-e": "%20",
}
NAMES = [
    *GOOD,
    "transfer-encoding",
    "content-encoding",
    "connection",
    "retry-after",
    "content-range",
    "trailer",
    "upgrade",
]
VALUES = [
    "",
    "-1",
    "0",
    "9" * 30,
    "9" * 5000,
    "x",
    "ü",
    "\x00",
    "%zz",
    "bytes 0-1/2",
    "bytes */5",
    "chunked",
    "gzip",
    "close",
]
VALUES += ["Sat, 99 Nov 2026 99:99:99 GMT", "1e5", "+5", "5, 5", "application/problem+json"]
STATUSES = [
    0,
    100,
    101,
    103,
    199,
    202,
    204,
    206,
    226,
    301,
    304,
    404,
    408,
    410,
    416,
    429,
    431,
    500,
    503,
    599,
    600,
    999,
    1000,
]
BODIES = [b"", DATA[:5], DATA + b"x", b"5\r\nhello\r\n0\r\n\r\n", b"{}", b'{"code": "BlobNotFound"}', b"\xff" * 100]


def drawn(source: random.Random, method: str) -> bytes:
    status, body, pairs = 200, DATA, list(GOOD.items())
    for _ in range(source.choice([0, 1, 1, 2, 3])):
        change = source.randrange(6)
        if change == 0:
            status = source.choice(STATUSES)
        elif change == 1:
            body = source.choice(BODIES)
        elif change == 2:
            pairs.pop(source.randrange(len(pairs)))
        elif change == 3:
            pairs.append((source.choice(NAMES), source.choice(VALUES)))
        elif change == 4:
            pairs.append(("x" * source.choice([1, 9000, 70_000]), "y" * source.choice([1, 9000, 70_000])))
        else:
            pairs[source.randrange(len(pairs))] = (source.choice(NAMES), source.choice(VALUES))
    head = "".join([f"HTTP/1.1 {status} X\r\n", *(f"{name}: {value}\r\n" for name, value in pairs), "\r\n"])
    raw = bytearray(head.encode() + (b"" if method == "HEAD" else body))
    for _ in range(source.choice([0, 0, 0, 1, 4])):
        at = source.randrange(len(raw))
        raw[at : at + source.randrange(3)] = source.randbytes(source.randrange(3))
    return bytes(raw)


class Scripted(ThreadedServer):
    """A server that answers each request with `answer`, whatever it was, and closes."""

    def __init__(self) -> None:
        self.answer = b""
        super().__init__()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            self._one(connection)

    def _one(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        seen = b""
        while not _whole(seen):
            piece = connection.recv(1 << 16)
            if not piece:
                return
            seen += piece
        connection.sendall(self.answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass


def _whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as made:
        yield made


def test_no_answer_is_taken_for_bytes_that_were_not_asked_for(server: Scripted, twins: Twins) -> None:
    source = random.Random(seed_of("drawn answers"))
    client = twins.connect(server.url, retry=RetryPolicy(max_attempts=1), timeout=Timeout(connect=5, read=5))
    calls: dict[str, Callable[[], object]] = {
        "GET": lambda: client.get_bytes(BLOB) == DATA,
        # A part has no digest, and nothing proves what a head says.
        "range": lambda: len(client.get_bytes(BLOB, range=(2, 5))) == 3,
        "HEAD": lambda: str(client.head(BLOB).id) == BLOB,
        "POST": lambda: client.put(DATA).checksum == hexdigest(DATA),
        "DELETE": lambda: client.delete(BLOB) is None,
    }
    outcomes: Counter[str] = Counter()
    for _ in range(ANSWERS):
        name = source.choice(list(calls))
        server.answer = drawn(source, name)
        try:
            assert calls[name](), (name, server.answer[:500])
        except AmbryError as error:
            outcomes[type(error).__name__] += 1
        else:
            outcomes["right"] += 1
    assert outcomes["right"] and outcomes["ProtocolViolation"], outcomes
