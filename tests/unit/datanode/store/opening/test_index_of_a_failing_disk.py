"""Opening a replica whose index is not as it was left: transactions lost, pages torn or unreadable, no room in its map.

LMDB notices little of that: where the newer of its two meta pages never reached the disk, or has rotted, it takes the older.
"""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ambry.errors import InsufficientStorage, Overloaded
from datanode.store.blob_store import BlobStore
from datanode.store.retention import Retention
from datanode.store.scrub import scrub_segment
from datanode.store.tables import Table
from tests.support.fake_files import FakeFiles
from tests.support.pieces import all_of
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    checkpoint,
    compact,
    content,
    open_replica,
    put_record,
    read_all,
    stop_cleanly,
    update_record,
)

META_PAGE_BYTES = 4096
TRANSACTION_AT = 144
"""Of LMDB's MDB_meta in its page (lmdb.h, mdb.c): the number of its transaction, 8 bytes, little-endian."""
SIZE = 3_000
KEEP = Retention(now_ms=0, deleted_ms=10, tombstone_ms=30, horizon_lsn=0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "r"


def fill(store: BlobStore, numbers: range) -> None:
    for number in numbers:
        append(store, put_record(blob_id(number), content(number, SIZE)))


def missing(store: BlobStore, numbers: range) -> list[int]:
    """Which of the blobs are not known; what is must be right."""
    known = [number for number in numbers if store.lookup(blob_id(number)) is not None]
    assert all(read_all(store, blob_id(number)) == content(number, SIZE) for number in known)
    return sorted(set(numbers) - set(known))


def lose_a_simulated_one(disk: FakeFiles, place: Path) -> None:
    disk.stored_tables(place / "index").lose(1)


def rot_the_newer_meta_page(_disk: FakeFiles, place: Path) -> None:
    """One bit of the number by which LMDB tells which is the newer."""
    path = place / "index" / "data.mdb"
    content = bytearray(path.read_bytes())
    newer = max((struct.unpack_from("<Q", content, page + TRANSACTION_AT)[0], page) for page in (0, META_PAGE_BYTES))
    struct.pack_into("<Q", content, newer[1] + TRANSACTION_AT, newer[0] & ~(1 << newer[0].bit_length() - 1))
    path.write_bytes(content)


@pytest.mark.parametrize("lose", [lose_a_simulated_one, rot_the_newer_meta_page])
def test_a_clean_stop_of_before_says_nothing_of_what_came_since(
    tmp_path: Path, place: Path, lose: Callable[[FakeFiles, Path], None]
) -> None:
    """The checkpoint of the opening was lost, so that of the clean stop before counted: the log ended where it said,
    four acknowledged blobs were "not found" with authority, and the next put was written over them."""
    disk = FakeFiles(tmp_path, wholly_simulated=lose is lose_a_simulated_one)
    store = open_replica(disk, place)
    store.serving = True
    fill(store, range(5))
    stop_cleanly(store)
    store = open_replica(disk, place, seed=2)
    fill(store, range(5, 9))
    end = store.end_lsn
    disk.kill()
    store.close()
    lose(disk, place)
    store = open_replica(disk, place, seed=3)
    assert missing(store, range(9)) == []
    assert store.opened.replayed == 4
    (lsn,) = append(store, put_record(blob_id(20), b"x"))
    assert lsn >= end, "no LSN is given twice"
    assert missing(store, range(9)) == []
    store.close()


def test_an_index_of_before_a_compaction_is_rebuilt(tmp_path: Path, place: Path) -> None:
    """It pointed to files that are gone: all that the compaction had moved was "damaged", and was fetched from peers."""
    disk = FakeFiles(tmp_path, wholly_simulated=True)
    store = open_replica(disk, place)
    fill(store, range(60))
    checkpoint(store)
    compact(store, [1, 2], KEEP)
    disk.kill()
    store.close()
    disk.stored_tables(place / "index").lose(1)
    store = open_replica(disk, place, seed=2)
    assert missing(store, range(60)) == []
    assert store.opened.rebuilt
    stop_cleanly(store)
    store = open_replica(disk, place, seed=3)
    assert not store.opened.rebuilt
    store.close()


@pytest.mark.parametrize("seed", range(30))
def test_power_cuts_that_take_transactions_back_cost_no_record(tmp_path: Path, place: Path, seed: int) -> None:
    rng = random.Random(seed)
    disk = FakeFiles(tmp_path, wholly_simulated=True)
    disk.lose_transactions_max = 3
    store = open_replica(disk, place)
    end, count = 0, 0
    deleted: set[int] = set()
    for life in range(6):
        for _ in range(rng.randint(0, 4)):
            fill(store, range(count, count + 3))
            count += 3
            if rng.random() < 0.4:
                deleted.add(victim := rng.randrange(count))
                append(store, update_record(blob_id(victim), DELETED))
            if rng.random() < 0.4:
                checkpoint(store)
            full = [segment.number for segment in store._log.in_order()[:-1]]
            if full and rng.random() < 0.2:
                compact(store, full, KEEP)
        assert store.end_lsn >= end
        end = store.end_lsn
        if rng.random() < 0.5:
            stop_cleanly(store)
        disk.crash(rng)
        store.close()
        store = open_replica(disk, place, seed=life)
        assert missing(store, range(count)) == []
        states = {number: store.lookup(blob_id(number)) for number in range(count)}
        assert {number for number, entry in states.items() if entry and entry.state.deleted} == deleted
        assert store.end_lsn >= end
    store.close()


def test_a_page_that_the_disk_cannot_read_costs_a_rebuild(tmp_path: Path, place: Path) -> None:
    disk = FakeFiles(tmp_path, wholly_simulated=True)
    store = open_replica(disk, place)
    fill(store, range(40))
    stop_cleanly(store)

    def unreadable() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk.stored_tables(place / "index").on_page(Table.ENTRIES, blob_id(20)[16:32], unreadable)
    store = open_replica(disk, place, seed=2)
    assert store.opened.rebuilt
    assert missing(store, range(40)) == []
    store.close()


def test_a_torn_page_is_found_by_the_scrub_and_gives_no_wrong_bytes_until_then(tmp_path: Path, place: Path) -> None:
    disk = FakeFiles(tmp_path, wholly_simulated=True)
    store = open_replica(disk, place)
    fill(store, range(0, 40, 2))
    checkpoint(store)
    fill(store, range(1, 40, 2))
    stop_cleanly(store)
    disk.stored_tables(place / "index").tear(Table.ENTRIES, blob_id(20)[16:32])
    store = open_replica(disk, place, seed=2)
    lost = missing(store, range(40))
    assert lost
    scanned = [store.scrub.target(number) for number in store.scrub.segment_numbers()]
    findings = [all_of(scrub_segment(target, store.lookup, KEEP)) for target in scanned if target is not None]
    assert sum(finding.unknown for finding in findings) == len(lost)
    store.close()
    store = open_replica(disk, place, seed=3, rebuild=True)
    assert missing(store, range(40)) == []
    store.close()


def test_an_index_without_room_to_be_rebuilt_is_rebuilt_later(tmp_path: Path, place: Path) -> None:
    disk = FakeFiles(tmp_path, wholly_simulated=True)
    store = open_replica(disk, place)
    stored = disk.stored_tables(place / "index")
    fill(store, range(200))
    disk.kill()
    store.close()
    stored.bytes_max = 16 << 10
    with pytest.raises(InsufficientStorage):
        open_replica(disk, place, seed=2)
    stored.bytes_max = 1 << 30
    disk.fail("grow_tables", errno.ENOMEM)
    with pytest.raises(Overloaded):
        open_replica(disk, place, seed=3)
    store = open_replica(disk, place, seed=4)
    assert missing(store, range(200)) == []
    assert not store.opened.rebuilt, "neither is damage"
    store.close()
