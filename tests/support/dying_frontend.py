"""A frontend of a real cluster that dies at a step (tests/support/upload_steps.py), and another one that is well."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.rest import TIMEOUT_S
from tests.support.upload_steps import STEP
from tests.support.waiting import eventually


class Dying:
    """The first frontend dies at a step; the second one is well."""

    def __init__(self, cluster: LocalCluster, step: str) -> None:
        self._cluster = cluster
        first, second = cluster.frontends()
        self.name, self.url, self.other = first.name, first.url, second.url
        if cluster.pid(first.name) is not None:
            cluster.kill(first.name)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(STEP, step)
            cluster.start(first.name)

    def dies(self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Ask the first frontend, which dies of it.

        In one write: a body that comes apart from its head is not taken the short way, and some steps are of that.
        """
        parts = urlsplit(self.url)
        fields = {"Host": parts.netloc, "Content-Length": str(len(body)), **(headers or {})}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        with suppress(OSError), socket.create_connection((parts.hostname, parts.port), TIMEOUT_S) as client:
            client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            if answer := client.recv(4_096):
                pytest.fail(f"it did not die: {answer!r}")
        eventually(lambda: self._cluster.pid(self.name) is None, "it died")

    def again(self) -> None:
        self._cluster.start(self.name)
