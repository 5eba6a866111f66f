"""The port of a frontend's RPC, where those of other datacenters ask it. Processes of one frontend share its sockets."""

from __future__ import annotations

from collections.abc import Mapping

from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.network.accepted import Accepted
from ambry.network.listening import NodeListener
from ambry.network.requests import Requests
from ambry.network.responding import Handler
from ambry.network.unread import Unread
from ambry.protocol.frame import MessageType
from ambry.service.listener import Socket
from ambry.service.tallies import Count
from ambry.service.tls import NodeTls
from frontend import metrics

CONNECTIONS_MAX = 512
"""Of other frontends' processes, each of which has one."""
REQUESTS_BYTES_MAX = 16 << 20
"""What all requests hold together: none is larger than some 40 KiB."""
UNREAD_BYTES_MAX = 32 << 20
"""What answers hold that were not read."""


class AskCounts:
    """Counts every request by its outcome, as the tally of the connections (ambry/network/serving.py)."""

    def __init__(self) -> None:
        self.succeeded = {int(type): metrics.ASKED.labels(type.name.lower(), "ok").inc for type in MessageType}
        self.took = dict.fromkeys(self.succeeded, _forget)
        self._failed: dict[tuple[int, str], Count] = {}

    def failed(self, type: int, error: AmbryError, seconds: float) -> None:
        outcome = error.__class__.__name__
        counter = self._failed.get((type, outcome))
        if counter is None:
            name = MessageType(type).name.lower() if type in self.succeeded else "unknown"
            counter = self._failed[type, outcome] = metrics.ASKED.labels(name, outcome)
        counter.inc()


class RpcPort:
    """Serves `handlers` on listening sockets, which it owns."""

    def __init__(self, handlers: Mapping[int, Handler], *, clock: Clock, tls: NodeTls | None = None) -> None:
        self._accepted = Accepted(
            handlers,
            # All of them are guests: several processes of one frontend have one name.
            members=(),
            guests_max=CONNECTIONS_MAX,
            requests=Requests(REQUESTS_BYTES_MAX),
            unread=Unread(UNREAD_BYTES_MAX),
            clock=clock,
            tls=tls,
            tally=AskCounts(),
        )
        self._tls = None if tls is None else tls.serving
        self._listener: NodeListener | None = None

    def start(self, sockets: list[Socket]) -> None:
        self._accepted.start()
        self._listener = NodeListener(sockets, self._accepted.accept, self._tls)

    def close_listeners(self) -> None:
        """Accept no more: another process may have the port."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Close what is connected, after what was written is sent."""
        self.close_listeners()
        self._accepted.close()


def _forget(_seconds: float) -> None: ...
