"""One descriptor of SQLite's shared memory for all connections of a process, closed when the last of them is."""

from __future__ import annotations

from pathlib import Path

from frontend.metadata.store import Put, Space
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


async def test_no_descriptor_stays(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        async with opened(sqlite_store(tmp_path / "m.sqlite")) as store:
            await store.write([Put(Space.NAME, 1, b"a", b"1")])
            await store.get(Space.NAME, 1, b"a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
