"""A port of this machine whose connections are served by threads, one each."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Self

from ambry.address import authority


class ThreadedServer(ABC):
    """Accepts from its construction until `close`. What a subclass has is to be there before that."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self._accepted = 0
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def authority(self) -> str:
        return authority(*self._listener.getsockname()[:2])

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    @property
    def connections(self) -> int:
        """How many connections were ever made."""
        return self._accepted

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hang_up(self) -> None:
        """Close every open connection, as a restarting server does."""
        with self._open_lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Again is fine."""
        # A thread blocked in accept() does not notice a mere close().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.hang_up()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._open_lock:
                self._accepted += 1
                self._open.add(connection)
            threading.Thread(target=self._run, args=(connection, self._accepted), daemon=True).start()

    def _run(self, connection: socket.socket, number: int) -> None:
        try:
            self._serve(connection, number)
        finally:
            with self._open_lock:
                self._open.discard(connection)

    @abstractmethod
    def _serve(self, connection: socket.socket, number: int) -> None:
        """Serve one connection, which is the `number`th from 1 on, and close it."""
