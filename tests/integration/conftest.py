"""One cluster of real processes for the whole directory: two datacenters of three data nodes and a frontend each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import not_caught_up, shared_cluster
from tests.support.rest import metric
from tests.support.waiting import eventually, settled


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    # DEBUG on the data nodes: there a line per write carries the request id.
    with shared_cluster(request, tmp_path_factory, overrides={"datanode": ["log.level=debug"]}) as running:
        # A frontend is ready when it reaches its own datacenter; these tests look at both from the start.
        for frontend in running.frontends():
            peers_usable = partial(metric, frontend.admin_url, "ambry_frontend_peers_usable")
            eventually(lambda usable=peers_usable: usable() == 6, f"{frontend.name} reaches every data node")  # type: ignore[misc]
        settled(lambda: not_caught_up(running), "every replica has caught up with its peers")
        yield running


@pytest.fixture(scope="session")
def dc1(cluster: LocalCluster) -> str:
    """The URL of the frontend of the first datacenter."""
    return cluster.frontends("dc1")[0].url


@pytest.fixture(scope="session")
def dc2(cluster: LocalCluster) -> str:
    return cluster.frontends("dc2")[0].url
