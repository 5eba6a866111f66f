"""What is far behind, or away, is seen, and keeps nobody else waiting."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from itertools import count

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import not_caught_up, partition_of
from tests.support.content import content
from tests.support.replica_reader import Held, read_copy
from tests.support.rest import call, page, put
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]
SIZE = 20_000
BLOBS = 400
IN_SMALL_STEPS = {
    "datanode": (
        "replication.changes_max=2",
        "replication.fetch_bytes_max=65536",
        "replication.sibling_delay_ms=0",
        "bootstrap.enabled=false",
    )
}
AWAY_S = 3


def labelled(admin_url: str, name: str, label: str) -> float:
    """One sample of a metric."""
    text = call(admin_url, "GET", "/metrics", timeout_s=10.0).body.decode()
    (value,) = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(f"{name}{{") and label in line]
    return float(value)


def lag_bytes(cluster: LocalCluster, name: str, partition: int) -> int:
    """How far a replica is behind the peer that it is furthest behind."""
    (found,) = [item for item in page(cluster.member(name).admin_url, "/partitions") if item["partition"] == partition]
    return max((peer["lag_bytes"] for peer in found.get("peers", {}).values()), default=0)


def put_into(url: str, partition: int) -> str:
    """A new blob of this partition."""
    for number in count(BLOBS):
        blob_id = put(url, content(number, SIZE))
        if partition_of(blob_id) == partition:
            return blob_id
    raise AssertionError("never")


def lag_when_others_were_served(cluster: LocalCluster) -> int:
    """How far partition 0 of a node is still behind when a new blob of partition 1 came to that node; it was wiped."""
    url, name = cluster.frontends("dc1")[0].url, "dc1-n3"
    for number in range(BLOBS):
        put(url, content(number, SIZE))
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    cluster.kill(name, signal.SIGKILL)
    shutil.rmtree(cluster.member(name).data_dir / "partition-00000000")
    blob_id = put_into(url, 1)
    cluster.start(name)
    eventually(
        lambda: read_copy(cluster, name, blob_id).held is Held.PRESENT, "it came", timeout_s=120, interval_s=0.01
    )
    return lag_bytes(cluster, name, 0)


@pytest.mark.fault
def test_a_partition_far_behind_leaves_room_for_the_others_of_its_node(make_cluster: MakeCluster) -> None:
    """With `let_one_partition_fill_an_answer` planted the new blob does not come within two minutes."""
    cluster = make_cluster(datacenters=1, partitions=2, overrides=IN_SMALL_STEPS)
    assert lag_when_others_were_served(cluster) > 0
    settled(lambda: not_caught_up(cluster), "then it has everything", timeout_s=120)


@pytest.mark.fault
def test_the_lag_behind_a_peer_that_is_away_grows_until_it_is_back(make_cluster: MakeCluster) -> None:
    """It stayed 0: that of the last answer."""
    cluster = make_cluster(datacenters=1, partitions=2)
    admin, away = cluster.member("dc1-n1").admin_url, "dc1-n2"

    def lag_s() -> float:
        return labelled(admin, "ambry_datanode_replication_lag_seconds", away)

    cluster.kill(away, signal.SIGKILL)
    eventually(lambda: lag_s() > AWAY_S, "it is told how long")
    assert labelled(admin, "ambry_datanode_replication_silence_seconds", away) > AWAY_S
    cluster.start(away)
    eventually(lambda: lag_s() < AWAY_S, "it is back")
