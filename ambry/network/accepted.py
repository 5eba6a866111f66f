"""The connections that a process serves, and what is looked after on all of them."""

from __future__ import annotations

import asyncio

from ambry.network.connection import RpcConnection
from ambry.network.serving import ServingConnection

EXPIRE_EVERY_S = 0.25


class Accepted:
    """Those that are open. `start` it on the event loop that serves them."""

    def __init__(self) -> None:
        self._connections: dict[RpcConnection, ServingConnection] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EXPIRE_EVERY_S, self._expire)

    def add(self, connection: ServingConnection) -> None:
        self._connections[connection] = connection

    def discard(self, connection: RpcConnection) -> None:
        self._connections.pop(connection, None)

    def close(self) -> None:
        """Close all of them, after what is written was sent."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._connections.values()):
            connection.close()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections.values()):
            connection.expire(now)
        self._timer = loop.call_later(EXPIRE_EVERY_S, self._expire)
