"""A datacenter dies under large downloads: each of them goes on in the other one, where it was."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ambry import AmbryClient, AsyncAmbryClient, RetryPolicy
from ambry.checksum import new_digester
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, seed_of, shared_cluster
from tests.support.content import blocks, content_digest
from tests.support.rest import everywhere
from tests.support.waiting import eventually

WAIT_S = 120
PATIENT = RetryPolicy(max_attempts=10)
"""The datacenter that lives takes over as fast as its machine lets it."""


class Death:
    """Everybody who reads stops in the middle until the datacenter is dead."""

    def __init__(self, cluster: LocalCluster, readers: int) -> None:
        self._cluster = cluster
        self._middle = threading.Barrier(readers + 1)
        self._dead = threading.Event()

    def wait(self) -> None:
        """What a reader calls in the middle, once."""
        self._middle.wait(WAIT_S)
        assert self._dead.wait(WAIT_S)

    def come(self) -> None:
        self._middle.wait(WAIT_S)
        members = [member for member in self._cluster.members if member.datacenter == "dc1"]
        for member in members:
            self._cluster.kill(member.name)
        assert [self._cluster.pid(member.name) for member in members] == [None] * len(members)
        self._dead.set()

    def in_the_middle(self) -> Callable[[int, int | None], None]:
        """The progress of one reader, who waits in it."""
        left = [True]

        def progress(done: int, total: int | None) -> None:
            if left and total is not None and done > total // 3:
                left.clear()
                self.wait()

        return progress


def digest_of(path: Path) -> str:
    running = new_digester()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            running.update(piece)
    return running.hexdigest()


def die_under_downloads(cluster: LocalCluster, place: Path, *, size: int) -> None:
    seed = seed_of("a datacenter dies")
    urls = frontend_urls(cluster)
    with AmbryClient(urls, retry=PATIENT) as client:
        blob = client.put(blocks(seed, size), size=size).id
        eventually(lambda: everywhere(urls[0], str(blob)), "every node of both datacenters has it", timeout_s=300)

        def file() -> str:
            client.get_file(blob, place / "file", progress=death.in_the_middle())
            return digest_of(place / "file")

        def file_of_the_other_client() -> str:
            async def get() -> None:
                async with AsyncAmbryClient(urls, retry=PATIENT) as other:
                    await other.get_file(blob, place / "other", progress=death.in_the_middle())

            asyncio.run(get())
            return digest_of(place / "other")

        def stream() -> str:
            running, stopped = new_digester(), False
            with client.get(blob) as reader:
                while piece := reader.read(1 << 20):
                    running.update(piece)
                    if not stopped and reader.remaining < size // 2:
                        stopped = True
                        death.wait()
            return running.hexdigest()

        readers = (file, file_of_the_other_client, stream)
        death = Death(cluster, len(readers))
        with ThreadPoolExecutor(len(readers)) as threads:
            found = [threads.submit(reader) for reader in readers]
            death.come()
            assert [each.result() for each in found] == [content_digest(seed, size)] * len(readers)
        assert sorted(path.name for path in place.iterdir()) == ["file", "other"]
        for name in ("file", "other"):
            (place / name).unlink()


def test_a_datacenter_that_dies_under_a_download_costs_no_byte(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with shared_cluster(request, tmp_path_factory, partitions=2) as cluster:
        die_under_downloads(cluster, tmp_path, size=64_000_003)


@pytest.mark.slow
def test_a_datacenter_that_dies_under_a_download_of_two_gigabytes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    size = 2_000_000_003
    if shutil.disk_usage(tmp_path).free < 10 * size:
        pytest.skip("six copies of 2 GB and two files of it take 20 GB of disk")
    with shared_cluster(
        request, tmp_path_factory, overrides={"datanode": ["store.segment_size_bytes=67108864"]}
    ) as cluster:
        die_under_downloads(cluster, tmp_path, size=size)
