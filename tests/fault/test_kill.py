"""kill -9 and SIGSTOP of data nodes under load (F1, F2 without the power cut, F32, F37): nothing acknowledged is lost.

AMBRY_FAULT_ROUNDS sets the number of rounds, AMBRY_TEST_SEED the seed.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, not_caught_up, rounds, seed_of
from tests.support.load import SIZES_MIXED, SIZES_SMALL, Load
from tests.support.replica_reader import every_copy_is_right
from tests.support.waiting import settled

MakeCluster = Callable[..., LocalCluster]
ROUTED_AROUND_S = 2.0


def kill_rounds(cluster: LocalCluster, tmp_path: Path, *, seed: int, count: int, blobs: int) -> None:
    source = random.Random(seed)
    nodes = [node.name for node in cluster.nodes()]
    load = Load(
        frontend_urls(cluster),
        seed=seed,
        history=tmp_path / "history.jsonl",
        sizes=SIZES_MIXED,
        deletes=0.05,
        pace_s=0.05,
    )
    with load:
        for _ in range(count):
            load.wait_stored(blobs)
            victim = source.choice(nodes)
            cluster.kill(victim, signal.SIGKILL)
            load.history.nemesis("kill", victim)
            load.wait_stored(blobs)
            cluster.start(victim)
            load.history.nemesis("start", victim)
    print(f"{count} rounds: {load.summary()}")
    print("failures:", *[f"{one.f} {one.status} {one.detail[:200]}" for one in load.failures[:5]], sep="\n  ")
    checked = every_copy_is_right(cluster, load.stored, timeout_s=90)
    checked += every_copy_is_right(cluster, load.deleted, timeout_s=60)
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    print(f"{checked} copies checked")


def test_one_kill_under_load_loses_nothing(make_cluster: MakeCluster, tmp_path: Path) -> None:
    kill_rounds(make_cluster(), tmp_path, seed=seed_of("one kill"), count=1, blobs=15)


@pytest.mark.fault
def test_kill_rounds_lose_nothing(make_cluster: MakeCluster, tmp_path: Path) -> None:
    kill_rounds(make_cluster(), tmp_path, seed=seed_of("kill rounds"), count=rounds(20), blobs=60)


@pytest.mark.fault
def test_all_data_nodes_killed_at_once_lose_nothing(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster, seed = make_cluster(), seed_of("all killed")
    nodes = [node.name for node in cluster.nodes()]
    load = Load(frontend_urls(cluster), seed=seed, history=tmp_path / "history.jsonl", sizes=SIZES_MIXED, pace_s=0.05)
    with load:
        for _ in range(rounds(5)):
            load.wait_stored(60)
            for name in nodes:
                cluster.kill(name, signal.SIGSTOP)
            for name in nodes:
                # Stopped first, so that all are cut off at very nearly one moment.
                cluster.kill(name, signal.SIGKILL)
            load.history.nemesis("kill", "all data nodes")
            for name in nodes:
                cluster.start(name, wait=False)
            cluster.wait_ready(nodes)
            load.history.nemesis("start", "all data nodes")
    print(load.summary())
    checked = every_copy_is_right(cluster, load.stored, timeout_s=90)
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    print(f"{checked} copies checked")


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["down", "paused"])
@pytest.mark.parametrize("sizes", [SIZES_SMALL, SIZES_MIXED], ids=["small", "mixed"])
def test_puts_and_gets_go_on_without_one_node(
    make_cluster: MakeCluster, tmp_path: Path, number: signal.Signals, sizes: list[tuple[int, int, int]]
) -> None:
    cluster, seed = make_cluster(datacenters=1), seed_of(f"one node {number.name}")
    victim = random.Random(seed).choice(cluster.nodes()).name
    load = Load(frontend_urls(cluster), seed=seed, history=tmp_path / "history.jsonl", sizes=sizes, pace_s=0.03)
    with load:
        load.wait_stored(40)
        cluster.kill(victim, number)
        load.history.nemesis(number.name, victim)
        struck = time.monotonic()
        load.run_for(4 + rounds(4))
        load.wait_stored(40)
        late = load.failed_since(struck + ROUTED_AROUND_S)
        early = load.failed_since(struck)
        if number == signal.SIGSTOP:
            cluster.kill(victim, signal.SIGCONT)
        else:
            cluster.start(victim)
        load.history.nemesis("back", victim)
        back = time.monotonic()
        load.wait_stored(40)
        after = load.failed_since(back)
    print(f"{load.summary()}; {len(early)} failed in all, {len(late)} after {ROUTED_AROUND_S:g} s")
    assert not late, late[:5]
    assert not after, after[:5]
    checked = every_copy_is_right(cluster, load.stored, timeout_s=90)
    settled(lambda: not_caught_up(cluster), "every replica has caught up", timeout_s=60)
    print(f"{checked} copies checked")


@pytest.mark.fault
def test_a_rolling_restart_fails_no_request(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Node after node, each as soon as the one before says that it is ready: frontends must be connected to it by then."""
    cluster, seed = make_cluster(), seed_of("rolling restart")
    load = Load(frontend_urls(cluster), seed=seed, history=tmp_path / "history.jsonl", deletes=0.05, pace_s=0.03)
    with load:
        load.wait_stored(20)
        for _ in range(max(1, rounds(10) // 5)):
            for node in cluster.nodes():
                assert cluster.kill(node.name, signal.SIGTERM) == 0
                cluster.start(node.name)
        load.wait_stored(20)
    print(load.summary(), *[f"{one.f} {one.status} {one.detail[:400]}" for one in load.failures[:4]], sep="\n  ")
    every_copy_is_right(cluster, load.stored, timeout_s=90)
    every_copy_is_right(cluster, load.deleted, timeout_s=60)
    assert not load.failures, f"{len(load.failures)} failed: {load.failures[:3]}"
