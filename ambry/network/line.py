"""A connection to a peer that is in use, and when another one should take its place.

A peer is connected anew, beside the connection that is there, when what this node shows it or asks of it has changed, and
before the peer's certificate expires: by then it may have another one. The new connection is taken first, the calls of the old
one are answered on it, and then it is closed. Where the new one is refused, the old one stays as long as it may.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

from ambry.network.connection import RpcConnection
from ambry.service.tls import NodeTls

RENEW_BEFORE_MS = 60_000
RENEW_EVERY_S = 5.0
"""So often it is tried, where it is in vain."""
RENEWED_DRAIN_S = 75.0
"""Time for the calls of a connection whose place another one has taken: a poll waits for a minute."""
REFUSED_DRAIN_S = 5.0
"""The same where the certificate of the peer is not good any more."""
LOOK_EVERY_S = 0.1


class Line(NamedTuple):
    """One connection. `lost` is set when it has ended; `context` is what it was made with."""

    connection: RpcConnection
    lost: asyncio.Event
    context: ssl.SSLContext | None

    def refused(self, tls: NodeTls | None, now_ms: int) -> str:
        """Why it must end, for people; empty where it may stay."""
        return "" if tls is None else refused(self.connection, tls, now_ms)

    def due(self, tls: NodeTls | None, now_ms: int) -> bool:
        """Whether another should take its place."""
        shown = self.connection.shown
        if tls is None or shown is None:
            return False
        return self.context is not tls.calling.context or shown.until_ms <= now_ms + RENEW_BEFORE_MS

    def better_than(self, other: Line) -> bool:
        """Whether it is worth while to take it in place of another."""
        shown, before = self.connection.shown, other.connection.shown
        longer = shown is not None and before is not None and shown.until_ms > before.until_ms
        return longer or self.context is not other.context


def refused(connection: RpcConnection, tls: NodeTls, now_ms: int) -> str:
    """Why a connection must end whose other end has shown a certificate; empty where it may stay, and in the clear."""
    transport, shown = connection.transport, connection.shown
    if transport is None or shown is None:
        return ""
    return tls.refuses(transport.get_extra_info("ssl_object"), shown.until_ms, now_ms)


async def drain(connection: RpcConnection, within_s: float) -> None:
    """Wait for the answers to its calls, and close it; what did not come in time ends without one."""
    try:
        async with asyncio.timeout(within_s):
            while connection.calls_waiting:  # noqa: ASYNC110  its calls tell those who made them
                await asyncio.sleep(LOOK_EVERY_S)
        connection.close()
    except TimeoutError:
        pass
    finally:
        if connection.calls_waiting:
            connection.abort()
