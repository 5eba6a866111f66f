"""A whole datacenter away (F14 by loss of its processes): local work goes on, unsure reads are 503, and it converges."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import not_caught_up, rounds, seed_of
from tests.support.content import content
from tests.support.load import Load
from tests.support.replica_reader import Stored, every_copy_is_right
from tests.support.rest import call, everywhere, get, put
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]


def signal_all(cluster: LocalCluster, names: Iterable[str], number: signal.Signals) -> None:
    for name in names:
        cluster.kill(name, number)


def start_all(cluster: LocalCluster, names: list[str]) -> None:
    for name in names:
        cluster.start(name, wait=False)
    cluster.wait_ready(names)


def lose_and_regain(cluster: LocalCluster, tmp_path: Path, *, seed: int, blobs: int) -> None:
    url1, url2 = cluster.frontends("dc1")[0].url, cluster.frontends("dc2")[0].url
    dc1 = [member.name for member in cluster.members if member.datacenter == "dc1"]
    dc2_nodes = [node.name for node in cluster.nodes("dc2")]
    with Load([url1], seed=seed, history=tmp_path / "history.jsonl") as before:
        before.wait_stored(blobs)
    known = Stored(id=put(url1, content(seed, 5_000_000)), seed=seed, size=5_000_000)
    eventually(lambda: everywhere(url1, known.id), "the known blob on every node")

    # Blobs that dc1 acknowledged and dc2 cannot have.
    signal_all(cluster, dc2_nodes, signal.SIGSTOP)
    only_dc1 = [
        Stored(id=put(url1, content(seed + 1 + number, size)), seed=seed + 1 + number, size=size)
        for number, size in enumerate((10, 100_000, 5_000_000))
    ]
    signal_all(cluster, dc1, signal.SIGKILL)
    signal_all(cluster, dc2_nodes, signal.SIGCONT)
    eventually(lambda: call(url2, "GET", "/readyz").status == 200, "dc2 works by itself")

    for blob in only_dc1:
        for method in ("GET", "HEAD"):
            answer = call(url2, method, f"/{blob.id}")
            assert answer.status == 503, f"{method} of a blob that only the lost datacenter has: {answer.status}"
            assert answer.headers["Retry-After"]
    answer = get(url2, known.id)
    assert (answer.status, answer.body == content(seed, 5_000_000)) == (200, True)

    # dc2 writes and deletes alone, blobs of dc1 among them.
    source = random.Random(seed)
    with Load([url2], seed=seed + 7, history=tmp_path / "history.jsonl", deletes=0.15) as during:
        during.wait_stored(blobs)
    assert not during.failures, during.failures[:3]
    gone = [known]
    gone += source.sample(sorted(before.stored.values(), key=lambda blob: blob.id), 5)
    for blob in gone:
        assert call(url2, "DELETE", f"/{blob.id}").status == 202
    assert get(url2, known.id).status == 410

    start_all(cluster, dc1)
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    deleted = {blob.id: replace(blob, deleted=True) for blob in gone} | during.deleted
    alive = before.stored | {blob.id: blob for blob in only_dc1} | during.stored
    checked = every_copy_is_right(cluster, [blob for blob in alive.values() if blob.id not in deleted], timeout_s=60)
    checked += every_copy_is_right(cluster, deleted, timeout_s=60)
    for blob in only_dc1:
        assert get(url2, blob.id).body == content(blob.seed, blob.size)
    for url in (url1, url2):
        assert get(url, known.id).status == 410
    print(f"{checked} copies checked; {before.summary()}; {during.summary()}")


def test_a_lost_datacenter_comes_back(make_cluster: MakeCluster, tmp_path: Path) -> None:
    lose_and_regain(make_cluster(partitions=2), tmp_path, seed=seed_of("a datacenter lost, quick"), blobs=20)


@pytest.mark.fault
@pytest.mark.parametrize("turn", range(3))
def test_a_lost_datacenter_comes_back_to_much(make_cluster: MakeCluster, tmp_path: Path, turn: int) -> None:
    lose_and_regain(make_cluster(), tmp_path, seed=seed_of("a datacenter lost") + turn, blobs=20 * rounds(10))
