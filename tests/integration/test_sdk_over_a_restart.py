"""Frontends are restarted one after the other under clients, who must not notice."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from ambry import AmbryClient, AsyncAmbryClient
from deploy.local_cluster import LocalCluster
from tests.support.clusters import shared_cluster
from tests.support.content import content

SMALL, LARGE = 4_000, 9_000_000
WORKERS = 4
ROUNDS = 20


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One datacenter with two frontends."""
    # With a lame duck, so that clients meet every stage: served with Connection: close, 503, no port.
    overrides = {"frontend": ["frontend.lame_duck_s=0.3"]}
    with shared_cluster(
        request, tmp_path_factory, datacenters=1, frontends=2, partitions=2, overrides=overrides
    ) as cluster:
        yield cluster


def restart_each(cluster: LocalCluster) -> None:
    """Each frontend in turn: TERM until it is gone, and start again until it is ready."""
    for frontend in cluster.frontends():
        assert cluster.kill(frontend.name, signal.SIGTERM) == 0
        cluster.start(frontend.name)


def expected_of(worker: int, number: int) -> bytes:
    return content(worker * 100_000 + number, LARGE if number % 10 == 9 else SMALL)


def test_restarts_of_frontends_cost_no_call_of_the_blocking_client(pair: LocalCluster) -> None:
    def work(client: AmbryClient, worker: int) -> int:
        for number in itertools.count():
            if restarting.done() and number >= ROUNDS:
                return number
            info = client.put(expected_of(worker, number))
            assert client.get_bytes(info.id) == expected_of(worker, number)
        raise AssertionError

    with AmbryClient([each.url for each in pair.frontends()]) as client, ThreadPoolExecutor(WORKERS + 1) as threads:
        restarting = threads.submit(restart_each, pair)
        counts = list(threads.map(partial(work, client), range(WORKERS)))
        restarting.result()
    assert min(counts) >= ROUNDS


async def test_restarts_of_frontends_cost_no_call_of_the_awaiting_client(pair: LocalCluster) -> None:
    async def work(worker: int) -> int:
        for number in itertools.count():
            if restarting.done() and number >= ROUNDS:
                return number
            info = await client.put(expected_of(worker, number))
            assert await client.get_bytes(info.id) == expected_of(worker, number)
        raise AssertionError

    async with AsyncAmbryClient([each.url for each in pair.frontends()]) as client:
        restarting = asyncio.create_task(asyncio.to_thread(restart_each, pair))
        counts = await asyncio.gather(*map(work, range(WORKERS)))
        await restarting
    assert min(counts) >= ROUNDS
