"""A frontend behind a slow line: heads of answers come at once, bodies drip, or stop in the middle."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.support.named_frontend import LosingLink

EVERY_S = 0.05


class DrippingBodies(LosingLink):
    """Passes all on to `url`: of each body so many bytes a second, or these alone, and then nothing until it is closed."""

    def __init__(self, url: str, *, rate: int = 1 << 30, stop_after: int = 1 << 30) -> None:
        self._piece = int(rate * EVERY_S)
        self._stop_after = stop_after
        self._over = threading.Event()
        super().__init__(url)

    def close(self) -> None:
        self._over.set()
        super().close()

    def _answer(self, near: socket.socket, far: socket.socket, said: list[bytes]) -> None:
        left = 0
        with suppress(OSError):
            while data := far.recv(1 << 16):
                if data.startswith(b"HTTP/1.1 "):
                    head, end, data = data.partition(b"\r\n\r\n")
                    near.sendall(head + end)
                    left = self._stop_after
                data, left = data[:left], max(0, left - len(data))
                while data:
                    near.sendall(data[: self._piece])
                    data = data[self._piece :]
                    self._over.wait(EVERY_S)
                if not left:
                    self._over.wait(60)
        for end_of in (near, far):
            with suppress(OSError):
                end_of.shutdown(socket.SHUT_RDWR)
