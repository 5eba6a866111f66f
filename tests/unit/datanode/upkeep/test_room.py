from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datanode.disk import Disk
from datanode.upkeep.room import UNKNOWN, Room
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles


@pytest.fixture
async def disk() -> AsyncIterator[Disk]:
    made = Disk(threads=1, clock=SettableClock())
    yield made
    made.close()


async def test_the_reserve_is_no_room_for_puts(tmp_path: Path, disk: Disk) -> None:
    files = FakeFiles(tmp_path)
    room = Room(files, tmp_path, disk=disk, reserve_bytes=1_000)
    assert room.bytes == UNKNOWN
    files.free = 5_000
    assert await room.tick() > 0
    assert room.bytes == 4_000
    files.free = 900
    await room.tick()
    assert room.bytes == 0
