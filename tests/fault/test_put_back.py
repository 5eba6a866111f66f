"""The drill of docs/operations.md: directories of a node and of a whole datacenter put back from a backup (F41).

Once, after a datacenter was put back: 404 for blobs that it had acknowledged, 60 of 60 new blobs never in the other, and 45
deleted ones back, whose tombstones were gone by then. AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, not_caught_up, seed_of
from tests.support.commands import replication
from tests.support.content import content
from tests.support.damage import incarnations
from tests.support.planted import believe_a_directory
from tests.support.planted_process import planted_in_children
from tests.support.replica_reader import Stored, complaints_async, every_copy_is_right
from tests.support.rest import call, get, metric, page
from tests.support.waiting import eventually, settled

MakeCluster = Callable[..., LocalCluster]

SIZE = 30_000
NEW = 60
DELETED = 45
MANY = 700
FORGETFUL = (
    "store.segment_size_bytes=1048576",
    "store.checkpoint_interval_s=0.3",
    "compaction.interval_s=0.3",
    "compaction.dead_share_min=0.05",
    "compaction.deleted_retention_s=1",
    "compaction.tombstone_retention_s=1",
)


def some_blobs(url: str, seeds: Iterable[int], size: int = SIZE) -> list[Stored]:
    """Stored; a put that is refused while replicas reopen is sent again, as its answer asks for."""
    return [Stored(id=_put(url, content(seed, size)), seed=seed, size=size) for seed in seeds]


def _put(url: str, body: bytes) -> str:
    def accepted() -> str:
        answer = call(url, "POST", "/", body)
        assert answer.status in (201, 503), (answer.status, answer.body[:300])
        return answer.blob_id if answer.status == 201 else ""

    return eventually(accepted, "a put is acknowledged")


def delete(url: str, blobs: Iterable[Stored]) -> None:
    for blob in blobs:
        assert call(url, "DELETE", f"/{blob.id}").status == 202


def back_up(cluster: LocalCluster, names: Sequence[str], where: Path) -> None:
    """Copies of the data directories of stopped nodes, which then go on."""
    for name in names:
        cluster.kill(name, signal.SIGTERM)
        eventually(lambda name=name: cluster.pid(name) is None, f"{name} has stopped")  # type: ignore[misc]
        shutil.copytree(cluster.member(name).data_dir, where / name)
        cluster.start(name)
    settled(lambda: not_caught_up(cluster), "everybody is as before the backup")


def put_back(cluster: LocalCluster, names: Sequence[str], where: Path) -> None:
    for name in names:
        cluster.kill(name, signal.SIGKILL)
    for name in names:
        directory = cluster.member(name).data_dir
        directory.rename(directory.with_name(directory.name + ".away"))
        shutil.copytree(where / name, directory)
    for name in names:
        cluster.start(name, wait=False)


class Asker:
    """Reads acknowledged blobs at a frontend, again and again; `wrong` are answers that say they do not exist."""

    def __init__(self, url: str, blobs: Sequence[Stored]) -> None:
        self.seen: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._url = url
        self._blobs = blobs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _ask(self) -> None:
        while not self._stop.is_set():
            for blob in self._blobs:
                status = call(self._url, "HEAD", f"/{blob.id}").status
                self.seen[status] += 1
                if status in (404, 410):
                    self.wrong.append(f"{blob.id}: {status}")


def restore(cluster: LocalCluster, tmp_path: Path, names: Sequence[str], *, seed: int) -> None:
    url1, url2 = frontend_urls(cluster)
    old = some_blobs(url1, range(seed, seed + 20))
    doomed = some_blobs(url1, range(seed + 100, seed + 100 + DELETED))
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    back_up(cluster, names, tmp_path / "backup")
    since = some_blobs(url1, range(seed + 200, seed + 240))
    delete(url1, doomed)
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    every_copy_is_right(cluster, since)
    before = {name: incarnations(cluster, name) for name in names}
    with Asker(url1, random.Random(seed).sample(since, 15)) as asker:
        # Who knows better is silent at first: so LSNs that it has passed are given again.
        for node in cluster.nodes("dc2"):
            cluster.kill(node.name, signal.SIGSTOP)
        put_back(cluster, names, tmp_path / "backup")
        new = some_blobs(url1, range(seed + 300, seed + 300 + NEW))
        for node in cluster.nodes("dc2"):
            cluster.kill(node.name, signal.SIGCONT)
        settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
        gone = [replace(blob, deleted=True) for blob in doomed]
        checked = every_copy_is_right(cluster, [*old, *since, *new, *gone], timeout_s=60)
    print(f"answers about {len(since)} blobs meanwhile: {dict(asker.seen)}; {checked} copies checked")
    assert not asker.wrong, f"{len(asker.wrong)} of {sum(asker.seen.values())}: {asker.wrong[:5]}"
    for blob in doomed:
        for url in (url1, url2):
            assert get(url, blob.id).status == 410
    for name in names:
        assert not set(before[name].values()) & set(incarnations(cluster, name).values())
        assert metric(cluster.member(name).admin_url, "ambry_datanode_replicas_put_back_total") >= 1
        assert not any(partition["put_back"] for partition in page(cluster.member(name).admin_url, "/partitions"))


def test_a_node_put_back_from_a_backup_catches_up(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(partitions=2)
    restore(cluster, tmp_path, ["dc1-n1"], seed=seed_of("a node put back"))


@pytest.mark.fault
def test_a_datacenter_put_back_from_a_backup_catches_up(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(partitions=2)
    restore(cluster, tmp_path, [node.name for node in cluster.nodes("dc1")], seed=seed_of("a datacenter put back"))


@pytest.mark.fault
def test_where_a_directory_is_believed_the_drill_goes_wrong_and_comparing_digests_mends_it(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    """Without what recognises a directory that was put back, as it was once: none of 60 new blobs ever reached the other
    datacenter. Digests find each of them, and `ambry replication repair` gets it."""
    seed = seed_of("a datacenter put back and believed")
    with planted_in_children(tmp_path, believe_a_directory):
        cluster = make_cluster(partitions=2)
        names = [node.name for node in cluster.nodes("dc1")]
        url1 = frontend_urls(cluster)[0]
        old = some_blobs(url1, range(seed, seed + 20))
        settled(lambda: not_caught_up(cluster), "every replica has everything")
        back_up(cluster, names, tmp_path / "backup")
        since = some_blobs(url1, range(seed + 200, seed + 200 + 4 * NEW))
        settled(lambda: not_caught_up(cluster), "every replica has everything")
        for node in cluster.nodes("dc2"):
            cluster.kill(node.name, signal.SIGSTOP)
        put_back(cluster, names, tmp_path / "backup")
        new = some_blobs(url1, range(seed + 300, seed + 300 + NEW))
        for node in cluster.nodes("dc2"):
            cluster.kill(node.name, signal.SIGCONT)
        settled(lambda: not_caught_up(cluster), "every cursor stands at the end of its log", timeout_s=60)
        for node in cluster.nodes("dc2"):
            missing = asyncio.run(complaints_async(cluster, [(node.name, blob) for blob in new]))
            assert len(missing) == NEW, f"{node.name}: {len(missing)}; this history is about what never comes"
        assert replication(cluster, "verify")[0] == 1
        replication(cluster, "repair")
        every_copy_is_right(cluster, [*old, *since, *new], timeout_s=60)
        settled(lambda: not_caught_up(cluster), "every replica has everything")
        assert replication(cluster, "verify") == (0, [])


@pytest.mark.fault
@pytest.mark.parametrize("whole", [False, True], ids=["a node", "a datacenter"])
def test_nothing_deleted_comes_back_though_its_tombstones_are_gone(
    make_cluster: MakeCluster, tmp_path: Path, whole: bool
) -> None:
    cluster, seed = make_cluster(partitions=1, overrides={"datanode": FORGETFUL}), seed_of("tombstones are gone")
    names = [node.name for node in cluster.nodes("dc1")] if whole else ["dc1-n1"]
    url1, url2 = frontend_urls(cluster)
    kept = some_blobs(url1, range(seed, seed + 50))
    # So many that their tombstones alone make a segment worth compacting.
    doomed = some_blobs(url1, range(seed + 100, seed + 100 + MANY), size=500)
    settled(lambda: not_caught_up(cluster), "every replica has everything")
    back_up(cluster, names, tmp_path / "backup")
    delete(url1, doomed)
    fillers = iter(range(seed + 1_000, seed + 100_000))

    def forgotten() -> int:
        """How many of a tenth of them are known nowhere any more."""
        kept.extend(some_blobs(url1, [next(fillers) for _ in range(10)]))
        return sum(all(get(url, blob.id).status == 404 for url in (url1, url2)) for blob in doomed[::10])

    eventually(lambda: forgotten() >= 20, "their tombstones are gone", timeout_s=90)
    put_back(cluster, names, tmp_path / "backup")
    kept += some_blobs(url1, range(seed + 300, seed + 300 + NEW))
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    every_copy_is_right(cluster, kept, timeout_s=60)
    revived = [blob.id for blob in doomed for url in (url1, url2) if get(url, blob.id).status not in (404, 410)]
    assert not revived, f"{len(revived)} deleted blobs are back: {revived[:5]}"
    for name in names:
        aside = list(cluster.member(name).data_dir.glob("partition-00000000.set-aside-*"))
        assert len(aside) == 1, f"nothing is deleted unseen: {aside}"
        assert metric(cluster.member(name).admin_url, "ambry_datanode_replicas_started_over_total") == 1
