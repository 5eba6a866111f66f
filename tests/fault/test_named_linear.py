"""Names within a datacenter are linearizable over HTTP, whichever of its frontends are asked and killed: recorded histories."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import rounds, running_cluster, seed_of
from tests.support.linear import Kind, Operation, faults_of
from tests.support.named_history import KEYS, NameClient, Numbers, ask, history_of

CLIENTS = 8
QUICK = {"frontend": ["router.request_timeout_ms=5000", "metadata.timeout_ms=3000"]}


async def kill_now_and_then(cluster: LocalCluster, seed: int, clients: asyncio.Future[Any]) -> int:
    """One frontend at a time, until the clients have done what they do; how often."""
    source = random.Random(seed)
    kills = 0
    names = [member.name for member in cluster.frontends()]
    while not clients.done():
        await asyncio.wait([clients], timeout=source.uniform(0.0, 1.0))
        name = source.choice(names)
        await asyncio.to_thread(cluster.kill, name, signal.SIGKILL)
        kills += 1
        await asyncio.to_thread(cluster.start, name)
    return kills


async def check(cluster: LocalCluster, operations: int) -> None:
    seed = seed_of("named linear")
    urls = [member.url for member in cluster.frontends()]
    numbers = Numbers()
    recorded: list[Operation] = []
    clients = [NameClient(f"{seed}.{number}", urls, numbers, recorded.append) for number in range(CLIENTS)]
    running = asyncio.gather(*(client.run(operations) for client in clients))
    kills = await kill_now_and_then(cluster, seed, running)
    await running
    found, versions = [], 0
    for key in KEYS:
        history = await history_of(urls[0], key, numbers)
        versions += len(history)
        found += faults_of(key, [operation for operation in recorded if operation.key == key], history)
        # What a name points to is whole and there.
        told = await ask(urls[-1], "GET", f"/named/default/default/{key}")
        assert told.status == (200 if history[-1].living else 410)
    acknowledged = sum(operation.kind not in (Kind.READ, Kind.GONE) for operation in recorded)
    unknown = sum(client.unknown for client in clients)
    print(
        f"{len(recorded)} operations, {acknowledged} puts acknowledged, {unknown} of unknown outcome, "
        f"{kills} frontends killed, {versions} versions in the histories"
    )
    assert found == []


@pytest.mark.fault
def test_histories_over_http_are_linearizable_while_frontends_are_killed(tmp_path: Path) -> None:
    with running_cluster(tmp_path, datacenters=1, nodes=3, frontends=3, partitions=2, overrides=QUICK) as cluster:
        asyncio.run(check(cluster, 250 * rounds(1)))


@pytest.mark.slow
def test_long_histories_over_http_are_linearizable_while_frontends_are_killed(tmp_path: Path) -> None:
    with running_cluster(tmp_path, datacenters=1, nodes=3, frontends=3, partitions=2, overrides=QUICK) as cluster:
        asyncio.run(check(cluster, 20_000))
