"""What one end of an RPC connection does to the other when it stops, or reads nothing (F37), on real data nodes.

The same at the level of one connection: tests/unit/ambry/network.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.errors import AmbryError, BlobNotFound, DeadlineExceeded, ReplicaUnavailable
from ambry.ids import BlobId, IdKind
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello, Message
from ambry.protocol.messages.blobs import GetRequest, PutRequest
from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.content import content
from tests.support.rest import call, everywhere, put
from tests.support.rpc_pair import ask
from tests.support.waiting import eventually

MakeCluster = Callable[..., LocalCluster]
LONG_S = 60.0
UNREAD_GROWTH_MAX = 128 << 20
"""Of the memory of a node whose answers nobody reads: 1.6 GB once."""


def rss(pid: int) -> int:
    """Anonymous resident memory of a process, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no RssAnon of {pid}")


def stopped(pid: int) -> bool:
    """A signal stops one thread after the other."""
    return all(") T " in (task / "stat").read_text("ascii") for task in Path(f"/proc/{pid}/task").iterdir())


def hello(cluster: LocalCluster, node: Member) -> Hello:
    return Hello(cluster.describe().cluster, "test", node.name)


def put_of(number: int, partition: int) -> PutRequest:
    raw = BlobId.make(
        kind=IdKind.SIMPLE,
        datacenter=1,
        account=1,
        container=1,
        partition=partition,
        uuid=number.to_bytes(6, "big") + b"\x70\x00\x80" + bytes(7),
    ).raw
    return PutRequest("r", raw, 1, 1, NEVER_MS, b"\x01\x80", b"", digest(content(number, 1000)), True)


async def late_puts(cluster: LocalCluster, node: Member) -> None:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(RpcConnection, node.host, node.port)
    await connection.request(MessageType.HELLO, hello(cluster, node), timeout_s=LONG_S)
    await ask(connection, MessageType.PUT, put_of(1, 0), content(1, 1000))
    cluster.kill(node.name, signal.SIGSTOP)
    eventually(lambda: stopped(cluster.pid(node.name) or 0), "every thread of it stands still")
    ended: list[Frame | AmbryError] = []
    try:
        for number in range(2, 12):
            connection.call(MessageType.PUT, put_of(number, 0), ended.append, timeout_s=0.3, body=content(number, 1000))
        # Ends so much later that nobody can call the others timely.
        connection.call(MessageType.PING, Empty(), ended.append, timeout_s=1.5)
        async with asyncio.timeout(LONG_S):
            while len(ended) < 11:  # noqa: ASYNC110 - callbacks count, nothing tells
                await asyncio.sleep(0.02)
        assert {type(outcome) for outcome in ended} == {DeadlineExceeded}
        assert connection.in_flight_bytes == 10 * 1000
    finally:
        cluster.kill(node.name, signal.SIGCONT)
    async with asyncio.timeout(LONG_S):
        while connection.in_flight_bytes:  # noqa: ASYNC110 - the late answers
            await asyncio.sleep(0.02)
    for number in range(2, 12):
        with pytest.raises((BlobNotFound, ReplicaUnavailable)):  # with authority or, so soon after its start, without
            await connection.request(MessageType.GET, GetRequest("r", put_of(number, 0).id, 0, 1), timeout_s=LONG_S)
    await connection.request(MessageType.GET, GetRequest("r", put_of(1, 0).id, 0, 1), timeout_s=LONG_S)
    connection.abort()


def test_a_node_that_was_stopped_does_not_carry_out_what_nobody_waits_for(make_cluster: MakeCluster) -> None:
    """It did, on waking: puts that had been answered 503 long before."""
    cluster = make_cluster(datacenters=1, partitions=1)
    node = cluster.nodes()[0]
    asyncio.run(late_puts(cluster, node))
    metrics = call(node.admin_url, "GET", "/metrics").body.decode()
    assert 'ambry_datanode_requests_total{outcome="DeadlineExceeded",type="put"} 10.0' in metrics


def frame(type: MessageType, number: int, message: Message) -> bytes:
    return encode_head(type, number, messages.encode(message))


def test_answers_that_nobody_reads_do_not_fill_a_nodes_memory(make_cluster: MakeCluster) -> None:
    """16 KB of requests for 4 MiB each took it from 32 to 1,635 MB."""
    cluster = make_cluster(datacenters=1, partitions=1)
    url = cluster.frontends()[0].url
    blob_id = BlobId.parse(put(url, content(1, 4 << 20)))
    eventually(lambda: everywhere(url, str(blob_id)), "the blob on every node")
    node = cluster.nodes()[0]
    pid = cluster.pid(node.name)
    assert pid is not None
    before = rss(pid)
    get = GetRequest("r", blob_id.raw, 0, 4 << 20)
    with socket.create_connection((node.host, node.port)) as client:
        client.sendall(frame(MessageType.HELLO, 1, hello(cluster, node)))
        client.sendall(b"".join(frame(MessageType.GET, number, get) for number in range(2, 152)))
        seen: list[int] = []

        def at_rest() -> bool:
            seen.append(rss(pid))
            return len(seen) > 20 and max(seen[-20:]) - min(seen[-20:]) < 1 << 20

        eventually(at_rest, "the node reads no further")
        growth = max(seen) - before
        print(f"grew by {growth >> 20} MiB")
        assert growth < UNREAD_GROWTH_MAX
        # Others are served meanwhile.
        assert call(url, "GET", f"/{blob_id}").status == 200
        # And so is this one, once it reads.
        left = 150 * (4 << 20)
        client.settimeout(LONG_S)
        while left > 0:
            left -= len(client.recv(1 << 20))
