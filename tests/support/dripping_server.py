"""A server that begins each answer well and goes on with a few bytes at a time, for longer than anybody should wait."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

EVERY_S = 0.01
DRIPS = 2_000


class DrippingServer:
    """Says `begin`, then `drip` every 10 ms, 2,000 times, to whoever asks. `hung_up` says that one had enough of it."""

    def __init__(self, begin: bytes, drip: bytes) -> None:
        self._begin = begin
        self._drip = drip
        self._ended = threading.Event()
        self.hung_up = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.authority = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.authority}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(self._begin)
            for _ in range(DRIPS):
                if self._ended.wait(EVERY_S):
                    return
                try:
                    connection.sendall(self._drip)
                    if select.select([connection], [], [], 0)[0] and not connection.recv(1 << 16):
                        raise ConnectionError
                except ConnectionError:
                    self.hung_up.set()
                    return
