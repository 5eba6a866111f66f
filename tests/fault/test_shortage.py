"""A data node out of descriptors (F12), while it runs and while it starts: nothing is condemned, and it recovers by itself."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.clusters import frontend_urls, not_caught_up, seed_of
from tests.support.load import Load
from tests.support.replica_reader import every_copy_is_right
from tests.support.rest import call, metric, page
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]

pytestmark = pytest.mark.fault

BUSY_BACKGROUND = (
    "store.segment_size_bytes=1048576",
    "store.open_files_max=16",
    "store.checkpoint_interval_s=1",
    "scrub.interval_s=1",
    "compaction.interval_s=1",
    "sweep.interval_s=1",
)


def pid_of(cluster: LocalCluster, node: Member) -> int:
    pid = cluster.pid(node.name)
    assert pid is not None
    return pid


def open_now(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def put_off(node: Member) -> int:
    """Lines of the log that tell of a lack, or of work that ended for one."""
    text = node.log.read_text("utf-8")
    return sum(text.count(sign) for sign in ("Too many open files", "put off", "no descriptors or memory left"))


def expect_nothing_condemned(node: Member) -> None:
    assert metric(node.admin_url, "ambry_datanode_replicas_fenced_total") == 0
    assert metric(node.admin_url, "ambry_datanode_corrupt_reads_total") == 0
    assert metric(node.admin_url, "ambry_datanode_scrub_damage_total") == 0
    for partition in page(node.admin_url, "/partitions"):
        assert partition["state"] == "open" and not partition["damaged"], partition
    assert [report for report in page(node.admin_url, "/scrub") if report["damaged"]] == []


def test_a_node_without_descriptors_condemns_nothing_and_recovers(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Its replicas were fenced until an operator came, and its scrub condemned 39 of 39 good blobs."""
    seed = seed_of("out of descriptors")
    cluster = make_cluster(datacenters=1, partitions=2, overrides={"datanode": list(BUSY_BACKGROUND)})
    urls = frontend_urls(cluster)
    history = tmp_path / "history.jsonl"
    node = cluster.nodes()[0]
    pid = pid_of(cluster, node)
    with Load(urls, seed=seed, history=history, reads=0.3, sizes=[(1, 200_000, 200_001)]) as load:
        load.wait_stored(60, timeout_s=60)
    baseline = open_now(pid)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # Some files are always about to be opened: with fewer than are open now, none can be.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (20, hard))
    with Load(urls, seed=seed + 1, history=history, reads=0.5, sizes=[(1, 200_000, 200_001)]) as during:
        during.wait_stored(40, timeout_s=60)
        eventually(lambda: put_off(node) >= 5, "work that lacks descriptors", timeout_s=30)
        assert call(node.admin_url, "GET", "/healthz").status == 200
        during.wait_stored(80, timeout_s=60)
    assert not load.failures + during.failures, (load.failures + during.failures)[:3]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    settled(lambda: not_caught_up(cluster), "the node caught up by itself", timeout_s=60)
    expect_nothing_condemned(node)
    every_copy_is_right(cluster, load.stored | during.stored, timeout_s=60)
    eventually(lambda: open_now(pid) <= baseline + 4, "descriptors given back", timeout_s=90)


def test_a_node_that_starts_without_descriptors_opens_its_replicas_when_there_are(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    """The index of a replica was deleted and its log read again, or the replica given up until an operator came."""
    seed = seed_of("started without descriptors")
    cluster = make_cluster(datacenters=1, partitions=8, overrides={"datanode": list(BUSY_BACKGROUND)})
    with Load(
        frontend_urls(cluster), seed=seed, history=tmp_path / "history.jsonl", sizes=[(1, 100_000, 100_001)]
    ) as load:
        load.wait_stored(100, timeout_s=60)
    node = cluster.nodes()[0]
    needed = open_now(pid_of(cluster, node))
    cluster.kill(node.name, signal.SIGKILL)
    seen = node.log.stat().st_size
    cluster.start(node.name, wait=False)
    pid = pid_of(cluster, node)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def log_since() -> str:
        return node.log.read_text("utf-8")[seen:]

    def lacks() -> bool:
        # Again and again: a server raises its limit when it starts.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (needed - 24, hard))
        return "opening put off" in log_since()

    eventually(lacks, "an opening put off", timeout_s=30, interval_s=0.005)
    assert call(node.admin_url, "GET", "/healthz").status == 200
    states = {partition["state"] for partition in page(node.admin_url, "/partitions")}
    assert states <= {"open", "opening"} and "opening" in states
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    cluster.wait_ready([node.name])
    settled(lambda: not_caught_up(cluster), "the node caught up by itself", timeout_s=60)
    expect_nothing_condemned(node)
    assert "rebuilding" not in log_since()
    every_copy_is_right(cluster, load.stored, timeout_s=60)
