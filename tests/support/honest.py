"""A client with a key that does nothing but what it should, on a connection in use, and what its calls take."""

from __future__ import annotations

import time
from typing import NamedTuple

from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.crowd import Others, Steady
from tests.support.rest import call
from tests.support.strangers import trusted

SIZE = 4096
TIMEOUT_S = 60.0


class Front(NamedTuple):
    """A frontend as its clients and its machine see it."""

    address: tuple[str, int]
    admin_url: str
    pid: int


def frontend_of(cluster: LocalCluster) -> Front:
    """The first one."""
    frontend = cluster.frontends()[0]
    pid = cluster.pid(frontend.name)
    assert pid is not None
    return Front((frontend.host, frontend.port), frontend.admin_url, pid)


class Honest:
    """Puts and gets 4 KiB at a time."""

    def __init__(self, cluster: LocalCluster) -> None:
        assert cluster.key is not None
        self.key = cluster.key
        self._own = {"Authorization": f"Bearer {self.key}"}
        self._url = cluster.frontends()[0].url
        self._tls = trusted(cluster)
        self._body = content(11, SIZE)
        self._steady = Steady(self._url, timeout_s=TIMEOUT_S, headers=self._own, tls=self._tls)

    def put(self, body: bytes) -> str:
        """Store something on a connection of its own; returns its id."""
        return call(self._url, "POST", "/", body, self._own, tls=self._tls).blob_id

    def calls(self, count: int) -> list[str]:
        """So many puts and gets, each on a connection of its own too; what failed."""
        seen = self.look(0.0, least=count)
        failed = list(seen.failures)
        for _ in range(count // 4):
            status = call(self._url, "GET", "/healthz", timeout_s=TIMEOUT_S, tls=self._tls).status
            failed += [] if status == 200 else [str(status)]
        return failed

    def look(self, seconds: float, *, least: int = 50) -> Others:
        """Puts and gets for so long, and at least so many, on a connection that is new: one that idled may have been ended."""
        self._steady.close()
        self._steady.call("GET", "/healthz", None, Others())
        seen = Others()
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(seen.seconds) < least:
            path = self._steady.call("POST", "/", self._body, seen)
            if path:
                self._steady.call("GET", path, None, seen)
        return seen
