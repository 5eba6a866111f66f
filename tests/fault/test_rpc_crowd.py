"""Many connections to the RPC port of one data node (F12, F20): idle ones, and such as let large requests drip in.

What they hold is bounded, and everybody else is served meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ambry.protocol.frame import MessageType, encode_head
from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.clusters import frontend_urls, seed_of
from tests.support.crowd import anonymous_mib, memory_of
from tests.support.load import Load
from tests.support.rest import metric
from tests.support.waiting import eventually

MakeCluster = Callable[..., LocalCluster]

pytestmark = pytest.mark.fault

IDLE = 1_500
DRIPPING = 400
BODY_BYTES = 4 << 20


@contextlib.contextmanager
def connected(node: Member, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each of which sent `first`."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection((node.host, node.port), timeout=30))
            with contextlib.suppress(ConnectionError):
                sock.sendall(first)
            made.append(sock)
        yield made


def pid_of(cluster: LocalCluster, node: Member) -> int:
    pid = cluster.pid(node.name)
    assert pid is not None
    return pid


def loaded(cluster: LocalCluster, history: Path) -> Load:
    return Load(
        frontend_urls(cluster), seed=seed_of("rpc crowd"), history=history, reads=0.3, sizes=[(1, 1_000, 2_000_000)]
    )


def test_idle_connections_hold_little_and_strangers_go(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """1,500 connections that said nothing took 176 MB of a data node, which had no bound on them."""
    cluster = make_cluster(datacenters=1, partitions=2, overrides={"datanode": ["node.connections_max=2000"]})
    node = cluster.nodes()[0]
    pid = pid_of(cluster, node)
    before_mib = anonymous_mib(pid)
    with connected(node, IDLE, b""):
        eventually(
            lambda: metric(node.admin_url, "ambry_datanode_connections") > IDLE // 2, "they are accepted", timeout_s=30
        )
        held_mib = anonymous_mib(pid) - before_mib
        assert held_mib < 40, f"{held_mib} MiB for {IDLE} connections"
        with loaded(cluster, tmp_path / "history.jsonl") as load:
            load.wait_stored(30, timeout_s=60)
        assert not load.failures, load.failures[:3]
        eventually(
            lambda: metric(node.admin_url, "ambry_datanode_connections") < 100, "strangers are closed", timeout_s=60
        )
    print(f"{IDLE} idle connections: {held_mib:.0f} MiB")


def test_large_requests_that_drip_in_hold_no_more_than_their_bound(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Each connection could have 32 MiB under way: a few hundred held all the memory that there was."""
    cluster = make_cluster(datacenters=1, partitions=2, overrides={"datanode": ["node.requests_bytes_max=134217728"]})
    node = cluster.nodes()[0]
    pid = pid_of(cluster, node)
    body = bytes(BODY_BYTES)
    first = encode_head(MessageType.PUT, 1, b"\x90", body, timeout_ms=60_000) + body[:100_000]
    history = tmp_path / "history.jsonl"
    with memory_of(pid) as peak, connected(node, DRIPPING, first) as drips:
        eventually(lambda: metric(node.admin_url, "ambry_datanode_request_bytes") > 30 << 20, "they come", timeout_s=30)
        with loaded(cluster, history) as load:
            load.wait_stored(30, timeout_s=60)
            for sock in drips:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(body[:1_000])
            load.wait_stored(60, timeout_s=60)
        assert not load.failures, load.failures[:3]
    grown_mib = peak.most_mib - peak.before_mib
    assert grown_mib < 220, f"{grown_mib} MiB for {DRIPPING} requests of 4 MiB under way"
    eventually(
        lambda: metric(node.admin_url, "ambry_datanode_request_bytes") < 1 << 20, "it is given back", timeout_s=30
    )
    print(f"{DRIPPING} requests of 4 MiB that drip in: {grown_mib:.0f} MiB")
