"""A compaction cut off by kill -9 (F1): the next start reads what replaced something, and its ports answer meanwhile.

Once it read every segment that any compaction had ever made, and nothing of the node served until it had.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from ambry.format import segment as segment_format
from ambry.format.segment import HEADER_SIZE, SegmentHeader
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, not_caught_up, seed_of
from tests.support.content import content
from tests.support.planted import Patch
from tests.support.planted_moments import (
    HOLD,
    SCANNED,
    end_before_the_index_knows,
    end_before_the_old_files_go,
    note_scans,
)
from tests.support.planted_process import planted_in_children
from tests.support.replica_reader import Stored, every_copy_is_right
from tests.support.rest import call, metric, page, put
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]

NODE = "dc1-n1"
SIZE = 30_000
HASTE = (
    "store.segment_size_bytes=1048576",
    "store.checkpoint_interval_s=0.3",
    "compaction.interval_s=0.3",
    "compaction.dead_share_min=0.3",
    "compaction.deleted_retention_s=1",
)


class Place(NamedTuple):
    partition: int
    base_lsn: int


def compacted(cluster: LocalCluster) -> list[SegmentHeader]:
    """The headers of NODE's segments that came out of compactions."""
    return [header for header in headers(cluster) if header.generation > 0]


def headers(cluster: LocalCluster) -> list[SegmentHeader]:
    found = []
    for path in cluster.member(NODE).data_dir.glob("partition-*/*.segment"):
        with suppress(FileNotFoundError), path.open("rb") as stream:  # compacted away meanwhile
            found.append(segment_format.decode(stream.read(HEADER_SIZE)))
    return found


def with_what_they_replace(cluster: LocalCluster) -> set[Place]:
    """The compacted segments that lie beside a file that they replace."""
    everyone = headers(cluster)
    return {
        Place(new.partition, new.base_lsn)
        for new in compacted(cluster)
        for old in everyone
        if new.partition == old.partition
        and new.generation > old.generation
        and new.base_lsn <= old.base_lsn < new.end_lsn
    }


def delete_most(url: str, blobs: list[Stored]) -> list[Stored]:
    """Two of three; returns the others."""
    for number, blob in enumerate(blobs):
        if number % 3:
            assert call(url, "DELETE", f"/{blob.id}").status == 202
    return blobs[::3]


def some_blobs(url: str, count: int, seed: int) -> list[Stored]:
    return [Stored(id=put(url, content(at, SIZE)), seed=at, size=SIZE) for at in range(seed, seed + count)]


@pytest.mark.fault
@pytest.mark.parametrize("moment", [end_before_the_index_knows, end_before_the_old_files_go])
def test_the_start_after_a_kill_amid_a_compaction_reads_only_what_was_replaced(
    make_cluster: MakeCluster, tmp_path: Path, moment: Callable[[Patch], None]
) -> None:
    seed = seed_of("interrupted compaction")
    cluster = make_cluster(datacenters=1, partitions=2, overrides={"datanode": HASTE})
    (url,) = frontend_urls(cluster)
    node = cluster.member(NODE)
    kept = delete_most(url, some_blobs(url, 400, seed))
    kept += some_blobs(url, 80, seed + 10_000)
    eventually(lambda: len(compacted(cluster)) >= 3, "three segments came out of compactions", timeout_s=60)
    cluster.kill(NODE, signal.SIGTERM)
    with planted_in_children(tmp_path, moment):
        cluster.start(NODE)
    kept += delete_most(url, some_blobs(url, 160, seed + 20_000))
    kept += some_blobs(url, 80, seed + 30_000)
    eventually(lambda: cluster.pid(NODE) is None, "it is killed amid a compaction", timeout_s=60)
    interrupted = with_what_they_replace(cluster)
    assert len(interrupted) == 1
    assert len(compacted(cluster)) >= 3

    (node.directory / HOLD).touch()
    with planted_in_children(tmp_path, note_scans):
        cluster.start(NODE, wait=False)
    scanned = node.directory / SCANNED
    eventually(scanned.exists, "it reads a segment")
    assert call(node.admin_url, "GET", "/healthz").status == 200
    assert call(node.admin_url, "GET", "/readyz").status == 503
    assert "opening" in {partition["state"] for partition in page(node.admin_url, "/partitions")}
    (node.directory / HOLD).unlink()
    cluster.wait_ready([NODE])
    read = {Place(*map(int, line.split())) for line in scanned.read_text().splitlines()}
    assert read == interrupted, "of all that compactions ever made it reads what replaced something"
    assert with_what_they_replace(cluster) == set()
    every_copy_is_right(cluster, kept, timeout_s=60)
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    assert metric(node.admin_url, "ambry_datanode_replicas_fenced_total") == 0
