"""Damaged and lost files (F3, F5, F6, F25, F30, F39): never wrong bytes, and in the end every copy is whole again.

AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ambry.errors import AmbryError
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, never_stored, not_caught_up, rounds, seed_of, segments_of
from tests.support.content import content
from tests.support.damage import cut, damage_payload, end_lsns, flip_bits, incarnations, remove_indexes, tails
from tests.support.load import SIZES_MIXED, Load
from tests.support.replica_reader import Held, ReplicaReader, Stored, every_copy_is_right
from tests.support.rest import call, get, metric, put
from tests.support.waiting import settled

MakeCluster = Callable[..., LocalCluster]


def filled(cluster: LocalCluster, tmp_path: Path, seed: int, blobs: int) -> Load:
    """A cluster with some blobs, every copy of them right."""
    load = Load(frontend_urls(cluster), seed=seed, history=tmp_path / "history.jsonl", sizes=SIZES_MIXED, reads=0.0)
    with load:
        load.wait_stored(blobs, timeout_s=90)
    every_copy_is_right(cluster, load.stored, timeout_s=60)
    print(load.summary())
    return load


def all_read_back(url: str, blobs: dict[str, Stored]) -> None:
    """Every blob is read whole through a frontend; 503 may pass, anything wrong may not."""

    def unread() -> list[str]:
        found = []
        for blob in list(left.values()):
            answer = get(url, blob.id)
            assert answer.status in (200, 503), f"WRONG: {answer.status} for {blob.id}: {answer.body[:300]!r}"
            if answer.status == 200:
                if answer.body != content(blob.seed, blob.size):
                    pytest.fail(f"WRONG bytes of {blob.id} at {url}")
                del left[blob.id]
            else:
                found.append(f"{blob.id}: {answer.body[:300]!r}")
        return found

    left = dict(blobs)
    settled(unread, f"all blobs read at {url}", timeout_s=60)


def break_three_ways(cluster: LocalCluster, tmp_path: Path, *, seed: int, blobs: int, at_data_end: bool) -> None:
    source = random.Random(seed)
    load = filled(cluster, tmp_path, seed, blobs)
    nodes = [node.name for node in cluster.nodes("dc1")]
    source.shuffle(nodes)
    indexless, cut_off, flipped = (cluster.member(name) for name in nodes)
    ends = end_lsns(cut_off)
    for node in (indexless, cut_off, flipped):
        cluster.kill(node.name, signal.SIGKILL)
    print(f"{indexless.name}: {remove_indexes(indexless)} indexes removed")
    for tail in tails(cut_off, ends):
        size = (tail.data_end if at_data_end else tail.path.stat().st_size) - 1000
        print(f"{cut_off.name}: {tail.path.name} of partition {tail.partition} cut to {size}, data end {tail.data_end}")
        cut(tail.path, size)
    flips = flip_bits(flipped, source)
    print(*flips, sep="\n")
    assert flips
    for node in (indexless, cut_off, flipped):
        cluster.start(node.name, wait=False)
    cluster.wait_ready(nodes)
    for url in frontend_urls(cluster):
        all_read_back(url, load.stored)
    checked = every_copy_is_right(cluster, load.stored, timeout_s=90)
    settled(lambda: not_caught_up(cluster), "everything healed", timeout_s=60)
    # It goes on from there.
    with Load(frontend_urls(cluster), seed=seed + 1, history=tmp_path / "history.jsonl", reads=0.3) as more:
        more.wait_stored(30)
    assert not more.failures, more.failures[:3]
    checked += every_copy_is_right(cluster, more.stored, timeout_s=60)
    print(f"{checked} copies checked")


def test_lost_indexes_a_cut_log_and_flipped_bits_heal(make_cluster: MakeCluster, tmp_path: Path) -> None:
    seed = seed_of("three kinds of damage, quick")
    break_three_ways(make_cluster(partitions=2), tmp_path, seed=seed, blobs=40, at_data_end=True)


@pytest.mark.fault
@pytest.mark.parametrize("at_data_end", [False, True], ids=["file-end", "data-end"])
@pytest.mark.parametrize("turn", range(3))
def test_three_kinds_of_damage_heal(make_cluster: MakeCluster, tmp_path: Path, at_data_end: bool, turn: int) -> None:
    seed = seed_of("three kinds of damage") + turn
    break_three_ways(make_cluster(), tmp_path, seed=seed, blobs=20 * rounds(10), at_data_end=at_data_end)


@pytest.mark.fault
def test_a_bit_flipped_in_every_segment_of_a_running_node_heals(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster, seed = make_cluster(), seed_of("bits flipped while it runs")
    load = filled(cluster, tmp_path, seed, 20 * rounds(10))
    print(*flip_bits(cluster.member("dc2-n2"), random.Random(seed), per_segment=3), sep="\n")
    for url in frontend_urls(cluster):
        all_read_back(url, load.stored)
    every_copy_is_right(cluster, load.stored, timeout_s=90)
    settled(lambda: not_caught_up(cluster), "everything healed", timeout_s=60)


@pytest.mark.fault
def test_a_large_blob_that_nodes_send_unverified_is_never_wrong_and_heals(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    """Nodes hand cached pages to the socket as they are (decision 33): two of three have damaged ones, in other blocks each."""
    cluster = make_cluster(partitions=1)
    seed, size = seed_of("damage that is sent"), 3 << 20
    data = content(seed, size)
    url = frontend_urls(cluster)[0]
    blob = Stored(id=put(url, data), seed=seed, size=size)
    every_copy_is_right(cluster, [blob])
    first, second = (node.name for node in cluster.nodes("dc1")[:2])
    damage_payload(cluster.member(first), data, 5)
    damage_payload(cluster.member(second), data, size - 7)
    for _ in range(20):
        answer = get(url, blob.id)
        assert answer.status == 200
        assert answer.body == data, "WRONG bytes"
        piece = get(url, blob.id, {"Range": "bytes=100-2097999"})
        assert (piece.status, piece.body) == (206, data[100:2_098_000]), "WRONG bytes"
    # Whoever sent damage was told, before anybody else asks these nodes, and has a good copy soon.
    for node in (first, second):
        assert metric(cluster.member(node).admin_url, "ambry_datanode_corrupt_reads_total") >= 1
    every_copy_is_right(cluster, [blob], timeout_s=60)


@pytest.mark.fault
def test_a_segment_that_is_gone_is_filled_again(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster, seed = make_cluster(), seed_of("a segment removed")
    load = filled(cluster, tmp_path, seed, 20 * rounds(10))
    for which in (0, -1):
        cluster.kill("dc1-n1", signal.SIGKILL)
        for directory in sorted(cluster.member("dc1-n1").data_dir.glob("partition-*")):
            segments = [path for path in segments_of(cluster, "dc1-n1") if path.parent == directory]
            segments[which].unlink()
            print(f"removed {segments[which]} of {len(segments)}")
        cluster.start("dc1-n1")
        for url in frontend_urls(cluster):
            all_read_back(url, load.stored)
        every_copy_is_right(cluster, load.stored, timeout_s=90)
        settled(lambda: not_caught_up(cluster), "everything healed", timeout_s=60)


@pytest.mark.fault
def test_segments_of_others_are_set_aside_and_cost_nothing(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """A file with overlapping LSNs made the node delete its own: 34 of 49 blobs were left."""
    cluster, seed = make_cluster(partitions=2), seed_of("foreign segments")
    load = filled(cluster, tmp_path, seed, 60)
    cluster.kill("dc1-n1", signal.SIGKILL)
    directories = sorted(cluster.member("dc1-n1").data_dir.glob("partition-*"))
    same, another = (sorted(path.glob("*.segment")) for path in directories)
    others = sorted((cluster.member("dc1-n2").data_dir / directories[0].name).glob("*.segment"))
    shutil.copyfile(others[0], directories[0] / "00000090.segment")  # of another replica, over LSNs of ours
    shutil.copyfile(another[0], directories[0] / "00000091.segment")  # of another partition
    shutil.copyfile(same[0], directories[0] / "00000092.segment")  # our own, twice
    shutil.copyfile(others[-1], another[-1])  # in the place of ours
    cluster.start("dc1-n1")
    every_copy_is_right(cluster, load.stored, timeout_s=60)
    settled(lambda: not_caught_up(cluster), "everything healed", timeout_s=60)
    for url in frontend_urls(cluster):
        all_read_back(url, load.stored)
    found = [sorted(path.name for path in (directory / "set-aside").iterdir()) for directory in directories]
    displaced = f"{another[-1].name}.1"
    assert found == [[f"000000{number}.segment.1" for number in (90, 91, 92)], [displaced]]


class Watcher:
    """Asks one node for some ids again and again while it starts, and counts what it says."""

    def __init__(self, cluster: LocalCluster, node: str, ids: list[str]) -> None:
        self.seen: dict[str, Counter[Held]] = {blob_id: Counter() for blob_id in ids}
        self.first: dict[str, Held] = {}
        self._cluster = cluster
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                async with ReplicaReader(self._cluster.shape.cluster, self._cluster.member(self._node)) as reader:
                    while not self._stop.is_set():
                        for blob_id, counter in self.seen.items():
                            copy = await reader.read(blob_id)
                            if copy.held is Held.UNREACHABLE:
                                raise OSError(copy.detail)
                            counter[copy.held] += 1
                            self.first.setdefault(blob_id, copy.held)
            except (OSError, AmbryError):
                await asyncio.sleep(0.005)


def wipe(cluster: LocalCluster, tmp_path: Path, *, seed: int, blobs: int) -> None:
    source = random.Random(seed)
    load = filled(cluster, tmp_path, seed, blobs)
    victim = source.choice(cluster.nodes()).name
    before = incarnations(cluster, victim)
    cluster.kill(victim, signal.SIGKILL)
    shutil.rmtree(cluster.member(victim).data_dir)
    unknown = never_stored()
    asked = [blob.id for blob in sorted(load.stored.values(), key=lambda blob: blob.id)]
    sample = source.sample(asked, min(20, len(asked)))
    with Watcher(cluster, victim, [unknown, *sample]) as watcher:
        cluster.start(victim)
        checked = every_copy_is_right(cluster, load.stored, timeout_s=90)
        settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    after = incarnations(cluster, victim)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values()), "a wiped replica must not go by its old incarnation"
    print(f"{victim} wiped; an unknown blob: {dict(watcher.seen[unknown])}; {checked} copies checked")
    assert watcher.first[unknown] is Held.UNSURE, "it claimed to know at once"
    for blob_id in sample:
        assert not watcher.seen[blob_id][Held.ABSENT], f"{blob_id} was called absent: {watcher.seen[blob_id]}"


def test_a_wiped_node_does_not_claim_to_know_and_fills_up(make_cluster: MakeCluster, tmp_path: Path) -> None:
    wipe(make_cluster(partitions=2), tmp_path, seed=seed_of("wiped, quick"), blobs=60)


@pytest.mark.fault
@pytest.mark.parametrize("turn", range(3))
def test_a_node_wiped_with_much_data_fills_up(make_cluster: MakeCluster, tmp_path: Path, turn: int) -> None:
    wipe(make_cluster(), tmp_path, seed=seed_of("wiped") + turn, blobs=40 * rounds(10))


@pytest.mark.fault
def test_every_index_lost_at_once_is_rebuilt(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster, seed = make_cluster(), seed_of("all indexes lost")
    load = filled(cluster, tmp_path, seed, 20 * rounds(10))
    nodes = [node.name for node in cluster.nodes()]
    for name in nodes:
        cluster.kill(name, signal.SIGKILL)
        assert remove_indexes(cluster.member(name)) == 4
    for name in nodes:
        cluster.start(name, wait=False)
    cluster.wait_ready(nodes)
    every_copy_is_right(cluster, load.stored, timeout_s=90)
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)


def lose_all_disks_of_a_datacenter(cluster: LocalCluster, tmp_path: Path, *, seed: int, blobs: int) -> None:
    """Three wiped replicas had caught up with each other's emptiness, and called blobs absent that dc2 held."""
    load = filled(cluster, tmp_path, seed, blobs)
    nodes = [node.name for node in cluster.nodes("dc1")]
    for name in nodes:
        cluster.kill(name, signal.SIGKILL)
        shutil.rmtree(cluster.member(name).data_dir)
    seen: Counter[int] = Counter()
    wrong: list[str] = []
    stop = threading.Event()
    ids = random.Random(seed).sample(sorted(load.stored), min(40, len(load.stored)))

    def watch() -> None:
        while not stop.is_set():
            for blob_id in ids:
                answer = call(frontend_urls(cluster)[0], "HEAD", f"/{blob_id}")
                seen[answer.status] += 1
                if answer.status in (404, 410):
                    wrong.append(f"{blob_id}: {answer.status}")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        for name in nodes:
            cluster.start(name, wait=False)
        cluster.wait_ready(nodes)
        checked = every_copy_is_right(cluster, load.stored, timeout_s=120)
        settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    finally:
        stop.set()
        watcher.join(30)
    print(f"statuses seen meanwhile: {dict(seen)}; {checked} copies checked")
    assert not wrong, f"{len(wrong)} wrong answers of {sum(seen.values())}: {wrong[:5]}"


@pytest.mark.fault
def test_all_disks_of_a_datacenter_lost_is_never_a_404(make_cluster: MakeCluster, tmp_path: Path) -> None:
    seed = seed_of("all disks of a datacenter lost")
    lose_all_disks_of_a_datacenter(make_cluster(), tmp_path, seed=seed, blobs=30 * rounds(10))
