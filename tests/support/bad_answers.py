"""A web server that sends whatever bytes it is told, and the answers of one that is no such server or died in the middle."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answers = Callable[[str], bytes | None]


@contextmanager
def answering(answer: Answers) -> Iterator[str]:
    """A server that sends these bytes for a target, and closes; None keeps the connection open, silently."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def one(link: socket.socket) -> None:
            target = link.recv(65536).split(b" ")[1].decode()
            told = answer(target)
            if told is None:
                kept.append(link)
                return
            with link:
                link.sendall(told)

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(link,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            for each in kept:
                each.close()


def http(body: bytes, status: str = "200 OK", size: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if size is None else size}\r\n\r\n".encode() + body


BAD = {
    "no HTTP": b"hello\r\n\r\n",
    "a bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "nothing": b"",
    "cut short": http(b"abc", size=100),
    "cut in its head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "a chunk of no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc",
    "many lines of a head": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    "a long line": b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
    "an error": http(b"", "500 Oh"),
    "an error that is cut short": http(b'{"Remote', "403 No", size=100),
    "an error that is cut in a chunk": b'HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"Remote',
    "an error of a chunk of no size": b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc",
}
