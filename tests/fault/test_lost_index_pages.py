"""A page of a mapped index that the disk does not give ends the process by SIGBUS, as EIO does; a supervisor starts it again.

The file is cut short under the running node: what is touched behind its end is the same SIGBUS (mmap(2)).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datanode.store.index_file import META_BYTES
from deploy.local_cluster import LocalCluster
from tests.support.clusters import not_caught_up, running_cluster
from tests.support.content import content
from tests.support.replica_reader import Stored, every_copy_is_right, read_copy
from tests.support.rest import get, put
from tests.support.waiting import eventually, settled

NAME = "dc1-n1"
SIZE = 5_000
BLOBS = 60


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path, datacenters=1, partitions=1) as made:
        yield made


@pytest.mark.fault
def test_a_node_that_dies_of_a_page_of_its_index_starts_again_and_has_lost_nothing(cluster: LocalCluster) -> None:
    url = cluster.frontends("dc1")[0].url
    blobs = {put(url, content(number, SIZE)): number for number in range(BLOBS)}
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    cluster.kill(NAME, "TERM")
    cluster.start(NAME)  # what it knows stands in the index alone now
    file = cluster.member(NAME).data_dir / "partition-00000000" / "index" / "data.mdb"
    os.truncate(file, META_BYTES)
    read_copy(cluster, NAME, next(iter(blobs)))
    eventually(lambda: cluster.pid(NAME) is None, "it has ended")
    assert "killed by SIGBUS" in cluster.obituary(NAME)
    for blob, number in blobs.items():
        assert get(url, blob).body == content(number, SIZE)
    cluster.start(NAME)
    log = cluster.member(NAME).log.read_text()
    assert "index damaged, rebuilding from the log" in log
    settled(lambda: not_caught_up(cluster), "it has compared itself with the others")
    stored = [Stored(id=blob, seed=number, size=SIZE) for blob, number in blobs.items()]
    assert every_copy_is_right(cluster, stored) == 3 * len(stored)
