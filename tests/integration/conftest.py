"""One cluster of real processes for the whole directory: two datacenters of three data nodes and a frontend each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import shared_cluster, wait_until_whole


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    # DEBUG on the data nodes: there a line per write carries the request id.
    with shared_cluster(request, tmp_path_factory, overrides={"datanode": ["log.level=debug"]}) as running:
        wait_until_whole(running)
        yield running


@pytest.fixture(scope="session")
def dc1(cluster: LocalCluster) -> str:
    """The URL of the frontend of the first datacenter."""
    return cluster.frontends("dc1")[0].url


@pytest.fixture(scope="session")
def dc2(cluster: LocalCluster) -> str:
    return cluster.frontends("dc2")[0].url
