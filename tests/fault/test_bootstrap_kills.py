"""A wiped data node is copied from its peers, with kill -9 of either side in the middle. AMBRY_TEST_SEED sets the seed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, not_caught_up, seed_of
from tests.support.content import content
from tests.support.replica_reader import Stored, every_copy_is_right
from tests.support.rest import call, get, metric, page
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]

COUNT = 60
SIZE = 300_000
DATA = COUNT * SIZE
SLOWLY = (
    "store.segment_size_bytes=1048576",
    "store.checkpoint_interval_s=0.5",
    "bootstrap.behind_bytes_min=2097152",
    "bootstrap.rate_bytes_per_s=6291456",
)


def stored(url: str, seed: int) -> list[Stored]:
    found = []
    for number in range(seed, seed + COUNT):
        answer = call(url, "POST", "/", content(number, SIZE))
        assert answer.status == 201
        found.append(Stored(id=answer.blob_id, seed=number, size=SIZE))
    return found


def copied_bytes(cluster: LocalCluster, name: str) -> float:
    try:
        return metric(cluster.member(name).admin_url, "ambry_datanode_bootstrap_bytes_total")
    except AssertionError:
        return 0.0  # none yet


def copied_beyond(cluster: LocalCluster, name: str, size: int) -> float:
    return eventually(
        lambda: copied if (copied := copied_bytes(cluster, name)) > size else 0.0, f"{name} has copied {size} bytes"
    )


@pytest.mark.fault
def test_a_wiped_node_is_copied_through_kills_of_both_sides(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(datacenters=1, partitions=1, overrides={"datanode": SLOWLY})
    seed = seed_of("a wiped node is copied")
    (url,) = frontend_urls(cluster)
    blobs = stored(url, seed)
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    wiped, source, other = "dc1-n1", "dc1-n2", "dc1-n3"
    cluster.kill(wiped, signal.SIGKILL)
    doomed = blobs[:3]
    for blob in doomed:
        assert call(url, "DELETE", f"/{blob.id}").status == 202
    shutil.rmtree(cluster.member(wiped).data_dir)
    cluster.start(wiped, wait=False)

    first = copied_beyond(cluster, wiped, DATA // 5)
    said = page(cluster.member(wiped).admin_url, "/bootstrap")
    assert [line["state"] for line in said] in (["copying"], [])
    assert not page(cluster.member(wiped).admin_url, "/partitions")[0]["serving"], "no authority before the end"
    cluster.kill(wiped, signal.SIGKILL)
    cluster.start(wiped, wait=False)

    second = copied_beyond(cluster, wiped, DATA // 5)
    cluster.kill(source, signal.SIGKILL)
    cluster.start(source, wait=False)

    settled(lambda: not_caught_up(cluster), "every replica has everything", timeout_s=60)
    total = first + copied_bytes(cluster, wiped)
    print(f"copied {first:.0f}, then {second:.0f} before the source was killed, {total:.0f} in all, of {DATA}")
    assert total < 1.1 * DATA, "what was copied before the kill is not fetched again"
    every_copy_is_right(cluster, [*blobs[3:], *(replace(blob, deleted=True) for blob in doomed)])
    for blob in doomed:
        assert get(url, blob.id).status == 410
    assert page(cluster.member(other).admin_url, "/bootstrap") == []
