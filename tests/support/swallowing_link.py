"""A link between two ends on this machine that can be made to swallow everything, and be healed again.

Unlike a link that breaks it tells nobody: both ends stay connected to it, and nothing arrives.
"""

from __future__ import annotations

import asyncio


class SwallowingLink:
    """Forwards every connection to `port` of this machine, while it does not swallow."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.swallows = False
        self.swallowed_bytes = 0
        self.made = 0
        """Connections, in all."""
        self._ends: set[asyncio.Transport] = set()

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Near(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._server.close()
        for end in list(self._ends):
            end.abort()


class _End(asyncio.Protocol):
    def __init__(self, link: SwallowingLink) -> None:
        self._link = link
        self._waiting: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._link._ends.add(transport)
        for data in self._waiting:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._link.swallows:
            self._link.swallowed_bytes += len(data)
        elif self.other is None or self.other.transport is None:
            self._waiting_of_other().append(data)
        else:
            self.other.transport.write(data)

    def _waiting_of_other(self) -> list[bytes]:
        assert self.other is not None
        return self.other._waiting

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.transport is not None
        self._link._ends.discard(self.transport)
        # The end of a connection is swallowed like anything else.
        if not self._link.swallows and self.other is not None and self.other.transport is not None:
            self.other.transport.abort()


class _Near(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._link.made += 1
        self.other = far = _End(self._link)
        far.other = self
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._connect(far))

    async def _connect(self, far: _End) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, "127.0.0.1", self._link.target_port)
        except OSError:
            assert self.transport is not None
            self.transport.abort()
