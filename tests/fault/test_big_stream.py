"""A blob far larger than any buffer: streamed in and out at both datacenters, and no process swells."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import seed_of
from tests.support.content import blocks, content_range
from tests.support.rest import call, connect, everywhere
from tests.support.waiting import eventually

MakeCluster = Callable[..., LocalCluster]
SIZE = 2_000_000_000 + 12_345
RSS_GROWTH_MAX = 150 << 20


def rss(pid: int) -> int:
    """Anonymous resident memory of a process, bytes (mapped files are the page cache's)."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no RssAnon of {pid}")


class Memory:
    """The largest growth of every process of a cluster while it is watched."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._pids = {member.name: cluster.pid(member.name) or 0 for member in cluster.members}
        self.start = {name: rss(pid) for name, pid in self._pids.items()}
        self.growth = dict.fromkeys(self._pids, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for name, pid in self._pids.items():
                self.growth[name] = max(self.growth[name], rss(pid) - self.start[name])


@pytest.mark.slow
@pytest.mark.fault
def test_two_gigabytes_stream_through_small_processes(make_cluster: MakeCluster) -> None:
    cluster, seed = make_cluster(overrides={"datanode": ["store.segment_size_bytes=67108864"]}), seed_of("big stream")
    url1, url2 = cluster.frontends("dc1")[0].url, cluster.frontends("dc2")[0].url
    with Memory(cluster) as memory:
        answer = call(url1, "POST", "/", blocks(seed, SIZE), timeout_s=300)
        assert (answer.status, answer.headers["x-ambry-blob-size"]) == (201, str(SIZE))
        blob_id = answer.blob_id
        eventually(lambda: everywhere(url1, blob_id), "replicated", timeout_s=300, interval_s=0.5)
        for url in (url1, url2):
            connection = connect(url, 120)
            connection.request("GET", f"/{blob_id}")
            response = connection.getresponse()
            assert (response.status, response.length) == (200, SIZE)
            for block in blocks(seed, SIZE):
                assert response.read(len(block)) == block
            assert response.read(1) == b""
            connection.close()
        source = random.Random(seed)
        for number in range(60):
            first = source.randrange(SIZE)
            end = min(SIZE, first + source.choice((1, 70_000, 5_000_000)))
            header = {"Range": f"bytes={first}-{end - 1}"}
            part = call((url1, url2)[number % 2], "GET", f"/{blob_id}", headers=header)
            assert part.status == 206
            assert part.body == content_range(seed, first, end), header
        # Readers that go away in the middle leave nothing behind.
        for _ in range(10):
            connection = connect(url1)
            connection.request("GET", f"/{blob_id}")
            assert len(connection.getresponse().read(1_000_000)) == 1_000_000
            connection.close()
    grown = {name: f"{size >> 20} MiB" for name, size in memory.growth.items()}
    print(f"growth of anonymous memory: {grown}")
    assert max(memory.growth.values()) < RSS_GROWTH_MAX, grown
