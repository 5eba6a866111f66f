"""EIO on real processes (F10, F11): a library loaded before libc fails the calls of one node on its segments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, not_caught_up, seed_of
from tests.support.content import content
from tests.support.failing_disk import FailingDisk, Fails
from tests.support.load import Load
from tests.support.replica_reader import every_copy_is_right
from tests.support.rest import get, metric, page
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]

pytestmark = pytest.mark.fault

PARTITIONS = 2
HASTE = ["store.segment_size_bytes=1048576", "store.checkpoint_interval_s=0.5", "scrub.interval_s=1"]


@pytest.fixture
def disk(tmp_path: Path) -> FailingDisk:
    return FailingDisk(tmp_path)


@pytest.fixture
def cluster(make_cluster: MakeCluster, disk: FailingDisk) -> LocalCluster:
    """One of whose nodes, the first, has that disk."""
    made = make_cluster(datacenters=1, partitions=PARTITIONS, overrides={"datanode": HASTE})
    name = made.nodes()[0].name
    made.kill(name)
    with disk.for_children():
        made.start(name)
    made.wait_ready([name])
    return made


def fenced(cluster: LocalCluster) -> int:
    """How many replicas of the first node are."""
    return sum(partition["state"] == "fenced" for partition in page(cluster.nodes()[0].admin_url, "/partitions"))


def stored(cluster: LocalCluster, history: Path, *, seed: int, blobs: int) -> Load:
    with Load(frontend_urls(cluster), seed=seed, history=history, reads=0.0, sizes=[(1, 20_000, 20_001)]) as load:
        load.wait_stored(blobs, timeout_s=90)
    assert not load.failures, load.failures[:3]
    return load


def test_a_disk_that_fails_reads_costs_no_answer_and_its_copies_are_made_good(
    cluster: LocalCluster, disk: FailingDisk, tmp_path: Path
) -> None:
    load = stored(cluster, tmp_path / "history.jsonl", seed=seed_of("reads fail"), blobs=40)
    every_copy_is_right(cluster, load.stored, timeout_s=60)
    node = cluster.nodes()[0]
    disk.set(Fails.READS)
    for blob in load.stored.values():
        answer = get(frontend_urls(cluster)[0], blob.id)
        assert (answer.status, answer.body) == (200, content(blob.seed, blob.size))
    eventually(lambda: disk.count > 0, "a read that failed", timeout_s=60)
    eventually(
        lambda: (
            metric(node.admin_url, "ambry_datanode_corrupt_reads_total") > 0
            or any(report["damaged"] for report in page(node.admin_url, "/scrub"))
        ),
        "it is noticed",
        timeout_s=60,
    )
    disk.set(Fails.NOTHING)
    settled(lambda: not_caught_up(cluster), "everything healed", timeout_s=90)
    every_copy_is_right(cluster, load.stored, timeout_s=60)
    assert fenced(cluster) == 0, "a read that fails is no reason to stop writing"


@pytest.mark.parametrize("fails", [Fails.WRITES, Fails.SYNCS])
def test_a_disk_that_fails_a_write_or_a_sync_acknowledges_nothing_more(
    cluster: LocalCluster, disk: FailingDisk, tmp_path: Path, fails: Fails
) -> None:
    history = tmp_path / "history.jsonl"
    seed = seed_of("writes fail")
    before = stored(cluster, history, seed=seed, blobs=20)
    disk.set(fails)
    during = stored(cluster, history, seed=seed + 1, blobs=40)
    eventually(lambda: fenced(cluster) == PARTITIONS, "it takes nothing more", timeout_s=30)
    disk.set(Fails.NOTHING)
    tried = disk.count
    after = stored(cluster, history, seed=seed + 2, blobs=20)
    assert tried == PARTITIONS, "what failed once was tried again"
    assert fenced(cluster) == PARTITIONS, "that a disk works again says nothing of what it took before"
    node = cluster.nodes()[0]
    cluster.kill(node.name)
    cluster.start(node.name)
    settled(lambda: not_caught_up(cluster), "it is whole again", timeout_s=90)
    every_copy_is_right(cluster, before.stored | during.stored | after.stored, timeout_s=60)
