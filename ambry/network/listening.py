"""Where nodes connect to this one: in the clear, or with a handshake in which both ends show who they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ambry.errors import ConfigInvalid
from ambry.network.serving import ServingConnection
from ambry.service.handshakes import Handshakes
from ambry.service.listener import Listener, Socket
from ambry.service.tls import ReloadingTls
from ambry.service.turned_away import TurnedAway

HANDSHAKES_MAX = 128
"""At a time. Where one more comes the oldest goes."""


class NodeListener:
    """Accepts on listening sockets, which it owns. `accept` makes the protocol of a connection."""

    def __init__(
        self, sockets: Sequence[Socket], accept: Callable[[], ServingConnection], tls: ReloadingTls[Any] | None
    ) -> None:
        self._accept = accept
        self._tls = tls
        self._handshakes: Handshakes[ServingConnection] = Handshakes(
            TurnedAway("a node", asyncio.get_running_loop().time)
        )
        self._listener = Listener(list(sockets), self._accepted, name="rpc")

    @property
    def port(self) -> int:
        return self._listener.port

    def close(self) -> None:
        """Accept no more, and give up who has not said who it is; what is connected stays."""
        self._listener.close()
        self._handshakes.give_up_all("this process stops")

    def _accepted(self, sock: Socket, client: str) -> None:
        if len(self._handshakes) >= HANDSHAKES_MAX:
            self._handshakes.give_up_oldest()
        self._handshakes.begin(sock, client, self._accept(), self._tls)


def require_tls(what: str, host: str, tls: object | None, *, loopback: bool) -> None:
    """Nodes speak in the clear on loopback alone. Raises ConfigInvalid."""
    if tls is None and not loopback:
        raise ConfigInvalid(
            f"{what} is {host!r}, and node_tls is not set: in the clear nodes speak over loopback alone: whoever reaches such "
            "a port reads and writes everything; `ambry certs` makes certificates, or listen on 127.0.0.1"
        )
