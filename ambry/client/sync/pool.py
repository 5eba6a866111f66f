"""Kept connections of the blocking client.

A pool belongs to a process: a forked child starts with an empty one, so parent and child never share a socket. Any
number of threads may use it.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from ambry.client.sync.connection import KeptConnection

IDLE_MAX = 16
"""Kept connections per endpoint."""


class ConnectionPool:
    """The idle connections of one process, newest first."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: dict[str, deque[KeptConnection]] = {}

    def take(self, endpoint: str) -> KeptConnection | None:
        with self._lock:
            idle = self._idle.get(endpoint)
            return idle.pop() if idle else None

    def put(self, connection: KeptConnection) -> bool:
        with self._lock:
            idle = self._idle.setdefault(connection.endpoint, deque())
            if len(idle) >= IDLE_MAX:
                return False
            idle.append(connection)
            return True

    def drop(self, endpoint: str) -> None:
        """Forget the connections to an endpoint that has closed one."""
        with self._lock:
            dropped = self._idle.pop(endpoint, deque())
        for connection in dropped:
            connection.close()

    def clear(self) -> None:
        for endpoint in list(self._idle):
            self.drop(endpoint)
