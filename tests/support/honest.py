"""A client with a key that does nothing but what it should, on a connection in use, and what its calls take."""

from __future__ import annotations

import http.client
import time
from typing import NamedTuple

from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.crowd import Others
from tests.support.rest import call, connect
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
        self._connection = connect(self._url, TIMEOUT_S, self._tls)

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
        self._connection.close()
        self._call("GET", "/healthz", None, Others())
        seen = Others()
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(seen.seconds) < least:
            path = self._call("POST", "/", self._body, seen)
            if path:
                self._call("GET", path, None, seen)
        return seen

    def _call(self, method: str, path: str, body: bytes | None, seen: Others) -> str:
        began = time.monotonic()
        location = ""
        try:
            self._connection.request(method, path, body=body, headers=self._own)
            response = self._connection.getresponse()
            response.read()
            location = response.headers.get("Location", "")
            if response.status not in (200, 201):
                seen.failures.append(str(response.status))
        except (OSError, http.client.HTTPException) as error:
            seen.failures.append(f"{type(error).__name__}: {error}")
            self._connection.close()
            self._connection = connect(self._url, TIMEOUT_S, self._tls)
        seen.seconds.append(time.monotonic() - began)
        return location
