"""A proxy in a thread, which brings every request to one port of this machine, whatever host it names."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.support.threaded_server import ThreadedServer


class ForwardingProxy(ThreadedServer):
    """`seen` has the first line and the headers of everything that came; with `refusing` it answers with that status."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.refusing = ""
        self.seen: list[str] = []
        super().__init__()

    def _serve(self, near: socket.socket, number: int) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (data := near.recv(1 << 16)):
            head += data
        self.seen.append(head.partition(b"\r\n\r\n")[0].decode("latin-1"))
        if self.refusing:
            near.sendall(f"HTTP/1.1 {self.refusing}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self._port))
        if head.startswith(b"CONNECT "):
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far.sendall(self._in_origin_form(head))
        back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
        back.start()
        self._pass_on(near, far, rewrite=not head.startswith(b"CONNECT "))
        back.join()
        near.close()
        far.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, *, rewrite: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if rewrite and b" HTTP/1.1\r\n" in data:
                    self.seen.append(data.partition(b"\r\n\r\n")[0].decode("latin-1"))
                    data = self._in_origin_form(data)
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _in_origin_form(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" http://")
        _, slash, path = rest.partition(b"/")
        lines = (method + b" " + slash + path).split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(b"proxy-"))
