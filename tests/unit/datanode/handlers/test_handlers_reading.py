"""Reads that fail: never served, always reported."""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import Any

import pytest

from ambry.checksum import BLOCK_SIZE, xxh64
from ambry.errors import DataCorrupt, FormatUnknown
from datanode.store.blob_store import BlobStore
from tests.support.direct_node import DirectNode
from tests.support.gate import Gate
from tests.support.later_release import LATER, Change, as_later
from tests.support.samples import blob_id, content, forget

ID = blob_id(1)
LARGE = 5 * BLOCK_SIZE + 77


@pytest.mark.parametrize("cold", [False, True])
async def test_a_damaged_blob_is_never_served_and_is_reported(node: DirectNode, cold: bool) -> None:
    await node.put(ID, content(1, 1000))
    entry = node.replica.store.lookup(ID)
    assert entry is not None
    node.files.flip(node.replica.store.directory / "00000001.segment", entry.offset + 500)
    node.files.cache_cold = cold
    with pytest.raises(DataCorrupt):
        await node.get(ID)
    assert node.replica.store.damaged == {ID}
    assert [item["blob"] for item in node.parts.healer.describe()] == [ID.hex()]


async def test_a_disk_that_cannot_read_is_corrupt_data_for_the_caller(node: DirectNode) -> None:
    await node.put(ID, b"x")
    node.files.cache_cold = True
    node.files.fail("pread", errno.EIO)
    with pytest.raises(DataCorrupt, match="failed to read"):
        await node.get(ID)
    assert node.replica.store.damaged == {ID}


def change_record(node: DirectNode, raw_id: bytes, change: Change) -> None:
    """Let the log hold the record as a later release would have written it."""
    store = node.replica.store
    entry = store.lookup(raw_id)
    assert entry is not None
    file = node.files.open(store.directory / f"{entry.segment:08d}.segment")
    image = bytearray(entry.size)
    file.pread(image, entry.offset)
    changed = as_later(image, xxh64(store.incarnation), **change)
    node.files.overwrite(store.directory / f"{entry.segment:08d}.segment", entry.offset, changed)


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("change", LATER)
async def test_what_only_a_later_release_can_read_is_refused_and_not_repaired(
    node: DirectNode, change: Change, cold: bool
) -> None:
    """An unknown flag was ignored, and the bytes served as they stood: an encrypted blob as plain."""
    await node.put(ID, content(1, 1000))
    change_record(node, ID, change)
    end = node.replica.store.end_lsn
    node.files.cache_cold = cold
    for range_ in ((0, 1000), (3, 5), (0, 0)):
        with pytest.raises(FormatUnknown, match="written by a newer release; upgrade to read it"):
            await node.get(ID, *range_)
    with pytest.raises(FormatUnknown):
        await node.put(ID, content(1, 1000))
    assert node.replica.store.damaged == set()
    assert node.parts.healer.describe() == []
    assert node.replica.store.end_lsn == end


@pytest.mark.parametrize("change", LATER)
async def test_a_scrub_leaves_it_alone_and_counts_it(node: DirectNode, change: Change) -> None:
    for number in (1, 2, 3):
        await node.put(blob_id(number), content(number, 1000))
    change_record(node, ID, change)
    report = await node.parts.scrubber.scrub(node.replica)
    assert (report.records, report.damaged, report.unknown, report.missing, report.refused) == (3, 0, 0, 0, 1)
    assert node.parts.healer.describe() == []


# --- a repair comes while a read of the damaged record is under way ---


class FailingRead:
    """Reads of a store that fail wait before anybody hears of it, until `go_on` is set; `failed` tells that one does."""

    def __init__(self, store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failed = threading.Event()
        self.go_on = threading.Event()
        self._read = store.read
        monkeypatch.setattr(store, "read", self._wait)

    def _wait(self, *arguments: Any, **options: Any) -> object:
        try:
            return self._read(*arguments, **options)
        except DataCorrupt:
            self.failed.set()
            self.go_on.wait(10)
            raise


@pytest.mark.parametrize("known", [True, False], ids=["memory knows it", "only the file knows it"])
@pytest.mark.parametrize("first", [0, 1000], ids=["read", "head only"])
async def test_a_read_that_failed_says_nothing_about_the_copy_that_came_meanwhile(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch, known: bool, first: int
) -> None:
    """The good copy was called damaged, fetched again, and not served meanwhile."""
    await node.put(ID, content(1, 1000))
    store = node.replica.store
    entry = store.lookup(ID)
    assert entry is not None
    node.files.flip(store.directory / "00000001.segment", entry.offset + 20)
    if not known:
        await node.parts.checkpointer.checkpoint(node.replica)
    node.files.cache_cold = True
    store.damaged.add(ID)  # as whoever asked for the repair found
    with Gate(node.files, "pwritev") as gate:
        repairing = asyncio.ensure_future(node.put(ID, content(1, 1000)))
        await gate.arrived.wait()
        if not known:
            forget(store)
        read = FailingRead(store, monkeypatch)
        getting = asyncio.ensure_future(node.get(ID, first))
        assert await asyncio.to_thread(read.failed.wait, 30)
        gate.open()
        await repairing
        read.go_on.set()
    assert (await getting)[1] == content(1, 1000)[first:]
    assert store.damaged == set()
    assert node.parts.healer.describe() == []


async def test_a_scrub_that_failed_to_read_says_nothing_about_the_copy_that_came_meanwhile(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.put(ID, content(1, 1000))
    store, scrubber = node.replica.store, node.parts.scrubber
    entry = store.lookup(ID)
    assert entry is not None
    node.files.flip(store.directory / "00000001.segment", entry.offset + 500)
    run = scrubber._run
    looks: list[Any] = []

    async def repaired_behind(*arguments: Any) -> Any:
        found = await run(*arguments)
        looks.extend([found] if found == [entry] else [])
        if len(looks) == 2:  # it lies in damaged bytes, and could not be read
            looks.append("over")
            store.damaged.add(ID)
            await node.put(ID, content(1, 1000))
        return found

    monkeypatch.setattr(scrubber, "_run", repaired_behind)
    report = await scrubber.scrub(node.replica)
    assert report.damaged == 0
    assert store.damaged == set()
    assert node.parts.healer.describe() == []
