"""Blobs that a replica lost and no log tells of any more: found by comparing digests, and got (C9).

They are taken out of the index of a stopped node, digests and all, as a bug would do it: the node starts cleanly, its cursors
stand at the end of every log, and it has authority.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from datanode.store.files import OsFiles
from datanode.store.index import Index
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, not_caught_up
from tests.support.commands import replication
from tests.support.content import content
from tests.support.replica_reader import Stored, every_copy_is_right
from tests.support.rest import call
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]
SIZE = 3_000
BLOBS = 24


def lose_everything(data_dir: Path) -> int:
    lost = 0
    for directory in sorted(data_dir.rglob("partition-*/index")):
        index = Index(OsFiles(), directory, int(directory.parent.name.removeprefix("partition-")))
        for entry in list(index.stored({})):
            index.remove(entry.id)
            lost += 1
        index.write(index.freeze(), index.checkpoint)
        index.finish(index.checkpoint)
        index.close()
    return lost


@pytest.mark.fault
def test_blobs_lost_from_an_index_are_found_and_got(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(datacenters=1, nodes=3, frontends=1)
    (url,) = frontend_urls(cluster)
    stored = []
    for seed in range(BLOBS):
        answer = call(url, "POST", "/", content(seed, SIZE))
        assert answer.status == 201
        stored.append(Stored(id=answer.blob_id, seed=seed, size=SIZE))
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    assert replication(cluster, "verify") == (0, [])
    name = cluster.nodes("dc1")[0].name
    cluster.kill(name, signal.SIGTERM)
    eventually(lambda: cluster.pid(name) is None, "it has stopped")
    assert lose_everything(cluster.member(name).data_dir) == BLOBS
    cluster.start(name)
    settled(lambda: not_caught_up(cluster), "every cursor stands at the end")
    code, different = replication(cluster, "verify")
    assert code == 1
    assert sum(line["lacking"] for line in different) == 2 * BLOBS, "each of two peers has them all"
    code, different = replication(cluster, "repair")
    assert (code, sum(line["repaired"] for line in different)) == (0, BLOBS)
    assert replication(cluster, "verify") == (0, [])
    every_copy_is_right(cluster, stored)
