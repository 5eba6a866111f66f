"""A whole data node on loopback sockets and real files."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.clock import SystemClock
from ambry.config import load
from ambry.errors import BlobNotFound, ConfigInvalid, StoreMismatch
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.protocol.messages.blobs import GetReply, GetRequest, PutRequest
from datanode.config import DataNodeConfig
from datanode.server import DataNode
from datanode.store.files import OsFiles
from tests.support.rpc_pair import ask
from tests.support.samples import PARTITION, blob_id, content

LONG_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Place:
    """Where one node lives: its layout, its directory, its ports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.layout = root / "layout.json"
        node = {"name": "n1", "host": "127.0.0.1", "port": self.port}
        self.layout.write_text(
            json.dumps(
                {
                    "cluster": "c",
                    "version": 1,
                    "datacenters": [{"name": "dc1", "id": 1, "nodes": [node]}],
                    "partitions": [{"id": PARTITION, "replicas": ["n1"]}],
                }
            )
        )

    def make(self, *overrides: str) -> DataNode:
        config = load(
            DataNodeConfig,
            None,
            env={},
            overrides=[
                "node.name=n1",
                f"node.layout={self.layout}",
                f"node.data_dir={self.root / 'data'}",
                "store.segment_size_bytes=1048576",
                "store.reserve_bytes=0",
                *overrides,
            ],
        )
        return DataNode(config, clock=SystemClock(), random_source=random.Random(1), files=OsFiles())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RpcConnection]:
        """A running node and a connection to it; drained and stopped at the end."""
        stop = asyncio.Event()
        serving = asyncio.ensure_future(self.make().serve(stop))
        try:
            yield await self._connect(serving)
        finally:
            stop.set()
            await asyncio.wait_for(serving, 30)

    async def _connect(self, serving: asyncio.Future[None]) -> RpcConnection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            while not serving.done():
                try:
                    _, made = await loop.create_connection(RpcConnection, "127.0.0.1", self.port)
                    return made
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
        await serving
        raise AssertionError("the node ended")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def put(connection: RpcConnection, number: int, size: int = 1000) -> None:
    data = content(number, size)
    request = PutRequest("r", blob_id(number), 1, 5, NEVER_MS, b"", b"", digest(data), True)
    await ask(connection, MessageType.PUT, request, data)


async def get(connection: RpcConnection, number: int) -> bytes:
    frame = await connection.request(MessageType.GET, GetRequest("r", blob_id(number), 0, 1 << 40), timeout_s=LONG_S)
    assert messages.decode(frame.header, GetReply).present
    return bytes(frame.body)


async def test_a_node_serves_and_comes_back_with_what_it_had(place: Place) -> None:
    async with place.running() as connection:
        await connection.request(MessageType.HELLO, Hello("c", "me", "n1"), timeout_s=LONG_S)
        await asyncio.gather(*(put(connection, number, size=50_000) for number in range(40)))
        assert await get(connection, 7) == content(7, 50_000)
        with pytest.raises(BlobNotFound):
            await get(connection, 99)
    async with place.running() as connection:
        for number in range(40):
            assert await get(connection, number) == content(number, 50_000)


async def test_stopping_answers_what_is_in_flight(place: Place) -> None:
    async with place.running() as connection:
        puts = [asyncio.ensure_future(put(connection, number)) for number in range(50)]
        # One answer shows that the node has read the burst.
        await connection.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    outcomes = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), 30)
    done = [number for number, outcome in enumerate(outcomes) if outcome is None]
    async with place.running() as connection:
        for number in done:
            assert await get(connection, number) == content(number, 1000)


async def test_a_second_node_on_the_same_directory_is_refused(place: Place) -> None:
    async with place.running():
        with pytest.raises(StoreMismatch, match="in use"):
            await place.make().serve(asyncio.Event())


async def test_a_node_that_the_layout_does_not_have_is_refused(place: Place) -> None:
    with pytest.raises(ConfigInvalid, match="n2"):
        place.make("node.name=n2")


async def test_a_port_that_is_taken_is_an_error(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.port))
        taken.listen()
        with pytest.raises(OSError):
            await place.make().serve(asyncio.Event())


async def test_background_work_ends_with_the_node(place: Place) -> None:
    before = asyncio.all_tasks()
    async with place.running() as connection:
        await put(connection, 1)
    quiet: Callable[[], set[asyncio.Task[object]]] = lambda: asyncio.all_tasks() - before  # noqa: E731
    assert quiet() == set()
