"""A frontend of a real cluster that dies at a step (tests/support/upload_steps.py), and another one that is well."""

from __future__ import annotations

import http.client
from contextlib import suppress

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.rest import call
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
        """Ask the first frontend, which dies of it."""
        with suppress(OSError, http.client.HTTPException):
            answer = call(self.url, method, path, body, headers or {})
            pytest.fail(f"it did not die: {answer.status} {answer.body!r}")
        eventually(lambda: self._cluster.pid(self.name) is None, "it died")

    def again(self) -> None:
        self._cluster.start(self.name)
