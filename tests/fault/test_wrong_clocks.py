"""F24 on real processes: a frontend a day behind, a data node weeks ahead, at its start and while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ambry.ids import BlobId
from deploy.local_cluster import LocalCluster
from tests.support.clusters import not_caught_up, running_cluster
from tests.support.content import content
from tests.support.replica_reader import read_changes
from tests.support.rest import call, everywhere, get, metric, page, put
from tests.support.waiting import eventually, settled
from tests.support.wrong_clock import WrongClock

DAY_S = 86_400
SIZE = 30_000
HOURS = {"x-ambry-ttl": str(20 * 3_600)}
HASTE = {
    "datanode": [
        "store.segment_size_bytes=1048576",
        "store.checkpoint_interval_s=0.3",
        "compaction.interval_s=0.3",
        "compaction.dead_share_min=0.05",
        "compaction.deleted_retention_s=3",
        "compaction.tombstone_retention_s=3",
        "sweep.interval_s=1.0",
        "sweep.grace_s=600",
    ]
}


@pytest.fixture
def wrong(tmp_path: Path) -> WrongClock:
    return WrongClock(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path, wrong: WrongClock) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path, datacenters=1, partitions=2, overrides=HASTE) as made:
        yield made


def restart(cluster: LocalCluster, name: str, wrong: WrongClock) -> None:
    """With a clock that `wrong` sets."""
    cluster.kill(name)
    with wrong.for_children():
        cluster.start(name)


def doubt(cluster: LocalCluster, name: str) -> str:
    found: dict[str, Any] = page(cluster.member(name).admin_url, "/peers")["clock"]
    return str(found["doubt"])


@pytest.mark.fault
@pytest.mark.parametrize("ahead_s", [-DAY_S, DAY_S])
def test_a_time_to_live_means_what_was_said_whatever_clock_the_frontend_has(
    cluster: LocalCluster, wrong: WrongClock, ahead_s: int
) -> None:
    """A frontend a day behind answered 201, and then 410."""
    frontend = cluster.frontends("dc1")[0]
    wrong.set(ahead_s)
    restart(cluster, frontend.name, wrong)
    stays = put(frontend.url, content(1, SIZE), HOURS)
    goes = put(frontend.url, content(2, SIZE), {"x-ambry-ttl": "2"})
    assert get(frontend.url, stays).body == content(1, SIZE)
    eventually(lambda: get(frontend.url, goes).status == 410, "two seconds are over")
    assert get(frontend.url, stays).body == content(1, SIZE)
    assert abs(metric(frontend.admin_url, "ambry_frontend_clock_correction_seconds") + ahead_s) < 10
    # And back, while it runs.
    wrong.set(0)
    eventually(lambda: metric(frontend.admin_url, "ambry_frontend_clock_correction_seconds") == 0, "it is right again")
    assert get(frontend.url, stays).body == content(1, SIZE)


def background_rounds(cluster: LocalCluster, count: int) -> None:
    """Wait until sweep and compaction of every node were about so often more."""

    def ticks() -> dict[str, int]:
        return {
            f"{node.name} {worker['name']}": worker["ticks"]
            for node in cluster.nodes()
            for worker in page(node.admin_url, "/workers")
            if worker["name"] in ("sweep", "compaction")
        }

    before = ticks()
    eventually(lambda: all(done >= before[name] + count for name, done in ticks().items()), "rounds of background work")


@pytest.mark.fault
def test_a_large_blob_keeps_its_chunks_though_its_frontend_is_nine_days_behind(
    cluster: LocalCluster, wrong: WrongClock
) -> None:
    """The sweep took its chunks for abandoned while it came; it was acknowledged, and compaction dropped them."""
    frontend = cluster.frontends("dc1")[0]
    wrong.set(-9 * DAY_S)
    restart(cluster, frontend.name, wrong)
    body = content(7, 30_000_000)

    def slowly() -> Iterator[bytes]:
        yield body[:20_000_000]
        background_rounds(cluster, 3)
        yield body[20_000_000:]

    blob_id = call(frontend.url, "POST", "/", slowly()).blob_id
    background_rounds(cluster, 3)
    assert get(frontend.url, blob_id).body == body
    assert sum(metric(node.admin_url, "ambry_datanode_swept_chunks_total") for node in cluster.nodes()) == 0


@pytest.mark.fault
@pytest.mark.parametrize("at_start", [True, False])
def test_a_data_node_weeks_ahead_loses_hides_and_skips_nothing(
    cluster: LocalCluster, wrong: WrongClock, at_start: bool
) -> None:
    """It dropped living blobs for good, took over none that came meanwhile, and denied those once its clock was right."""
    url = cluster.frontends("dc1")[0].url
    name = "dc1-n1"
    admin = cluster.member(name).admin_url
    before = {put(url, content(number, SIZE), HOURS): number for number in range(60)}
    deleted = [put(url, content(number, SIZE)) for number in range(100, 160)]
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    wrong.set(40 * DAY_S if at_start else 0)
    restart(cluster, name, wrong)
    wrong.set(40 * DAY_S)
    eventually(lambda: doubt(cluster, name), "it says that its clock is in doubt")
    assert metric(admin, "ambry_datanode_clock_doubted") == 1
    paused = {worker["name"]: worker["paused"] for worker in page(admin, "/workers")}
    assert paused["compaction"] and paused["sweep"] and not paused["scrub"]
    for blob_id in deleted:
        assert call(url, "DELETE", f"/{blob_id}").status == 202
    meanwhile = {put(url, content(number, SIZE), HOURS): number for number in range(200, 230)}
    alive = before | meanwhile
    for blob_id, number in alive.items():
        assert get(url, blob_id).body == content(number, SIZE)
    compacted = metric(admin, "ambry_datanode_compacted_bytes_total")
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    wrong.set(0)
    eventually(lambda: doubt(cluster, name) == "", "its clock is right again")
    for blob_id in alive:
        eventually(lambda blob_id=blob_id: everywhere(url, blob_id), f"{blob_id} is on every node")  # type: ignore[misc]
    others = [node.name for node in cluster.nodes() if node.name != name]
    for other in others[:1]:
        cluster.kill(other)  # now the one that was wrong must answer too
    for blob_id, number in alive.items():
        assert get(url, blob_id).body == content(number, SIZE)
    eventually(
        lambda: metric(admin, "ambry_datanode_compacted_bytes_total") > compacted,
        "what is dead gives its space back",
        timeout_s=60.0,
    )


@pytest.mark.fault
@pytest.mark.parametrize("ahead_s", [-DAY_S, DAY_S])
def test_all_replicas_agree_when_something_changed_whatever_clocks_they_have(
    cluster: LocalCluster, wrong: WrongClock, ahead_s: int
) -> None:
    """Each stamped its own time on what it heard of, so they disagreed when a tombstone dies and when an undelete is late."""
    url = cluster.frontends("dc1")[0].url
    names = [node.name for node in cluster.nodes()]
    wrong.set(ahead_s)
    restart(cluster, names[0], wrong)
    kept = [put(url, content(number, SIZE)) for number in range(10)]
    cluster.kill(names[2])  # one that hears of it all from the others, among them the one that is wrong
    deleted = [put(url, content(number, SIZE)) for number in range(10, 20)]
    for blob_id in deleted:
        assert call(url, "DELETE", f"/{blob_id}").status == 202
    cluster.start(names[2])
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    changes = [read_changes(cluster, name) for name in names]
    times = [{id: (change.state, change.changed_at_ms) for id, change in found.items()} for found in changes]
    # A put that found too few replicas, as one was killed, has left the tombstone of its first try beside them.
    assert {BlobId.parse(text).raw for text in (*kept, *deleted)} <= times[0].keys()
    assert times[0] == times[1] == times[2]
