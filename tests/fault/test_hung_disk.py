"""F13 on real processes: the disk of a data node hangs, page faults of its indexes included, and nothing else does.

One page of a mapped index that did not come stopped a whole node: its pings, so that everybody who had asked it waited, and its
admin port, so that nobody could see why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from ambry.network.connection import RpcConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, Hello
from deploy.local_cluster import LocalCluster
from tests.support.clusters import not_caught_up, running_cluster
from tests.support.content import content
from tests.support.hung_disk import HungDisk, waits_for_a_disk, why_impossible
from tests.support.replica_reader import Copy, Stored, every_copy_is_right, read_copy
from tests.support.rest import call, get, metric, page, put
from tests.support.waiting import eventually, settled

NAME = "dc1-n1"
SIZE = 30_000
BLOBS = 40
ASKED_AT_ONCE = 8


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path, datacenters=1, partitions=2) as made:
        yield made


@pytest.fixture
def disk(cluster: LocalCluster, tmp_path: Path) -> Iterator[HungDisk]:
    """That of one data node."""
    if why := why_impossible():
        pytest.skip(why)
    cluster.kill(NAME)
    made = HungDisk(tmp_path / "disk.img", cluster.member(NAME).data_dir)
    try:
        made.take_over()
        cluster.start(NAME)
        yield made
    finally:
        cluster.kill(NAME)
        made.close()


def ping(cluster: LocalCluster, name: str) -> None:
    """Over the RPC, as its peers do."""

    async def ask() -> None:
        node = cluster.member(name)
        _, connection = await asyncio.get_running_loop().create_connection(RpcConnection, node.host, node.port)
        await connection.request(MessageType.HELLO, Hello(cluster.shape.cluster, "test-ping", name), timeout_s=10)
        await connection.request(MessageType.PING, Empty(), timeout_s=10)
        connection.abort()

    asyncio.run(ask())


@pytest.mark.fault
def test_a_node_whose_disk_hangs_answers_and_costs_the_others_nothing(cluster: LocalCluster, disk: HungDisk) -> None:
    url = cluster.frontends("dc1")[0].url
    admin = cluster.member(NAME).admin_url
    blobs = {put(url, content(number, SIZE)): number for number in range(BLOBS)}
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    cluster.kill(NAME, "TERM")
    cluster.start(NAME)  # what it knows stands on the disk alone now
    pid = cluster.pid(NAME)
    assert pid is not None
    disk.watch(pid)
    disk.forget_pages()
    disk.hang()
    with ThreadPoolExecutor(ASKED_AT_ONCE) as askers:
        hanging: list[Future[Copy]] = [
            askers.submit(read_copy, cluster, NAME, blob) for blob in list(blobs)[:ASKED_AT_ONCE]
        ]
        try:
            eventually(lambda: waits_for_a_disk(pid), "a thread of the node waits for its disk")
            ping(cluster, NAME)
            assert metric(admin, "ambry_datanode_replicas_fenced_total") == 0
            assert {item["state"] for item in page(admin, "/partitions")} == {"open"}
            for blob, number in blobs.items():
                assert get(url, blob).body == content(number, SIZE)
            more = {put(url, content(number, SIZE)): number for number in range(BLOBS, BLOBS + 10)}
            for blob, number in more.items():
                assert get(url, blob).body == content(number, SIZE)
            deleted = [blob for blob, number in blobs.items() if number < 5]
            for blob in deleted:
                assert call(url, "DELETE", f"/{blob}").status == 202
            eventually(lambda: metric(admin, "ambry_datanode_disk_hangs_seconds") > 0, "it says that its disk hangs")
            assert waits_for_a_disk(pid), "it hung all the while"
            ping(cluster, NAME)
        finally:
            disk.go_on()
    for future in hanging:
        # "unsure": it came when the node knew already that its disk hangs, and was refused.
        assert future.result().held in ("present", "unreachable", "unsure"), "it never says that it does not have it"
    eventually(lambda: metric(admin, "ambry_datanode_disk_hangs_seconds") == 0, "and that it does no more")
    settled(lambda: not_caught_up(cluster), "it has heard of everything that it missed")
    everything = blobs | more
    stored = [Stored(id=blob, seed=number, size=SIZE) for blob, number in everything.items() if blob not in deleted]
    assert every_copy_is_right(cluster, stored) == 3 * len(stored)
    for blob in deleted:
        assert get(url, blob).status == 410
