"""Files that a later release wrote, under a node of this one (F31, F42): refused, kept, and read again once it is known."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from datanode.store.files import OsFiles
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import Segment, segment_number
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, segments_of
from tests.support.content import content
from tests.support.later_release import Change, as_later
from tests.support.replica_reader import Held, Stored, every_copy_is_right, read_copy
from tests.support.rest import get, metric, page, put
from tests.support.waiting import settled

MakeCluster = Callable[..., LocalCluster]
NODE = "dc1-n1"
SIZES = (0, 1, 5_000, 200_000)


def rewrite(cluster: LocalCluster, change: Change) -> dict[Path, bytes]:
    """Let every record of a stopped node be as a later release would have written it. Returns the files as they were."""
    before: dict[Path, bytes] = {}
    for path in segments_of(cluster, NODE):
        before[path] = path.read_bytes()
        segment = Segment.open(OsFiles(), path.parent, segment_number(path.name) or 0)
        found = list(SegmentScan(segment.file, segment.header, size=segment.data_size()).run(0))
        for item in found:
            if isinstance(item, FoundRecord):
                changed = as_later(before[path][item.offset : item.end], segment.salt, **change)
                segment.file.pwritev([changed], item.offset)
        segment.close()
    return before


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "stop"),
    [({"features": 1}, signal.SIGTERM), ({"features": 1}, signal.SIGKILL), ({"kind": 9}, signal.SIGTERM)],
    ids=["a payload, stopped", "a payload, killed", "a meaning, stopped"],
)
def test_what_a_later_release_wrote_is_refused_and_kept_until_it_is_back(
    make_cluster: MakeCluster, change: Change, stop: signal.Signals
) -> None:
    overrides = {"datanode": ("scrub.interval_s=1",)}
    cluster = make_cluster(datacenters=1, partitions=1, overrides=overrides)
    url = frontend_urls(cluster)[0]
    blobs = [Stored(id=put(url, content(size, size)), seed=size, size=size) for size in SIZES]
    every_copy_is_right(cluster, blobs)
    cluster.kill(NODE, stop)
    before = rewrite(cluster, change)
    cluster.start(NODE)
    admin = cluster.member(NODE).admin_url
    for blob in blobs:
        copy = read_copy(cluster, NODE, blob.id)
        assert (copy.held, "FormatUnknown: record " in copy.detail) == (Held.UNREACHABLE, True), copy
        answer = get(url, blob.id)
        assert (answer.status, answer.body) == (200, content(blob.seed, blob.size))

    def not_scrubbed() -> list[str]:
        rounds = page(admin, "/scrub")
        return [] if [found["refused"] for found in rounds] == [len(SIZES)] else [str(rounds)]

    settled(not_scrubbed, "a scrub has been over them", timeout_s=30)
    (found,) = page(admin, "/scrub")
    assert (found["damaged"], found["unknown"], found["missing"]) == (0, 0, 0)
    for name in (
        "ambry_datanode_corrupt_reads_total",
        "ambry_datanode_scrub_damage_total",
        "ambry_datanode_wanted_blobs",
    ):
        assert metric(admin, name) == 0, name

    cluster.kill(NODE, signal.SIGTERM)
    for path, image in before.items():
        now = path.read_bytes()
        assert len(now) == len(image), "nothing of it was cut"
    for path, image in before.items():
        path.write_bytes(image)
    cluster.start(NODE)
    every_copy_is_right(cluster, blobs)
