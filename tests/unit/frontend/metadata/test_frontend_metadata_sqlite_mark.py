"""One descriptor of SQLite's shared memory for all connections of a process, closed when the last of them is."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from tests.support.metadata_stores import opened, sqlite_store


def is_locked(file: Path) -> bool:
    return any(f":{file.stat().st_ino} " in line for line in Path("/proc/locks").read_text().splitlines())


async def test_a_store_that_closes_leaves_others_of_the_process_their_locks(tmp_path: Path) -> None:
    # Closing any descriptor of a file lets go of all locks of the process on it (fcntl(2)).
    path = tmp_path / "m.sqlite"
    closed = sqlite_store(path)
    async with opened(sqlite_store(path)) as one:
        await one.write([Put(Space.NAME, 1, b"a", b"1")])
        async with opened(closed):
            for _ in range(2):
                await closed.get(Space.NAME, 1, b"a")
            assert closed.known(Space.NAME, 1, b"a")
        assert is_locked(path.with_name(path.name + "-shm"))
    assert closed.known(Space.NAME, 1, b"a") is None, "nobody has it open"


@pytest.mark.parametrize("fails", ["os.open", "mmap.mmap"])
async def test_a_connection_that_could_not_look_keeps_its_locks_when_others_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Out of descriptors or of addresses it was not counted: others closed the file, and it had no locks any more."""
    path = tmp_path / "m.sqlite"
    shared = path.with_name(path.name + "-shm")
    closed = sqlite_store(path)
    module, name = {"os": os, "mmap": mmap}[fails.split(".")[0]], fails.split(".")[1]
    real = getattr(module, name)

    def failing(*args: Any, **options: Any) -> Any:
        if fails == "os.open" and not str(args[0]).endswith("-shm"):
            return real(*args, **options)
        raise OSError(errno.EMFILE, "too many open files")

    async with contextlib.AsyncExitStack() as stack:
        with monkeypatch.context() as patched:
            patched.setattr(module, name, failing)
            one = await stack.enter_async_context(opened(sqlite_store(path)))
            await one.write([Put(Space.NAME, 1, b"a", b"1")])
            assert await one.get(Space.NAME, 1, b"a")
            assert one.known(Space.NAME, 1, b"a") is None
        assert is_locked(shared)
        async with opened(closed):
            for _ in range(2):
                await closed.get(Space.NAME, 1, b"a")
            assert closed.known(Space.NAME, 1, b"a")
        assert is_locked(shared)
        for _ in range(2):
            await one.get(Space.NAME, 1, b"a")
        assert one.known(Space.NAME, 1, b"a")
    assert not (shared.exists() and is_locked(shared))


async def test_no_descriptor_stays(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        async with opened(sqlite_store(tmp_path / "m.sqlite")) as store:
            await store.write([Put(Space.NAME, 1, b"a", b"1")])
            await store.get(Space.NAME, 1, b"a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
