"""What a store knows without asking its file is what a read of the file would find in that moment, whoever wrote to it."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from frontend.metadata import sqlite_known
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.sqlite import SqliteStore
from frontend.metadata.store import LocalPut, Put, Stamp, Version
from tests.support.metadata_stores import opened, sqlite_store

NAME, SCOPE = Space.NAME, 1 << 32 | 1


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = sqlite_store(tmp_path / "m.sqlite")
    async with opened(made):
        yield made


@pytest.fixture
async def other(tmp_path: Path, store: SqliteStore) -> AsyncIterator[SqliteStore]:
    """The same file, as another process has it."""
    made = sqlite_store(tmp_path / "m.sqlite")
    async with opened(made):
        yield made


async def put(store: SqliteStore, key: bytes, value: bytes | None) -> Version:
    (version,) = await store.write([Put(NAME, SCOPE, key, value)])
    return version


async def learn(store: SqliteStore, *keys: bytes) -> None:
    """Read until nothing is to be caught up with."""
    for _ in range(2):
        for key in keys:
            await store.get(NAME, SCOPE, key)


async def test_what_was_read_is_known_until_it_changes(store: SqliteStore, other: SqliteStore) -> None:
    versions = {key: await put(store, key, b"1") for key in (b"a", b"b")}
    assert store.known(NAME, SCOPE, b"a") is None
    await learn(store, b"a", b"b", b"none")
    assert {key: store.known(NAME, SCOPE, key) for key in versions} == versions
    assert store.known(NAME, SCOPE, b"none") is None
    for writer in (other, store):
        gone = await put(writer, b"a", None)
        assert store.known(NAME, SCOPE, b"a") is None, "from the moment on in which it was acknowledged"
        assert await store.get(NAME, SCOPE, b"a") == gone
        assert store.known(NAME, SCOPE, b"b") == versions[b"b"], "one read is enough to know which have changed"
        assert await store.get(NAME, SCOPE, b"a") == gone
        assert store.known(NAME, SCOPE, b"a") == gone


async def test_what_changes_no_register_is_caught_up_with_by_one_read(store: SqliteStore, other: SqliteStore) -> None:
    version = await put(store, b"a", b"1")
    await learn(store, b"a")
    await other.write([LocalPut(LocalSpace.INTENT, b"i", b"")])
    assert store.known(NAME, SCOPE, b"a") is None
    await store.get(NAME, SCOPE, b"none")
    assert store.known(NAME, SCOPE, b"a") == version


async def test_an_older_version_that_comes_late_changes_nothing(store: SqliteStore, other: SqliteStore) -> None:
    version = await put(store, b"a", b"1")
    await learn(store, b"a")
    await other.merge([Version(NAME, SCOPE, b"a", Stamp(1, 2), b"old", 0)])
    await learn(store, b"a")
    assert store.known(NAME, SCOPE, b"a") == version


async def test_more_changes_than_a_page_has_are_as_if_nothing_was_known(store: SqliteStore, other: SqliteStore) -> None:
    version = await put(store, b"a", b"1")
    await learn(store, b"a")
    await other.write([Put(NAME, SCOPE, b"%d" % number, b"") for number in range(1_500)])
    await store.get(NAME, SCOPE, b"1499")
    assert store.known(NAME, SCOPE, b"a") is None
    await learn(store, b"a")
    assert store.known(NAME, SCOPE, b"a") == version


async def test_what_another_process_acknowledged_is_never_missed(store: SqliteStore, tmp_path: Path) -> None:
    version = await put(store, b"a", b"1")
    await learn(store, b"a")
    assert store.known(NAME, SCOPE, b"a") == version
    program = f"""
import asyncio
from pathlib import Path
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from tests.support.metadata_stores import opened, sqlite_store

async def main():
    async with opened(sqlite_store(Path({str(tmp_path / "m.sqlite")!r}))) as store:
        await store.write([Put(Space.NAME, {SCOPE}, b"a", b"2")])

asyncio.run(main())
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True)
    assert store.known(NAME, SCOPE, b"a") is None
    found = await store.get(NAME, SCOPE, b"a")
    assert found is not None and found.value == b"2"


async def test_at_every_moment_of_many_writers(store: SqliteStore, other: SqliteStore) -> None:
    source = random.Random(5)
    keys = [b"%d" % number for number in range(8)]
    acknowledged = dict.fromkeys(keys, 0)
    known = 0

    async def write(writer: SqliteStore) -> None:
        for _ in range(60):
            key = source.choice(keys)
            version = await put(writer, key, None if source.random() < 0.3 else b"x")
            acknowledged[key] = max(acknowledged[key], version.stamp.time)
            await asyncio.sleep(source.random() / 100)

    async def read() -> None:
        nonlocal known
        while not all(task.done() for task in writing):
            for key in keys:
                before = acknowledged[key]
                found = store.known(NAME, SCOPE, key)
                known += found is not None
                found = found or await store.get(NAME, SCOPE, key)
                assert (0 if found is None else found.stamp.time) >= before
            await asyncio.sleep(0)

    writing = [asyncio.create_task(write(writer)) for writer in (store, other, other)]
    await asyncio.gather(*writing, read(), read())
    assert known


async def test_a_file_that_was_put_back_is_another_one(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    await put(store, b"a", b"1")
    async with opened(sqlite_store(tmp_path / "backup.sqlite", seed=1)) as backup:
        assert isinstance(backup, SqliteStore)
        before = await put(backup, b"a", b"before")
    await learn(store, b"a")
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.sqlite", path)
    async with asyncio.timeout(20):
        while store.known(NAME, SCOPE, b"a"):  # noqa: ASYNC110  within a second it looks at its path again
            await asyncio.sleep(0.01)
    await learn(store, b"a")
    assert await store.get(NAME, SCOPE, b"a") == before


async def test_it_keeps_so_many_and_no_large_ones(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_known, "VERSIONS_MAX", 3)
    for key in (b"1", b"2", b"3", b"4"):
        await put(store, key, b"x")
    await put(store, b"large", bytes(sqlite_known.VALUE_BYTES_MAX + 1))
    await learn(store, b"large", b"1", b"2", b"3", b"4")
    assert store.known(NAME, SCOPE, b"large") is None
    assert [store.known(NAME, SCOPE, key) is not None for key in (b"1", b"2", b"3", b"4")] == [False, True, True, True]
