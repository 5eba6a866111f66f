"""A whole data node on loopback sockets and real files."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
import pytest

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.clock import SystemClock
from ambry.config import load
from ambry.errors import AmbryError, BlobNotFound, ConfigInvalid, DeadlineExceeded, ReplicaUnavailable, StoreMismatch
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.protocol.messages.blobs import GetReply, GetRequest, PutRequest
from datanode import committer as committer_module
from datanode import disk as disk_module
from datanode import lookups as lookups_module
from datanode.config import DataNodeConfig
from datanode.server import DataNode
from datanode.store.files import Files, OsFile, OsFiles, OsLock
from datanode.upkeep import hangs as hangs_module
from tests.support.ports import free_ports
from tests.support.rpc_pair import ask
from tests.support.samples import PARTITION, blob_id, content

T = TypeVar("T")
LONG_S = 60.0


class Place:
    """Where one node lives: its layout, its directory, its ports."""

    def __init__(self, root: Path, *, partitions: tuple[int, ...] = (PARTITION,), files: Files | None = None) -> None:
        self.root = root
        self.port, self.admin_port = free_ports(2)
        self.layout = root / f"layout-{self.port}.json"
        self.files = files or OsFiles()
        node = {"name": "n1", "host": "127.0.0.1", "port": self.port}
        self.layout.write_text(
            json.dumps(
                {
                    "cluster": "c",
                    "version": 1,
                    "datacenters": [{"name": "dc1", "id": 1, "nodes": [node]}],
                    "partitions": [{"id": partition, "replicas": ["n1"]} for partition in partitions],
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
                f"node.admin_port={self.admin_port}",
                *overrides,
            ],
        )
        return DataNode(config, clock=SystemClock(), random_source=random.Random(1), files=self.files)

    @asynccontextmanager
    async def running(self, *, ready: bool = True) -> AsyncIterator[RpcConnection]:
        """A running node and a connection to it, with `ready` all of it open; drained and stopped at the end."""
        stop = asyncio.Event()
        serving = asyncio.ensure_future(self.make().serve(stop))
        try:
            connection = await self._connect(serving)
            if ready:
                await self.until_ready()
            yield connection
        finally:
            stop.set()
            await asyncio.wait_for(serving, 60)

    async def page(self, path: str) -> Any:
        """A page of the admin port, whatever its status."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.admin_port}{path}") as answer,
        ):
            return await answer.json()

    async def until_ready(self) -> None:
        async with asyncio.timeout(60):
            while not (await self.page("/readyz"))["ready"]:  # noqa: ASYNC110 - there is nothing to wait on
                await asyncio.sleep(0.005)

    async def _connect(self, serving: asyncio.Future[None]) -> RpcConnection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
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


async def put(
    connection: RpcConnection, number: int, size: int = 1000, *, partition: int = PARTITION, timeout_s: float = LONG_S
) -> None:
    data = content(number, size)
    request = PutRequest("r", blob_id(number, partition=partition), 1, 5, NEVER_MS, b"", b"", digest(data), True)
    await ask(connection, MessageType.PUT, request, data, timeout_s=timeout_s)


async def get(connection: RpcConnection, number: int, *, partition: int = PARTITION) -> bytes:
    request = GetRequest("r", blob_id(number, partition=partition), 0, 1 << 40)
    frame = await connection.request(MessageType.GET, request, timeout_s=LONG_S)
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


class SlowDisk(OsFiles):
    """One whose directory of partition 8 hangs when it is looked at, until `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def lock(self, path: Path) -> OsLock:
        if "partition-00000008" in str(path):
            self.go.wait(60)
        return super().lock(path)


async def test_ports_first_and_replicas_as_they_come(tmp_path: Path) -> None:
    """Nothing of a node served, and nobody could ask it what it was at, until its last replica was open."""
    place = Place(tmp_path, partitions=(PARTITION, 8))
    async with place.running() as connection:
        await put(connection, 1)
        await put(connection, 2, partition=8)
    place.files = disk = SlowDisk()
    async with place.running(ready=False) as connection:
        try:
            await eventually_async(lambda: get(connection, 1), content(1, 1000))
            for _ in range(3):
                with pytest.raises(ReplicaUnavailable, match="is opening, try again"):
                    await get(connection, 2, partition=8)
            opening, open_one = await place.page("/partitions")
            assert (opening["partition"], opening["state"]) == (8, "opening")
            assert opening["progress"]["step"] == "reading what there is"
            # Operators are told to wait for these two; that they were not there broke their scripts.
            assert (opening["serving"], opening["put_back"]) == (False, "")
            assert (open_one["partition"], open_one["state"]) == (PARTITION, "open")
            (reason,) = (await place.page("/readyz"))["reasons"]
            assert reason == "partition 8 is opening: reading what there is"
        finally:
            disk.go.set()
        await place.until_ready()
        assert await get(connection, 2, partition=8) == content(2, 1000)


async def test_a_node_that_is_stopped_while_it_opens_its_replicas_ends(tmp_path: Path) -> None:
    disk = SlowDisk()
    place = Place(tmp_path, partitions=(PARTITION, 8), files=disk)
    async with place.running(ready=False):
        await eventually_async(lambda: states(place), {PARTITION: "open", 8: "opening"})
        disk.go.set()
    place.files = OsFiles()
    async with place.running():
        assert await states(place) == {PARTITION: "open", 8: "open"}


async def states(place: Place) -> dict[int, str]:
    return {item["partition"]: item["state"] for item in await place.page("/partitions")}


async def eventually_async(ask: Callable[[], Awaitable[T]], wanted: T) -> None:
    """Until `ask` gives what is wanted; an error is not it."""
    async with asyncio.timeout(60):
        while True:
            with suppress(AmbryError):
                if await ask() == wanted:
                    return
            await asyncio.sleep(0.005)


async def test_stopping_answers_what_is_in_flight(place: Place) -> None:
    async with place.running() as connection:
        puts = [asyncio.ensure_future(put(connection, number)) for number in range(50)]
        # One answer shows that the node has read the burst.
        await connection.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    outcomes = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), 60)
    done = [number for number, outcome in enumerate(outcomes) if outcome is None]
    async with place.running() as connection:
        for number in done:
            assert await get(connection, number) == content(number, 1000)


async def test_a_second_node_on_the_same_directory_is_refused(place: Place) -> None:
    async with place.running():
        with pytest.raises(StoreMismatch, match="in use"):
            await Place(place.root).make().serve(asyncio.Event())


async def test_a_node_that_the_layout_does_not_have_is_refused(place: Place) -> None:
    with pytest.raises(ConfigInvalid, match="n2"):
        place.make("node.name=n2")


async def test_a_port_that_is_taken_is_an_error(place: Place) -> None:
    with (
        socket.create_server(("127.0.0.1", place.port)),
        pytest.raises(
            OSError, match=f"cannot listen on 127.0.0.1:{place.port}: address already in use; another process"
        ),
    ):
        await place.make().serve(asyncio.Event())


async def test_background_work_ends_with_the_node(place: Place) -> None:
    before = asyncio.all_tasks()
    async with place.running() as connection:
        await put(connection, 1)
    quiet: Callable[[], set[asyncio.Task[object]]] = lambda: asyncio.all_tasks() - before  # noqa: E731
    assert quiet() == set()


class HungWrites(OsFiles):
    """A disk whose syncs of partition 8 hang, until `go`; `begun` when one does."""

    def __init__(self) -> None:
        self.hangs = False
        self.begun = threading.Event()
        self.go = threading.Event()

    def open(self, path: Path) -> OsFile:
        return cast(OsFile, HungFile(super().open(path), self, path))

    def create(self, path: Path) -> OsFile:
        return cast(OsFile, HungFile(super().create(path), self, path))


class HungFile:
    def __init__(self, file: OsFile, disk: HungWrites, path: Path) -> None:
        self._file = file
        self._disk = disk
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def fdatasync(self) -> None:
        if self._disk.hangs and "partition-00000008" in str(self._path):
            self._disk.begun.set()
            self._disk.go.wait(60)
        self._file.fdatasync()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk counts as hung sooner than it does for users."""
    for module in (disk_module, committer_module, lookups_module, hangs_module):
        monkeypatch.setattr(module, "HANGS_AFTER_S", 0.3)
    monkeypatch.setattr(hangs_module, "HELD_UP_S", 0.1)


async def test_a_partition_whose_disk_hangs_is_refused_and_the_others_are_served(tmp_path: Path, soon: None) -> None:
    disk = HungWrites()
    place = Place(tmp_path, partitions=(PARTITION, 8), files=disk)
    async with place.running() as connection:
        await put(connection, 1, partition=8)
        disk.hangs = True
        on_its_way = asyncio.ensure_future(put(connection, 2, partition=8))
        assert await asyncio.to_thread(disk.begun.wait, 30)
        with pytest.raises(DeadlineExceeded):
            await put(connection, 3, partition=8, timeout_s=0.1)
        await eventually_async(in_flight(connection), 1000)
        await until_page(
            place, "/readyz", lambda page: any("hangs: 1 of its threads" in why for why in page["reasons"])
        )
        with pytest.raises(ReplicaUnavailable, match="hangs; nothing was written"):
            await put(connection, 4, partition=8)
        await put(connection, 1)
        assert await get(connection, 1) == content(1, 1000)
        assert await get(connection, 1, partition=8) == content(1, 1000)
        disk.go.set()
        await on_its_way
        await place.until_ready()
        await put(connection, 4, partition=8)
        for number in (1, 2, 4):
            assert await get(connection, number, partition=8) == content(number, 1000)
        with pytest.raises(BlobNotFound):
            await get(connection, 3, partition=8)


async def test_a_node_whose_disk_hangs_can_be_stopped(tmp_path: Path, soon: None) -> None:
    """The threads of its disk were waited for, for ever."""
    disk = HungWrites()
    place = Place(tmp_path, partitions=(PARTITION, 8), files=disk)
    with pytest.raises(ReplicaUnavailable, match=r"ends without a last checkpoint: the disk of .*data hangs"):
        async with place.running() as connection:
            disk.hangs = True
            on_its_way = asyncio.ensure_future(put(connection, 2, partition=8))
            assert await asyncio.to_thread(disk.begun.wait, 30)
    disk.go.set()
    await on_its_way


def in_flight(connection: RpcConnection) -> Callable[[], Awaitable[int]]:
    """What counts as not answered on a connection, in bytes."""

    async def bytes_now() -> int:
        return connection.in_flight_bytes

    return bytes_now


async def until_page(place: Place, path: str, holds: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds(await place.page(path)):  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.01)
