"""Where nodes connect to this one: in the clear, or with a handshake in which both ends show who they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ambry.errors import ConfigInvalid
from ambry.network.serving import ServingConnection
from ambry.service.last_words import adopt
from ambry.service.listener import Listener, Socket
from ambry.service.tls import ReloadingTls
from ambry.service.turned_away import TurnedAway

HANDSHAKES_MAX = 128
"""At a time. Where one more comes the oldest goes: whoever is well is done in milliseconds, and who says nothing gives way."""


class NodeListener:
    """Accepts on listening sockets, which it owns. `accept` makes the protocol of a connection."""

    def __init__(
        self, sockets: Sequence[Socket], accept: Callable[[], ServingConnection], tls: ReloadingTls[Any] | None
    ) -> None:
        self._accept = accept
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._turned_away = TurnedAway("a node", self._loop.time)
        self._adopting: dict[asyncio.Task[None], None] = {}
        """By age."""
        self._listener = Listener(list(sockets), self._accepted, name="rpc")

    @property
    def port(self) -> int:
        return self._listener.port

    def close(self) -> None:
        """Accept no more; what is connected stays."""
        self._listener.close()

    def _accepted(self, sock: Socket, client: str) -> None:
        if len(self._adopting) >= HANDSHAKES_MAX:
            oldest = next(iter(self._adopting))
            del self._adopting[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._adopt(sock, client))
        self._adopting[task] = None
        task.add_done_callback(lambda done: self._adopting.pop(done, None))

    async def _adopt(self, sock: Socket, client: str) -> None:
        tls = self._tls
        made = self._accept()
        try:
            if tls is None:
                await self._loop.connect_accepted_socket(lambda: made, sock)
            else:
                await adopt(lambda: made, sock, tls.context)
        except (OSError, asyncio.CancelledError) as error:
            sock.close()
            if made.transport is None:
                made.connection_lost(None)  # it was none yet, and nobody else says that it is over
            if tls is not None and isinstance(error, OSError):
                self._turned_away.say(client, error)
            elif tls is not None:
                self._turned_away.tell(client, "others came, and it had not said who it is")


def require_tls(what: str, host: str, tls: object | None, *, loopback: bool) -> None:
    """Nodes speak in the clear on loopback alone. Raises ConfigInvalid."""
    if tls is None and not loopback:
        raise ConfigInvalid(
            f"{what} is {host!r}, and node_tls is not set: in the clear nodes speak over loopback alone: whoever reaches such "
            "a port reads and writes everything; `ambry certs` makes certificates, or listen on 127.0.0.1"
        )
