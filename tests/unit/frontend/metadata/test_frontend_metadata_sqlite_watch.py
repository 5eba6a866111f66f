"""Waiting for a log that another process writes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from tests.support.metadata_stores import opened, sqlite_store


async def test_nobody_watches_while_nobody_waits(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "m.sqlite")) as store:
        assert "metadata_watch" not in {thread.name for thread in threading.enumerate()}
        await store.wait(0, 0.01)
        assert "metadata_watch" in {thread.name for thread in threading.enumerate()}


async def test_who_waits_while_the_file_is_not_there_hears_of_what_comes(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "later" / "m.sqlite")
    waiting = asyncio.create_task(store.wait(0, 20.0))
    await asyncio.sleep(0.03)
    (tmp_path / "later").mkdir()
    await store.write([Put(Space.NAME, 1, b"a", b"")])
    assert await waiting == 1
    await store.close()


async def test_closing_wakes_all_that_wait(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "m.sqlite")
    waiting = [asyncio.create_task(store.wait(5, 60.0)) for _ in range(3)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*waiting) == [0, 0, 0]
