"""Both ends of RPC connections over real loopback sockets: a server whose handler a test sets, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from ambry.errors import AmbryError
from ambry.network.connection import RpcConnection
from ambry.network.requests import Requests
from ambry.network.responding import Responder
from ambry.network.serving import ServingConnection
from ambry.network.unread import Unread
from ambry.protocol.frame import Frame, FrameDecoder, MessageType
from ambry.protocol.messages.base import Empty

Outcome = Frame | AmbryError
LONG_S = 60.0


class Pair:
    """A server whose handler a test sets, and clients connected to it."""

    def __init__(self) -> None:
        self.handler: Callable[[Frame, Responder], None] = lambda frame, responder: responder.reply(Empty())
        self.unread = Unread()
        self.requests = Requests()
        self.answered: list[tuple[int, str]] = []
        """Type and outcome of what the server answered."""
        self.succeeded = {int(type): partial(self.answered.append, (type, "ok")) for type in MessageType}
        self.took = dict.fromkeys(self.succeeded, self._note_time)
        self.served: list[ServingConnection] = []
        self.server: asyncio.Server
        self.lost = asyncio.Event()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()

        def accept() -> ServingConnection:
            made = ServingConnection(
                handlers=dict.fromkeys(MessageType, lambda frame, responder: self.handler(frame, responder)),
                tally=self,
                unread=self.unread,
                requests=self.requests,
            )
            self.served.append(made)
            return made

        self.server = await loop.create_server(accept, "127.0.0.1", 0)

    def failed(self, type: int, error: AmbryError, seconds: float) -> None:
        """As the tally of its connections."""
        self._note_time(seconds)
        self.answered.append((type, error.__class__.__name__))

    def _note_time(self, seconds: float) -> None:
        assert 0 <= seconds < LONG_S

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])

    async def client(self, **options: Any) -> RpcConnection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: RpcConnection(on_lost=lambda _: self.lost.set(), **options),
            "127.0.0.1",
            self.port,
        )
        return made

    async def raw(self) -> RawClient:
        """A client that sends any bytes, and reads answers only when it is told to."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        return RawClient(reader, writer)

    def stop(self) -> None:
        for connection in self.served:
            connection.abort()
        self.server.close()


class RawClient:
    """One end without any manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def at_end(self) -> bool:
        """Whether the other end was heard to close."""
        return self._reader.at_eof() or self._reader.exception() is not None

    async def frame(self) -> Frame:
        """The next answer."""
        while not self._frames:
            data = await asyncio.wait_for(self._reader.read(1 << 16), LONG_S)
            if not data:
                raise ConnectionResetError("the connection ended")
            while data:
                count = min(len(data), len(self._decoder.room))
                self._decoder.room[:count] = data[:count]
                self._frames += self._decoder.received(count)
                data = data[count:]
        return self._frames.pop(0)


class Outcomes:
    """Collects the outcomes of calls; each must come once."""

    def __init__(self) -> None:
        self.got: dict[int, list[Outcome]] = {}
        self._more = asyncio.Event()

    def of(self, number: int) -> Callable[[Outcome], None]:
        def done(outcome: Outcome) -> None:
            self.got.setdefault(number, []).append(outcome)
            self._more.set()

        return done

    async def wait(self, count: int) -> None:
        """Until so many have come; longer than any call waits, whose end tells more than a TimeoutError here."""
        async with asyncio.timeout(2 * LONG_S):
            while len(self.got) < count:
                self._more.clear()
                await self._more.wait()

    def errors(self) -> list[AmbryError | None]:
        assert all(len(outcomes) == 1 for outcomes in self.got.values()), "done was called twice"
        return [outcome if isinstance(outcome, AmbryError) else None for _, (outcome,) in sorted(self.got.items())]
