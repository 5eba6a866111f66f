"""What an operator may decide and no node can: that a blob is lost (F39), that a directory is what was written last (F41)."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from ambry.ids import BlobId
from datanode.store.files import OsFiles
from datanode.store.inspection import Inspection
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, never_stored, not_caught_up, partition_of
from tests.support.commands import ambry_replica
from tests.support.content import content
from tests.support.damage import flip_bit
from tests.support.replica_reader import Held, read_copy
from tests.support.rest import call, everywhere, get, page, put
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]
SIZE = 30_000


def stop(cluster: LocalCluster, name: str) -> None:
    cluster.kill(name, signal.SIGTERM)
    eventually(lambda: cluster.pid(name) is None, f"{name} has stopped")


def spoil(cluster: LocalCluster, name: str, blob_id: str) -> None:
    """Flip a bit in the bytes of a blob, in every record of it on a stopped node."""
    wanted, partition = str(BlobId.parse(blob_id)), partition_of(blob_id)
    directory = cluster.member(name).data_dir / f"partition-{partition:08d}"
    records = [line for line in Inspection(OsFiles(), directory).records() if line.id == wanted and line.payload_size]
    assert records
    for line in records:
        flip_bit(directory / f"{line.segment:08d}.segment", line.offset + line.size - 100)


def pinned(cluster: LocalCluster) -> list[str]:
    """Like not_caught_up. That the bytes of a lost blob are damaged remains true until retention lets them go."""
    return [line for line in not_caught_up(cluster) if "partition['damaged']" not in line]


@pytest.mark.fault
def test_a_blob_that_nobody_holds_is_given_up_by_an_operator_and_pins_nothing_any_more(
    make_cluster: MakeCluster,
) -> None:
    """It pinned tokens and authority for ever, and nothing could be said about it."""
    cluster = make_cluster(datacenters=1, partitions=1, overrides={"datanode": ["scrub.interval_s=1"]})
    (url,) = frontend_urls(cluster)
    lost, kept = put(url, content(1, SIZE)), put(url, content(2, SIZE))
    eventually(lambda: everywhere(url, lost) and everywhere(url, kept), "every node has both")
    names = [node.name for node in cluster.nodes()]
    for name in names:
        stop(cluster, name)
    for name in names:
        spoil(cluster, name, lost)
    for name in names:
        cluster.start(name, wait=False)
    cluster.wait_ready(names)

    def wanted(name: str) -> list[str]:
        return [item["id"] for item in page(cluster.member(name).admin_url, "/wanted")]

    for name in names:
        eventually(lambda name=name: wanted(name) == [lost], f"{name} looks for it")  # type: ignore[misc]
    assert get(url, lost).status == 503
    assert get(url, kept).body == content(2, SIZE)
    first, silent = names[0], names[-1]
    who = ("--partition", str(partition_of(lost)), "--who", "an operator", "--why", "three disks burnt")
    cluster.kill(silent, signal.SIGKILL)
    refused = ambry_replica(cluster, first, "accept-loss", lost, *who)
    assert (refused.exit_code, "may still be there" in refused.output) == (1, True), refused.output
    cluster.start(silent)
    eventually(lambda: wanted(silent) == [lost], "it looks for it again")

    def accepted() -> str:
        said = ambry_replica(cluster, first, "accept-loss", lost, *who)
        return said.output if said.exit_code == 0 else ""

    assert eventually(accepted, "all are asked") == f"lost: {lost}\n"
    settled(lambda: pinned(cluster), "nothing is looked for, and nothing behind it is waited for")
    assert get(url, lost).status == 410
    assert get(url, kept).body == content(2, SIZE)
    assert get(url, never_stored()).status == 404
    (line,) = (cluster.member(first).data_dir / "losses.jsonl").read_text().splitlines()
    assert {"who": "an operator", "why": "three disks burnt", "blobs": [lost]}.items() <= json.loads(line).items()


@pytest.mark.fault
def test_a_node_whose_peers_never_come_back_says_not_found_once_an_operator_vouches_for_it(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(datacenters=1, partitions=1)
    (url,) = frontend_urls(cluster)
    blob_id, unknown = put(url, content(1, SIZE)), never_stored()
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    first, *others = (node.name for node in cluster.nodes())
    assert read_copy(cluster, first, unknown).held is Held.ABSENT
    for name in others:
        cluster.kill(name, signal.SIGKILL)
    stop(cluster, first)
    cluster.start(first)
    assert read_copy(cluster, first, blob_id).payload == content(1, SIZE)
    assert read_copy(cluster, first, unknown).held is Held.UNSURE
    said = ambry_replica(cluster, first, "vouch", "--partition", str(partition_of(blob_id)))
    assert (said.exit_code, said.output) == (0, f"partition {partition_of(blob_id)} may say not-found\n")
    assert read_copy(cluster, first, unknown).held is Held.ABSENT
    for name in others:
        cluster.start(name, wait=False)
    cluster.wait_ready(others)
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    assert call(url, "GET", f"/{blob_id}").body == content(1, SIZE)
