"""A change of a replica's directory that its disk refuses: the store is closed all the same, and it is tried again later."""

from __future__ import annotations

from pathlib import Path

import pytest

from datanode.changes import RETRY_MAX_S, Changes
from datanode.disk import Disk
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.opening.start_over import NO_CHANGE, DirectoryChange
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.samples import PARTITION, open_replica


class Refused(DirectoryChange):
    """By the disk, when it is prepared or carried out."""

    name = "some change"

    def __init__(self, where: str) -> None:
        self._where = where

    def prepare(self) -> None:
        if self._where == "prepare":
            raise OSError("refused")

    def carry_out(self) -> None:
        if self._where == "carry out":
            raise OSError("refused")


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_replica(FakeFiles(tmp_path), tmp_path / "r")


@pytest.mark.parametrize("where", ["prepare", "carry out"])
async def test_what_is_refused_is_said_and_tried_ever_less_often(store: BlobStore, where: str) -> None:
    clock = SettableClock()
    disk = Disk(threads=1, clock=SettableClock())
    changes = Changes(disk, clock=clock)
    waits: list[float] = []
    for tries in range(1, 12):
        await changes.carry_out(store, Refused(where))
        assert store.state is StoreState.CLOSED
        assert f"some change: OSError('refused'); tried {tries} times" in changes.undone(PARTITION)
        assert not changes.may_try(PARTITION)
        began = clock.monotonic()
        while not changes.may_try(PARTITION):
            clock.advance(1)
        waits.append(clock.monotonic() - began)
    assert waits == sorted(waits)
    assert waits[-1] == RETRY_MAX_S
    await changes.carry_out(store, NO_CHANGE)
    assert changes.undone(PARTITION), "a reopening without a change says nothing about it"
    await changes.carry_out(store, Refused("nowhere"))
    assert changes.undone(PARTITION) == ""
    assert changes.may_try(PARTITION)
    disk.close()
