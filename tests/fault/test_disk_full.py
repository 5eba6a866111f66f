"""The disks of a datacenter full (F9): 507 before any acknowledgement, reads and deletes go on, room heals it.

Every data directory of dc1 is a small tmpfs. Needs the right to mount.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.clusters import not_caught_up, partition_of, seed_of
from tests.support.content import content
from tests.support.ports import port_range
from tests.support.replica_reader import Stored, every_copy_is_right
from tests.support.rest import call, get, page, put
from tests.support.waiting import eventually, settled

TMPFS_MIB = 200
SMALL = "dc1-n1"
SPREAD_BYTES = 300_000
"""Each goes to a partition of its own choice."""
OVERRIDES = {"datanode": ["store.segment_size_bytes=8388608", "store.reserve_bytes=25165824"]}


def mount(node: Member, mib: int, *options: str) -> None:
    wanted = ",".join([f"size={mib}m", *options])
    subprocess.run(["mount", "-t", "tmpfs", "-o", wanted, "tmpfs", str(node.data_dir)], check=True, capture_output=True)


@pytest.fixture
def port_base() -> Iterator[int]:
    with port_range() as base:
        yield base


@contextmanager
def with_small_disks(directory: Path, names: Sequence[str], **shape: Any) -> Iterator[LocalCluster]:
    """A ready cluster of which these data nodes have small disks, of TMPFS_MIB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    cluster = LocalCluster(directory / "c", overrides=OVERRIDES, ready_timeout_s=60.0, **shape)
    mounted: list[Member] = []
    try:
        # The directories are made by a first start.
        cluster.up()
        cluster.down()
        for node in map(cluster.member, names):
            try:
                mount(node, TMPFS_MIB)
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                pytest.skip(f"cannot mount a tmpfs: {getattr(error, 'stderr', error)!r}")
            mounted.append(node)
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        for node in mounted:
            subprocess.run(["umount", "-l", str(node.data_dir)], check=False)


@pytest.fixture
def small_disks(tmp_path: Path, port_base: int) -> Iterator[LocalCluster]:
    names = ["dc1-n1", "dc1-n2", "dc1-n3"]
    with with_small_disks(tmp_path, names, datacenters=2, nodes=3, partitions=2, port_base=port_base) as cluster:
        yield cluster


@pytest.fixture
def one_small_disk(tmp_path: Path, port_base: int) -> Iterator[LocalCluster]:
    """Of four; one partition of four is on the others alone."""
    with with_small_disks(tmp_path, [SMALL], datacenters=1, nodes=4, partitions=4, port_base=port_base) as cluster:
        yield cluster


@pytest.mark.fault
def test_puts_go_where_there_is_room(one_small_disk: LocalCluster) -> None:
    """Where a disk is nearly full nobody waits for it to refuse."""
    cluster = one_small_disk
    small = {item["partition"] for item in page(cluster.member(SMALL).admin_url, "/partitions")}
    assert len(small) == 3
    url = cluster.frontends("dc1")[0].url

    def all_elsewhere() -> bool:
        return small.isdisjoint(partition_of(put(url, content(number, SPREAD_BYTES))) for number in range(20))

    eventually(all_elsewhere, "the frontend has heard of it")
    assert all_elsewhere()


@pytest.mark.fault
def test_a_full_disk_refuses_puts_and_nothing_else(small_disks: LocalCluster) -> None:
    cluster, seed = small_disks, seed_of("disk full")
    url1, url2 = cluster.frontends("dc1")[0].url, cluster.frontends("dc2")[0].url
    stored: dict[str, Stored] = {}
    statuses: list[int] = []
    for number in range(400):
        size = (1_000_000, 20_000, 5_000_000)[number % 3]
        answer = call(url1, "POST", "/", content(seed + number, size))
        statuses.append(answer.status)
        if answer.status == 201:
            stored[answer.blob_id] = Stored(id=answer.blob_id, seed=seed + number, size=size)
        elif statuses[-6:] == [507] * 6:
            break
    print(f"{len(stored)} blobs stored, then {statuses[-8:]}")
    assert set(statuses) <= {201, 507}, set(statuses)
    assert statuses[-6:] == [507] * 6
    problem = call(url1, "POST", "/", content(seed, 5_000_000))
    assert (problem.status, problem.json()["code"]) == (507, "InsufficientStorage")

    # Reads and deletes go on, and the other datacenter holds everything that was acknowledged.
    for blob in list(stored.values())[::7]:
        for url in (url1, url2):
            read = eventually(lambda url=url, blob=blob: _ok(url, blob.id), "read while full", timeout_s=30)  # type: ignore[misc]
            assert read == content(blob.seed, blob.size)
    doomed = list(stored)[:5]
    for blob_id in doomed:
        assert call(url1, "DELETE", f"/{blob_id}").status == 202
        del stored[blob_id]
        eventually(lambda blob_id=blob_id: get(url1, blob_id).status == 410, "deleted while full")  # type: ignore[misc]
    states = [page for page in not_caught_up(cluster) if "fenced" in page]
    assert not states, states

    # Room comes back.
    for node in cluster.nodes("dc1"):
        mount_again = ["mount", "-o", f"remount,size={TMPFS_MIB * 3}m", str(node.data_dir)]
        subprocess.run(mount_again, check=True, capture_output=True)
    eventually(lambda: call(url1, "POST", "/", b"room again").status == 201, "puts work again")
    answer = call(url1, "POST", "/", content(seed - 1, 9_000_000))
    stored[answer.blob_id] = Stored(id=answer.blob_id, seed=seed - 1, size=9_000_000)
    every_copy_is_right(cluster, stored, timeout_s=60)
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)


def _ok(url: str, blob_id: str) -> bytes | None:
    answer = get(url, blob_id)
    assert answer.status in (200, 404, 503), (answer.status, answer.body)
    return answer.body if answer.status == 200 else None
