"""kill -9 of processes that share a metadata file, at any moment and at every step: what was acknowledged is there, whole."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from tests.support.clusters import rounds, seed_of
from tests.support.metadata_process import Said, faults_of, said_file, writing
from tests.support.metadata_stores import opened, sqlite_store

pytestmark = pytest.mark.fault

PROCESSES = 3


def heard(path: Path, names: list[str]) -> Said:
    said = Said()
    for name in names:
        said.hear(said_file(path, name).read_bytes())
    return said


async def written(path: Path, names: list[str], count: int) -> None:
    async with asyncio.timeout(60.0):
        while len(heard(path, names).done) < count:  # noqa: ASYNC110  processes tell nobody
            await asyncio.sleep(0.01)


async def test_processes_killed_at_any_moment_lose_nothing_acknowledged(tmp_path: Path) -> None:
    source = random.Random(seed_of("metadata kills"))
    path = tmp_path / "m.sqlite"
    names: list[str] = []
    for number in range(rounds(8)):
        with ExitStack() as running:
            processes = []
            for index in range(PROCESSES):
                names.append(f"p{number}x{index}")
                processes.append(running.enter_context(writing(path, names[-1])))
            await written(path, names[-PROCESSES:], 20)
            # One after the other: those that are left go on with the lock that the dead one held.
            for process in source.sample(processes, PROCESSES):
                process.send_signal(signal.SIGKILL)
                await asyncio.sleep(source.uniform(0, 0.05))
    said = heard(path, names)
    async with opened(sqlite_store(path)) as store:
        assert await faults_of(store, said) == []
    print(f"{len(said.done)} groups acknowledged, {len(said.begun - said.done)} under way when their process died")


def steps() -> Iterator[tuple[str, int]]:
    """The calls that change a file, and which of its kind the process dies at: those of opening, of writing, of checkpoints."""
    for number in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144):
        yield "pwrite64", number
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16):
        yield "fdatasync,fsync", number
    yield "ftruncate,fallocate", 1
    yield "unlink", 1


@pytest.mark.parametrize(("call", "number"), list(steps()))
async def test_a_process_killed_at_a_step_leaves_a_file_that_goes_on(tmp_path: Path, call: str, number: int) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("killing a process at a system call needs strace")
    path = tmp_path / "m.sqlite"
    wrapper = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    wrapper += ["-e", f"inject={call}:signal=SIGKILL:when={number}"]
    with writing(path, "p", wrapper=wrapper) as process:
        async with asyncio.timeout(60.0):
            while process.poll() is None and len(heard(path, ["p"]).done) < 120:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
    said = heard(path, ["p"])
    async with opened(sqlite_store(path)) as store:
        assert await faults_of(store, said) == []
        await store.write([Put(Space.NAME, 1, b"after", b"")])
    print(f"{len(said.done)} groups acknowledged, {len(said.begun - said.done)} under way")
