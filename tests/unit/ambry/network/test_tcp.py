"""What the kernel is told about the sockets of the RPC, at both ends."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvloop

from ambry.network.connection import RpcConnection
from ambry.network.serving import ServingConnection
from ambry.network.tcp import USER_TIMEOUT_MS, tune


async def both_ends() -> list[dict[str, int]]:
    found: list[dict[str, int]] = []
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[ServingConnection] = loop.create_future()

    class Noted(ServingConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.set_result(self)

    server = await loop.create_server(lambda: Noted(handlers={}), "127.0.0.1", 0)
    transport, _client = await loop.create_connection(RpcConnection, *server.sockets[0].getsockname())
    tune(transport)
    served = (await accepted)._transport
    assert served is not None
    for end in (transport, served):
        sock: Any = end.get_extra_info("socket")
        options = {
            "keepalive": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            "idle_s": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            "user_timeout_ms": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        }
        found.append(options)
    transport.abort()
    served.abort()
    server.close()
    return found


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_both_ends_find_out_that_the_other_is_gone(new_loop: Any) -> None:
    """Neither had time-outs of its own: a half-open socket stayed for ever, and a healed link was found by TCP's back-off."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        for options in runner.run(both_ends()):
            assert options["keepalive"]
            assert options["idle_s"] <= 10
            assert options["user_timeout_ms"] == USER_TIMEOUT_MS <= 30_000


async def test_what_is_no_tcp_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _connection = await loop.create_connection(RpcConnection, sock=ours)
    tune(transport)
    transport.abort()
    theirs.close()
