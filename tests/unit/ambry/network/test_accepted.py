"""The connections that a process serves: who goes when there are too many, and what is looked after on all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ambry.errors import DeadlineExceeded, Overloaded, StoreMismatch
from ambry.network import accepted as accepted_module
from ambry.network.accepted import OF_A_MEMBER_MAX, STRANGERS_MAX, Accepted
from ambry.network.connection import RpcConnection
from ambry.network.requests import Requests
from ambry.network.responding import Responder
from ambry.network.unread import Unread
from ambry.protocol.frame import Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from tests.support.captured_log import capture_log, said
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.rpc_ends import LONG_S

GUESTS_MAX = 100
ANSWER = bytes(1 << 20)


def hello(frame: Frame, responder: Responder) -> None:
    if messages.decode(frame.header, Hello).cluster != "c":
        raise StoreMismatch("another cluster")
    responder.reply(Hello("c", "n1"))


class House:
    """A listening process, and who connects to it."""

    def __init__(self) -> None:
        self.requests = Requests()
        self.unread = Unread()
        self.accepted = Accepted(
            {
                MessageType.HELLO: hello,
                MessageType.PING: lambda frame, responder: responder.reply(Empty()),
                MessageType.PUT: lambda frame, responder: None,
                MessageType.GET: lambda frame, responder: responder.reply(Empty(), ANSWER),
            },
            members=["n1", "n2"],
            guests_max=GUESTS_MAX,
            requests=self.requests,
            unread=self.unread,
            clock=SettableClock(),
        )
        self.server: asyncio.Server
        self.clients: list[RpcConnection] = []
        self.lost: list[RpcConnection] = []

    async def connect(self, name: str = "") -> RpcConnection:
        """A connection; with a name it is introduced."""
        port = self.server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: RpcConnection(on_lost=self.lost.append), "127.0.0.1", port)
        self.clients.append(made)
        if name:
            await made.request(MessageType.HELLO, Hello("c", name, "n1"), timeout_s=LONG_S)
        else:
            await eventually(lambda: self.accepted.count == len(self.clients) - len(self.lost) or bool(self.lost))
        return made


@asynccontextmanager
async def opened() -> AsyncIterator[House]:
    house = House()
    house.server = await asyncio.get_running_loop().create_server(house.accepted.accept, "127.0.0.1", 0, backlog=1024)
    try:
        yield house
    finally:
        house.accepted.close()
        for client in house.clients:
            client.abort()
        house.server.close()
        await asyncio.sleep(0)


async def ping(connection: RpcConnection) -> None:
    await connection.request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_requests_that_are_late_are_answered_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted_module, "EXPIRE_EVERY_S", 0.01)
    async with opened() as house:
        house.accepted.start()
        client = await house.connect()
        outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        client.call(MessageType.PUT, Empty(), outcome.set_result, timeout_s=0.05)
        assert isinstance(await outcome, DeadlineExceeded)
        await eventually(lambda: client.in_flight_bytes == 0 and house.requests.bytes == 0)


async def test_strangers_beyond_their_room_go_the_oldest_first_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,500 connections that said nothing took 176 MB, and every descriptor."""
    events = capture_log(monkeypatch, accepted_module)
    async with opened() as house:
        frontend, node = await house.connect("frontend"), await house.connect("n2")
        strangers = [await house.connect() for _ in range(GUESTS_MAX - 2)]
        for client in strangers:
            await ping(client)
        assert house.lost == []
        await house.connect()
        await eventually(lambda: house.lost == strangers[:1])
        await house.connect()
        await eventually(lambda: house.lost == strangers[:2])
        for client in (frontend, node, strangers[2], strangers[-1]):
            await ping(client)
        assert house.accepted.closed == 2
        assert len(said(events, "too many connections: the oldest that says nothing is closed")) == 1


async def test_strangers_that_stay_strangers_go_where_there_are_more_than_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepted_module, "STRANGE_S", 0.0)
    monkeypatch.setattr(accepted_module, "EXPIRE_EVERY_S", 0.01)
    async with opened() as house:
        strangers = [await house.connect() for _ in range(STRANGERS_MAX + 3)]
        house.accepted.start()
        await eventually(lambda: house.lost == strangers[:3])
        await ping(strangers[3])


async def test_who_says_hello_to_another_cluster_stays_a_stranger() -> None:
    async with opened() as house:
        client = await house.connect()
        with pytest.raises(StoreMismatch):
            await client.request(MessageType.HELLO, Hello("other", "n2", "n1"), timeout_s=LONG_S)
        assert len(house.accepted._strangers) == 1


async def test_one_guest_too_many_takes_the_place_of_one_that_is_silent_or_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as house:
        guests = [await house.connect(f"f{number}") for number in range(GUESTS_MAX)]
        with pytest.raises(Overloaded, match=r"100 connections are open here already; .*node\.connections_max"):
            await house.connect("late")
        monkeypatch.setattr(accepted_module, "SILENT_S", 0.0)
        for client in [*guests[:7], *guests[8:]]:
            await ping(client)
        monkeypatch.setattr(accepted_module, "SILENT_S", 1e-9)
        await house.connect("later")
        await eventually(lambda: house.lost == [guests[7]])
        await ping(guests[0])


async def test_nodes_of_the_layout_always_find_room_and_leave_little_behind() -> None:
    async with opened() as house:
        guests = [await house.connect(f"f{number}") for number in range(GUESTS_MAX)]
        nodes = [await house.connect("n2") for _ in range(OF_A_MEMBER_MAX + 2)]
        await eventually(lambda: house.lost == nodes[:2])
        for client in (nodes[-1], guests[0]):
            await ping(client)


async def test_those_that_do_not_read_go_while_answers_fill_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection had 2 MiB of unread answers whatever the others had: a thousand that read nothing, 2 GB."""
    events = capture_log(monkeypatch, accepted_module)
    async with opened() as house:
        reads = await house.connect("reads")
        port = house.server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(b"".join(encode_head(MessageType.GET, number, b"") for number in range(1, 41)))
        accepted = house.accepted
        await eventually(lambda: house.unread.at_most > 8 << 20)
        look = accepted._end_who_does_not_read
        for _ in range(3):
            look()  # there is room for all
        assert accepted.closed == 0
        house.unread.bytes_max = 4 << 20
        look()
        assert accepted.closed == 1
        assert len(said(events, "connection closed: it does not read, others wait")) == 1
        assert not house.unread.full()
        outcomes: list[object] = []
        for _ in range(3):
            reads.call(MessageType.GET, Empty(), outcomes.append, timeout_s=LONG_S)
        look()
        await eventually(lambda: len(outcomes) == 3)
        for _ in range(3):
            look()
        assert accepted.closed == 1
        await ping(reads)
        writer.close()


async def test_who_has_been_given_much_just_now_is_not_slow() -> None:
    async with opened() as house:
        port = house.server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        await eventually(lambda: house.accepted.count == 1)
        house.accepted._end_who_does_not_read()
        writer.write(b"".join(encode_head(MessageType.GET, number, b"") for number in range(1, 41)))
        await eventually(lambda: house.unread.at_most > 8 << 20)
        house.unread.bytes_max = 1 << 20
        house.accepted._end_who_does_not_read()
        assert house.accepted.closed == 0
        house.accepted._end_who_does_not_read()
        assert house.accepted.closed == 1
        writer.close()
