"""Clients that take or give their bytes slowly must not stop the others (F20, F21).

Who does nothing holds little: an upload what it sent, a download one small unit once memory gets short. Both are ended after
`body_stall_timeout_s`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.rest import call, metric, put
from tests.support.waiting import eventually

MIB = 1 << 20
BUDGET = 160 * MIB
PATIENCE_S = 3.0


@contextmanager
def idle_clients(cluster: LocalCluster, head: bytes, count: int) -> Iterator[None]:
    """Connections that sent `head` and then neither send nor read; all are being served when the body runs."""
    frontend = cluster.frontends("dc1")[0]
    parts = urlsplit(frontend.url)
    free = "ambry_frontend_memory_budget_free_bytes"
    with ExitStack() as stack:
        for _ in range(count):
            raw = stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.sendall(head)
        in_flight = "ambry_frontend_requests_in_flight"
        eventually(lambda: metric(frontend.admin_url, in_flight) >= count, "all are being served")
        yield
    eventually(lambda: metric(frontend.admin_url, free) == BUDGET, "all of the memory budget given back")


def test_stalled_uploads_do_not_stop_the_others(cluster: LocalCluster, dc1: str) -> None:
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {8 * MIB}\r\n\r\na".encode()
    with idle_clients(cluster, head, BUDGET // (4 * MIB) + 4):
        assert call(dc1, "POST", "/", b"small", timeout_s=PATIENCE_S).status == 201


def test_readers_that_do_not_read_do_not_stop_the_others(cluster: LocalCluster, dc1: str) -> None:
    blob_id = put(dc1, content(40, 40 * MIB))
    head = f"GET /{blob_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with idle_clients(cluster, head, BUDGET // (4 * MIB) + 16):
        assert call(dc1, "POST", "/", b"small", timeout_s=PATIENCE_S).status == 201
        assert len(call(dc1, "GET", f"/{blob_id}", timeout_s=PATIENCE_S).body) == 40 * MIB
