"""How the sockets of the RPC are set up, at both ends.

A link that swallows packets tells nobody: without these a socket whose other end is gone stays open for ever, and one that has
something to send goes on trying by TCP's own back-off, for a quarter of an hour (tcp(7)).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

WRITE_HIGH_BYTES = 8 << 20
WRITE_LOW_BYTES = 2 << 20
"""What may wait for the kernel before writing pauses, and when it goes on: several large bodies."""
KEEPALIVE_IDLE_S = 5
KEEPALIVE_INTERVAL_S = 3
KEEPALIVE_PROBES = 4
USER_TIMEOUT_MS = 20_000
"""How long what was sent may go unacknowledged, or find no room at the other end, before the connection ends."""


def tune(transport: asyncio.BaseTransport) -> None:
    """Set a transport up, whichever end opened it; what is no TCP has no options of TCP."""
    cast(Any, transport).set_write_buffer_limits(high=WRITE_HIGH_BYTES, low=WRITE_LOW_BYTES)
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
