"""F42 on real processes: one after the other is started as the next release, and back, under load, and nobody notices.

The next release is this one with messages that have fields more, a higher version, a feature and a type of message that this
one does not know (tests/support/next_release.py).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ambry import __version__
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, not_caught_up, seed_of
from tests.support.load import Load
from tests.support.next_release import LATER_TYPE, REFUSED, RELEASE, be_the_next_release
from tests.support.planted_process import planted_in_children
from tests.support.replica_reader import every_copy_is_right
from tests.support.rest import page
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]
PUTS = 15


@contextmanager
def starting_the_next(directory: Path, *, later: bool) -> Iterator[None]:
    """What is started meanwhile is of the next release, or of this one."""
    if not later:
        yield
        return
    with planted_in_children(directory, be_the_next_release):
        yield


def restart(cluster: LocalCluster, directory: Path, name: str, *, later: bool) -> None:
    assert cluster.kill(name, signal.SIGTERM) == 0
    with starting_the_next(directory, later=later):
        cluster.start(name)


def releases(cluster: LocalCluster, seen_by: str) -> dict[str, str]:
    """Of the data nodes, as a frontend knows them."""
    return {peer["node"]: peer["release"] for peer in page(cluster.member(seen_by).admin_url, "/peers")}


@pytest.mark.fault
def test_processes_of_this_release_and_of_the_next_work_together(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster, seed = make_cluster(partitions=2), seed_of("rolling upgrade")
    nodes = [node.name for node in cluster.nodes()]
    frontend = cluster.frontends("dc1")[0]
    # Both releases are among the replicas of each datacenter, and among their callers.
    upgraded = ["dc1-n1", "dc1-n2", "dc2-n1"]
    load = Load(frontend_urls(cluster), seed=seed, history=tmp_path / "history.jsonl", deletes=0.05, pace_s=0.03)
    with load:
        load.wait_stored(PUTS)
        for name in upgraded:
            restart(cluster, tmp_path, name, later=True)
        load.wait_stored(PUTS)
        expected = {name: RELEASE if name in upgraded else __version__ for name in nodes}
        eventually(lambda: releases(cluster, frontend.name) == expected, "the frontend knows who is of which release")
    restart(cluster, tmp_path, frontend.name, later=True)
    assert not load.failures, f"{len(load.failures)} failed: {load.failures[:3]}"
    with Load(frontend_urls(cluster), seed=seed + 1, history=tmp_path / "history.jsonl", deletes=0.05) as more:
        more.wait_stored(PUTS)
        restart(cluster, tmp_path, upgraded[0], later=False)
        more.wait_stored(PUTS)
    assert not more.failures, f"{len(more.failures)} failed: {more.failures[:3]}"
    for checked in (load, more):
        every_copy_is_right(cluster, checked.stored, timeout_s=90)
        every_copy_is_right(cluster, checked.deleted, timeout_s=60)
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    tried = cluster.member(upgraded[0]).log.read_text()
    assert REFUSED in tried and f"type {LATER_TYPE}" in tried
