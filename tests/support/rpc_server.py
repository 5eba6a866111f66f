"""A serving end of the RPC in a process of its own: `python -m tests.support.rpc_server HOST PORT`.

It greets as node `n1` of cluster `c`, answers pings, and says on standard output what becomes of its connections: a line
`listening`, and `made` and `lost` for each.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from ambry.network.serving import ServingConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, Hello, Pong


def say(word: str) -> None:
    print(word, flush=True)


async def serve(host: str, port: int) -> None:
    def accept() -> ServingConnection:
        say("made")
        return ServingConnection(
            handlers={
                MessageType.HELLO: lambda _frame, responder: responder.reply(Hello("c", "n1")),
                MessageType.PING: lambda _frame, responder: responder.reply(Pong(1)),
                MessageType.PUT: lambda _frame, responder: responder.reply(Empty()),
            },
            on_lost=lambda _connection: say("lost"),
        )

    server = await asyncio.get_running_loop().create_server(accept, host, port)
    say("listening")
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
