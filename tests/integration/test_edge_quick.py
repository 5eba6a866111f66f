"""Crowds that hold memory, small enough for every run; tests/fault/test_edge_limits.py has the large ones (F20-F22)."""

from __future__ import annotations

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.crowd import anonymous_mib, crowd
from tests.support.rest import call, metric, put

HELD_MIB_MAX = 64.0
UPLOAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\na"
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 16_000) for n in range(60))


@pytest.mark.parametrize(("count", "sent"), [(150, UPLOAD), (60, HEAD)], ids=["stalled uploads", "unfinished heads"])
def test_a_crowd_holds_little_and_others_are_served(cluster: LocalCluster, dc1: str, count: int, sent: bytes) -> None:
    frontend = cluster.frontends("dc1")[0]
    pid = cluster.pid(frontend.name)
    assert pid is not None
    blob_id = put(dc1, content(70, 100_000))
    before = anonymous_mib(pid)
    with crowd(dc1, count, sent):
        assert call(dc1, "POST", "/", b"small").status == 201
        assert call(dc1, "GET", f"/{blob_id}").status == 200
        assert metric(frontend.admin_url, "ambry_frontend_connections") > 0
        assert anonymous_mib(pid) - before < HELD_MIB_MAX
