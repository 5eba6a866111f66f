"""One cache, eight processes that share it, and kill -9 at random: never a wrong or half file; nobody waits for the dead."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from ambry import AmbryClient, CacheConfig
from ambry.client.cache import BlobCache
from ambry.clock import SystemClock
from tests.support.clusters import seed_of
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend, hexdigest

PROCESSES = 8
KILLS = 40
SIZES = (0, 1, 70_000, 1 << 20, (3 << 20) + 17, 5 << 20)
MAX_BYTES = 8 << 20
"""Less than all of them together, so that some always have to go."""


class _Users:
    """The processes, and what they print."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._lines: queue.Queue[tuple[int, str]] = queue.Queue()
        self.running: list[subprocess.Popen[str]] = []

    def start(self, seed: int) -> None:
        directory, most, *rest = self._arguments
        command = [sys.executable, "-m", "tests.support.cache_user", directory, most, str(seed), *rest]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.running.append(process)
        threading.Thread(target=self._follow, args=(process,), daemon=True).start()

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put((process.pid, line.strip()))

    def kill(self, process: subprocess.Popen[str]) -> None:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.running.remove(process)

    def next(self) -> tuple[int, str]:
        pid, line = self._lines.get(timeout=120)
        assert line == "right", line
        assert all(each.poll() is None for each in self.running), "a process ended by itself"
        return pid, line


def test_processes_that_are_killed_at_random_leave_the_cache_whole(tmp_path: Path) -> None:
    seed = seed_of("cache_processes")
    source = random.Random(seed)
    directory = tmp_path / "cache"
    with StubFrontend() as stub:
        datas = {stub.add(data): data for data in (content(number, size) for number, size in enumerate(SIZES))}
        said = [f"{blob}={hexdigest(data)}" for blob, data in datas.items()]
        users = _Users(str(directory), str(MAX_BYTES), stub.url, *said)
        try:
            for _ in range(PROCESSES):
                users.start(source.randrange(1 << 30))
            for _ in range(KILLS):
                for _ in range(source.randrange(1, 12)):
                    users.next()
                users.kill(source.choice(users.running))
                users.start(source.randrange(1 << 30))
            heard: set[int] = set()
            while heard < {each.pid for each in users.running}:
                heard.add(users.next()[0])  # nobody waits for one that is dead
        finally:
            for process in list(users.running):
                users.kill(process)
        cache = BlobCache(directory, max_bytes=MAX_BYTES, clock=SystemClock())
        for each in cache.entries():
            assert cache.is_intact(each.id)
            assert cache.path_of(each.id).read_bytes() == datas[str(each.id)]
        # Those who were killed while they waited for room may have left too much: the next one to come puts it right.
        with AmbryClient(stub.url, cache=CacheConfig(directory=directory, max_bytes=MAX_BYTES)) as client:
            for blob, data in datas.items():
                assert client.cached_path(blob).read_bytes() == data
        cache.sweep(0)
        assert sum(each.size for each in cache.entries()) <= MAX_BYTES
        assert list((directory / "incoming").iterdir()) == []
