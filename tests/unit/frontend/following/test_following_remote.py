"""Datacenters that ask each other over real sockets: whom they ask, what they are told, and what they are refused."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from ambry.clustermap.model import ClusterMap, Node, Partition
from ambry.errors import AccessDenied, AmbryError, InvalidRequest, Overloaded, StoreMismatch, Unavailable
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Hello, Message
from ambry.protocol.messages.metadata import (
    PAGE_BYTES_MAX,
    LogPlace,
    MetadataHeadReply,
    MetadataHeadRequest,
    MetadataLogReply,
    MetadataLogRequest,
    MetadataNewestRequest,
    RegisterPlace,
)
from ambry.service.listener import bind
from frontend.following import answers as answers_module
from frontend.following.datacenters import OtherDatacenters
from frontend.following.wire import cursor_key
from frontend.metadata import sqlite
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import KEY_BYTES_MAX, SPACE_MAX, VALUE_BYTES_MAX, MetadataStore, Put, Stamp, Version
from tests.support.following import SCOPE, everything, stores
from tests.support.http_frontend import until
from tests.support.introductions import introduction
from tests.support.samples import CLUSTER

NAME = Space.NAME
OF_NO_KIND = MetadataNewestRequest(2, [RegisterPlace(99, 1, b"k")])


class Running:
    """The frontends of datacenters 1 and 2, in this process; two of the second."""

    def __init__(self, found: list[MetadataStore]) -> None:
        self.stores = found
        self._sockets = {name: bind("127.0.0.1", 0) for name in ("f1", "f2", "f3")}
        self.ports = {name: sockets[0].getsockname()[1] for name, sockets in self._sockets.items()}
        numbers = {"f1": 1, "f2": 2, "f3": 2}
        nodes = [
            Node(name=name, datacenter=f"dc{numbers[name]}", datacenter_id=numbers[name], host="127.0.0.1", port=port)
            for name, port in self.ports.items()
        ]
        self.map = ClusterMap(
            cluster=CLUSTER,
            version=1,
            datacenters={"dc1": 1, "dc2": 2},
            partitions=[Partition(id=0, replicas=(nodes[0],))],
            frontends=nodes,
        )
        self.frontends = {name: self._frontend(name, found[number - 1]) for name, number in numbers.items()}

    def _frontend(self, name: str, store: MetadataStore) -> OtherDatacenters:
        clock = SystemClock()
        return OtherDatacenters(
            store,
            self.map,
            introduction(name, clock=clock),
            Leases(store, clock=clock, owner=name.encode() * 8),
            within_s=2.0,
            clock=clock,
            random_source=random.Random(1),
        )

    async def start(self) -> None:
        for name, frontend in self.frontends.items():
            await frontend.start(self._sockets[name])

    async def connected(self, name: str, count: int) -> None:
        """Until a frontend is connected to so many others."""

        def now() -> bool:
            lines = self.frontends[name].describe()
            return bool(sum(peer["connected"] for line in lines for peer in line["frontends"]) == count)

        await until(now, "connected")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with stores(tmp_path, [SystemClock(), SystemClock()]) as found:
        made = Running(found)
        await made.start()
        try:
            await made.connected("f1", 2)
            yield made
        finally:
            for frontend in made.frontends.values():
                await frontend.stop()


@contextlib.asynccontextmanager
async def caller(running: Running, name: str = "f2", *, hello: Hello | None = None) -> AsyncIterator[RpcConnection]:
    """A connection to a frontend, which said a hello."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(RpcConnection, "127.0.0.1", running.ports[name])
    try:
        if hello is not None:
            await connection.request(MessageType.HELLO, hello, timeout_s=5)
        yield connection
    finally:
        connection.abort()


async def ask(connection: RpcConnection, type: MessageType, message: Message) -> Frame:
    return await connection.request(type, message, timeout_s=10)


async def test_a_change_comes_to_another_datacenter_while_it_polls(running: Running) -> None:
    here, there = running.stores
    (follower,) = running.frontends["f1"].followers
    await there.write([Put(NAME, SCOPE, b"before", b"1")])
    await follower.tick()
    polling = asyncio.create_task(follower.tick())
    await there.write([Put(NAME, SCOPE, b"a", b"1")])
    await polling
    while follower.behind_versions or not await here.get(NAME, SCOPE, b"a"):
        await follower.tick()
    assert await everything(here) == await everything(there)


async def test_a_version_that_no_store_can_hold_comes_over_the_wire_and_holds_up_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = running.stores
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "check_merge", lambda _versions: None)
        value = b"v" * (VALUE_BYTES_MAX + 1)
        await there.merge([Version(SPACE_MAX + 1, SCOPE, b"k" * (KEY_BYTES_MAX + 1), Stamp(9, 1 << 16), value, 0)])
    (follower,) = running.frontends["f1"].followers
    await follower.tick()  # its cursor stands at one of them now
    await there.write([Put(NAME, SCOPE, b"behind", b"v")])
    await follower.tick()
    assert (follower.merged, follower.error) == (1, "")
    assert await here.get(NAME, SCOPE, b"behind") is not None


async def test_when_the_frontend_that_is_followed_goes_another_of_its_datacenter_is(running: Running) -> None:
    here, there = running.stores
    (follower,) = running.frontends["f1"].followers
    await there.write([Put(NAME, SCOPE, b"a", b"1")])
    await follower.tick()
    for name in ("f2", "f3"):
        await running.frontends[name].stop()
        await there.write([Put(NAME, SCOPE, name.encode(), b"1")])
        if name == "f3":
            break
        async with asyncio.timeout(10):
            while await here.get(NAME, SCOPE, name.encode()) is None:  # noqa: ASYNC110  the follower is what is waited for
                await asyncio.sleep(await follower.tick())
    assert await follower.tick() > 0
    assert follower.describe()["error"]


async def test_what_is_not_here_is_asked_of_another_datacenter_and_stays(running: Running) -> None:
    here, there = running.stores
    await there.write([Put(NAME, SCOPE, b"a", b"1")])
    everywhere = running.frontends["f1"].everywhere
    found = await everywhere.newest(NAME, SCOPE, b"a")
    assert found is not None
    assert found.value == b"1"
    assert await here.get(NAME, SCOPE, b"a") == found
    assert await everywhere.newest(NAME, SCOPE, b"b") is None
    await running.frontends["f2"].stop()
    await running.connected("f1", 1)
    assert await everywhere.newest(NAME, SCOPE, b"b") is None
    await running.frontends["f3"].stop()
    await running.connected("f1", 0)
    with pytest.raises(Unavailable, match="dc2") as refused:
        await everywhere.newest(NAME, SCOPE, b"b")
    assert refused.value.retry_after_s
    assert await everywhere.newest(NAME, SCOPE, b"a") == found


async def test_a_page_of_large_values_ends_at_so_many_bytes_and_loses_none(running: Running) -> None:
    here, there = running.stores
    for number in range(40):
        await there.write([Put(NAME, SCOPE, b"%02d" % number, bytes([number]) * VALUE_BYTES_MAX)])
    async with caller(running, hello=Hello(CLUSTER, "x")) as connection:
        frame = await ask(connection, MessageType.METADATA_LOG, MetadataLogRequest(2))
        reply = messages.decode(frame.header, MetadataLogReply)
        assert len(reply.versions) == PAGE_BYTES_MAX // VALUE_BYTES_MAX
        assert reply.end_seq == 40
        assert reply.next is not None
        assert reply.next.seq == len(reply.versions)
    (follower,) = running.frontends["f1"].followers
    pages = 0
    while follower.merged < 40:
        await follower.tick()
        pages += 1
    assert pages == 3
    assert await everything(here) == await everything(there)


async def test_a_place_of_another_log_begins_anew_and_the_next_does_not(running: Running) -> None:
    _, there = running.stores
    await there.write([Put(NAME, SCOPE, b"a", b"1")])
    async with caller(running, hello=Hello(CLUSTER, "x")) as connection:
        request = MetadataLogRequest(2, LogPlace(b"?" * 16, 700, 1, 2), wait_ms=10_000)
        reply = messages.decode((await ask(connection, MessageType.METADATA_LOG, request)).header, MetadataLogReply)
        assert reply.started_over
        assert [version.key for version in reply.versions] == [b"a"]
        request = MetadataLogRequest(2, reply.next)
        reply = messages.decode((await ask(connection, MessageType.METADATA_LOG, request)).header, MetadataLogReply)
        assert (reply.started_over, reply.versions, reply.end_seq) == (False, [], 1)


async def test_a_head_tells_how_far_others_are_followed(running: Running) -> None:
    here, there = running.stores
    await there.write([Put(NAME, SCOPE, b"a", b"1")])
    (follower,) = running.frontends["f1"].followers
    await follower.tick()
    assert await here.local(LocalSpace.CURSOR, cursor_key(2)) is not None
    async with caller(running, "f1", hello=Hello(CLUSTER, "x")) as connection:
        frame = await ask(connection, MessageType.METADATA_HEAD, MetadataHeadRequest(1))
    reply = messages.decode(frame.header, MetadataHeadReply)
    head = await there.head()
    assert reply.seq == 1
    assert [(each.datacenter, each.store, each.seq) for each in reply.followed] == [(2, head.store, 1)]


@pytest.mark.parametrize(
    ("hello", "type", "message", "error"),
    [
        (None, MessageType.METADATA_HEAD, MetadataHeadRequest(2), AccessDenied),
        (None, MessageType.METADATA_LOG, MetadataLogRequest(2), AccessDenied),
        (Hello(CLUSTER, "x"), MessageType.METADATA_HEAD, MetadataHeadRequest(1), StoreMismatch),
        (
            Hello(CLUSTER, "x"),
            MessageType.METADATA_NEWEST,
            MetadataNewestRequest(2, [RegisterPlace(99, 1, b"k")]),
            InvalidRequest,
        ),
        (Hello("another", "x"), MessageType.METADATA_HEAD, MetadataHeadRequest(2), StoreMismatch),
        (Hello(CLUSTER, "x", expected="f3"), MessageType.METADATA_HEAD, MetadataHeadRequest(2), StoreMismatch),
    ],
)
async def test_strangers_and_requests_for_others_are_refused(
    running: Running, hello: Hello | None, type: MessageType, message: Message, error: type[AmbryError]
) -> None:
    with pytest.raises(error):
        async with caller(running, hello=hello) as connection:
            await ask(connection, type, message)


async def test_polls_beyond_the_bound_are_refused_and_the_others_wait_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "WAITING_MAX", 2)
    async with caller(running, hello=Hello(CLUSTER, "x")) as connection:
        request = MetadataLogRequest(2, wait_ms=9_000)
        waiting = [asyncio.create_task(ask(connection, MessageType.METADATA_LOG, request)) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(Overloaded):
            done.pop().result()
        await running.stores[1].write([Put(NAME, SCOPE, b"a", b"1")])
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(outcome, Frame) for outcome in outcomes) == 2


async def test_a_place_that_another_way_leads_to_is_none_of_the_log(running: Running) -> None:
    """A store that was put back wrote something, and was told again by a reader what stands behind: the cursor fitted."""
    there = running.stores[1]
    await there.write([Put(NAME, SCOPE, b"a", b"1")])
    await there.write([Put(NAME, SCOPE, b"b", b"1")])
    first, second = (await there.log()).versions
    store = (await there.head()).store
    place = LogPlace(store, second.seq, second.stamp.time, second.stamp.datacenter)
    before = LogPlace(store, first.seq, first.stamp.time, first.stamp.datacenter)
    other = LogPlace(store, first.seq, first.stamp.time + 1, first.stamp.datacenter)
    async with caller(running, hello=Hello(CLUSTER, "x")) as connection:
        for trail, started_over in (([before, place], False), ([other, place], True)):
            request = MetadataLogRequest(2, place, trail=trail)
            reply = messages.decode((await ask(connection, MessageType.METADATA_LOG, request)).header, MetadataLogReply)
            assert reply.started_over is started_over
            assert len(reply.versions) == (2 if started_over else 0)
