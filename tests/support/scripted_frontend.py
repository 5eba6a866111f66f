"""A frontend that has one blob and one name, and sends what a test makes of its answers: cut anywhere, or untrue.

It is written on bare sockets, so that it can break the protocol anywhere. `bend` is told every request and the good answer to
it, and says what is sent in its place.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from ambry.ids import BlobId, IdKind
from tests.support.content import content
from tests.support.scripted_batches import batch_answer
from tests.support.stub_frontend import hexdigest
from tests.support.threaded_server import ThreadedServer

BLOB = str(BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=bytes(16)))
DATA = content(5, 23)
LISTED = b'{"entries":[{"blobName":"a/b","isDirectory":false,"blobId":"%s","blobSize":23}],"nextPageToken":null}'


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    range: str
    connection: int
    """Which one of all that were made."""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent, and how the connection goes on: `held` is how it waits, without a word, for its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    end: Literal["keep", "close", "reset", "held"] = "keep"
    sent_max: int | None = None
    """How many bytes are sent, head and body; None is all."""
    before: bytes = b""
    """What comes first, as the rest of the answer before."""

    @property
    def raw(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body

    def cut(self, sent_max: int, end: Literal["close", "reset", "held"]) -> Answer:
        return replace(self, sent_max=sent_max, end=end)

    def having(self, body: bytes | None = None, status: int | None = None, **headers: str | None) -> Answer:
        """With other headers (`_` for `-`, None for none), another body, another status."""
        changed = self.headers | {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        for name, value in headers.items():
            if value is None:
                changed.pop(name.replace("_", "-"), None)
        return replace(
            self,
            headers=changed,
            body=self.body if body is None else body,
            status=self.status if status is None else status,
        )


Bend = Callable[[Asked, Answer], Answer]


def good(asked: Asked, data: bytes = DATA) -> Answer:
    """The answer of a frontend that is well."""
    said = {"content-length": "0", "x-ambry-request-id": "scripted"}
    if asked.path.startswith("/batch/"):
        told, answer = batch_answer(asked.path, asked.body, BLOB, data)
        return Answer(status=200, headers=said | told | {"content-length": str(len(answer))}, body=answer)
    if asked.method in ("POST", "PUT"):
        said |= {"location": f"/{BLOB}", "x-ambry-blob-size": str(len(data)), "x-ambry-digest": hexdigest(data)}
        return Answer(status=201, headers=said, body=b"")
    if asked.method == "DELETE":
        return Answer(status=202, headers=said, body=b"")
    if BLOB not in asked.path:
        listed = LISTED % BLOB.encode()
        return Answer(status=200, headers=said | {"content-length": str(len(listed))}, body=listed)
    said |= {
        "content-length": str(len(data)),
        "etag": f'"{hexdigest(data)}"',
        "x-ambry-blob-size": str(len(data)),
        "x-ambry-digest": hexdigest(data),
        "x-ambry-ttl": "-1",
        "x-ambry-um-k": "value",
    }
    if asked.method == "HEAD":
        return Answer(status=200, headers=said, body=b"")
    if not asked.range:
        return Answer(status=200, headers=said, body=data)
    first, _, last = asked.range.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(len(data), int(last) + 1) if last else len(data)
    piece = data[start:stop]
    told = {"content-length": str(len(piece)), "content-range": f"bytes {start}-{stop - 1}/{len(data)}"}
    return Answer(status=206, headers=said | told, body=piece)


class ScriptedFrontend(ThreadedServer):
    """`requests` are all that came."""

    def __init__(self, data: bytes = DATA) -> None:
        self.bend: Bend = lambda asked, answer: answer
        self.data = data
        self.requests: list[Asked] = []
        self._ended = threading.Event()
        super().__init__()

    def close(self) -> None:
        self._ended.set()
        super().close()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError):
            while (asked := _read(connection, number)) is not None:
                self.requests.append(asked)
                answer = self.bend(asked, good(asked, self.data))
                connection.sendall(answer.before + answer.raw[: answer.sent_max])
                if answer.end == "held":
                    self._ended.wait()
                if answer.end == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if answer.end != "keep":
                    break
        connection.close()


def _read(connection: socket.socket, number: int) -> Asked | None:
    """The next request, and its body with it; None at the end."""
    seen = b""
    while True:
        head, end, body = seen.partition(b"\r\n\r\n")
        if end:
            length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
            if len(body) >= (int(length[1]) if length else 0):
                break
        piece = connection.recv(1 << 16)
        if not piece:
            return None
        seen += piece
    method, path, _ = head.split(b"\r\n")[0].decode().split(" ", 2)
    found = re.search(rb"\r\nrange: ([^\r]+)", head, re.IGNORECASE)
    return Asked(method, path, found[1].decode() if found else "", number, body)
