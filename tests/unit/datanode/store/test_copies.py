"""What peers may copy of a replica's log."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from ambry.blob import BlobState
from ambry.errors import DataCorrupt
from datanode.store.blob_store import BlobStore
from datanode.store.copies import PIN_S, PINS_MAX, StandingRecord
from datanode.store.retention import Retention
from datanode.store.stored_entries import Entries
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    ALIVE,
    DELETED,
    append,
    blob_id,
    checkpoint,
    compact,
    content,
    open_replica,
    put_record,
    update_record,
)

BLOBS = 30
LIMIT = 1_000
RETENTION = Retention(now_ms=1_800_000_000_000, deleted_ms=1, tombstone_ms=1, horizon_lsn=1 << 60)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(tmp_path: Path, clock: SettableClock) -> BlobStore:
    made = open_replica(FakeFiles(tmp_path), tmp_path / "replica", clock=clock)
    for number in range(BLOBS):
        append(made, put_record(blob_id(number), content(number, 9_000)))
    return made


def offered(store: BlobStore) -> dict[bytes, StandingRecord]:
    found: dict[bytes, StandingRecord] = {}
    for item in store.copies.segments(0):
        segment = store.copies.pin(item.number, item.generation)
        assert segment is not None
        offset = 128
        while offset:
            look = store.copies.look(segment, offset, LIMIT, store.damaged)
            found |= {standing.id: standing for standing in look.records}
            offset = look.next_offset
    return found


def in_the_last(store: BlobStore) -> set[bytes]:
    last = store._log.in_order()[-1].number
    entries = [store.lookup(blob_id(number)) for number in range(BLOBS)]
    return {entry.id for entry in entries if entry is not None and entry.segment == last}


def test_all_that_stands_in_segments_that_are_full_is_offered(store: BlobStore) -> None:
    found = offered(store)
    assert in_the_last(store), "the one in use is left to those who follow the log"
    assert set(found) | in_the_last(store) == {blob_id(number) for number in range(BLOBS)}
    for raw_id, standing in found.items():
        entry = store.lookup(raw_id)
        assert entry is not None
        assert (standing.offset, standing.size, standing.state) == (entry.offset, entry.size, ALIVE)


def test_segments_that_a_peer_has_followed_are_not_told(store: BlobStore) -> None:
    segments = store.copies.segments(0)
    assert store.copies.segments(segments[1].end_lsn) == segments[2:]
    assert store.copies.segments(segments[1].end_lsn - 1) == segments[1:]


def test_what_was_deleted_is_offered_to_nobody_and_what_changed_as_it_is_now(store: BlobStore) -> None:
    state = BlobState(1, False, 5_000_000_000_000)
    append(store, update_record(blob_id(2), DELETED), update_record(blob_id(3), state))
    found = offered(store)
    assert blob_id(2) not in found
    assert found[blob_id(3)].state == BlobState(1, False, ALIVE.expires_at_ms)


def test_an_older_record_of_a_repaired_blob_and_a_damaged_one_are_not_offered(store: BlobStore) -> None:
    before = offered(store)[blob_id(1)]
    store.damaged.add(blob_id(4))
    append(store, put_record(blob_id(1), content(1, 9_000)))
    found = offered(store)
    assert blob_id(4) not in found
    assert found.get(blob_id(1)) != before


def test_a_compacted_segment_is_another_one(store: BlobStore) -> None:
    append(store, update_record(blob_id(1), DELETED))
    checkpoint(store)
    first = store.copies.segments(0)[0]
    compact(store, [first.number], RETENTION)
    assert store.copies.pin(first.number, first.generation) is None
    now = store.copies.segments(0)[0]
    assert (now.generation, now.end_lsn) == (first.generation + 1, first.end_lsn)
    found = offered(store)
    assert set(found) | in_the_last(store) == {blob_id(number) for number in range(BLOBS)} - {blob_id(1)}


def test_damage_hides_what_it_hit_and_nothing_behind_it(store: BlobStore) -> None:
    entry = store.lookup(blob_id(2))
    assert entry is not None
    path = store.directory / f"{entry.segment:08d}.segment"
    files = store._log._files
    assert isinstance(files, FakeFiles)
    files.flip(path, entry.offset + 20)
    found = offered(store)
    assert set(found) | in_the_last(store) == {blob_id(number) for number in range(BLOBS)} - {blob_id(2)}


def test_a_look_goes_through_so_many_records_and_the_next_goes_on_behind_them(tmp_path: Path) -> None:
    store = open_replica(FakeFiles(tmp_path), tmp_path / "replica", segment_size_bytes=1 << 20)
    count = LIMIT + 200
    append(store, *(put_record(blob_id(number), b"") for number in range(count)))
    append(store, put_record(blob_id(count), content(1, 1 << 20)))
    item = store.copies.segments(0)[0]
    segment = store.copies.pin(item.number, item.generation)
    assert segment is not None
    first = store.copies.look(segment, 128, LIMIT, ())
    second = store.copies.look(segment, first.next_offset, LIMIT, ())
    assert (len(first.records), len(second.records), second.next_offset) == (LIMIT, 200, 0)


def test_a_pin_ends_some_time_after_the_last_look_and_there_are_not_too_many(
    store: BlobStore, clock: SettableClock
) -> None:
    segments = store.copies.segments(0)
    store.copies.pin(segments[0].number, 0)
    clock.advance(PIN_S - 1)
    store.copies.pin(segments[1].number, 0)
    assert store.copies.pinned() == {segments[0].number, segments[1].number}
    clock.advance(2)
    assert store.copies.pinned() == {segments[1].number}
    clock.advance(PIN_S)
    assert store.copies.pinned() == set()
    assert store.copies.pin(999, 0) is None
    for number in range(BLOBS, BLOBS + 7 * PINS_MAX):
        append(store, put_record(blob_id(number), content(number, 9_000)))
    for item in store.copies.segments(0):
        store.copies.pin(item.number, 0)
    assert len(store.copies.pinned()) == PINS_MAX


def test_bytes_that_are_not_there_are_an_error(store: BlobStore) -> None:
    item = store.copies.segments(0)[0]
    segment = store.copies.pin(item.number, 0)
    assert segment is not None
    with pytest.raises(DataCorrupt, match="are gone"):
        store.copies.read(segment, 60_000, 100_000)


def test_a_look_may_begin_anywhere(store: BlobStore) -> None:
    item = store.copies.segments(0)[0]
    segment = store.copies.pin(item.number, 0)
    assert segment is not None
    all_of_it = store.copies.look(segment, 128, LIMIT, ()).records
    behind_the_first = store.copies.look(segment, all_of_it[0].offset + 8, LIMIT, ())
    assert behind_the_first.records == all_of_it[1:]


def test_the_index_is_asked_once_for_all_that_is_looked_at(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction for each record was half of what giving a small one cost."""
    before = offered(store)
    checkpoint(store)
    asked: list[int] = []
    real = store.index._file.look_up

    def look_up(keys: Collection[bytes]) -> Entries:
        asked.append(len(keys))
        return real(keys)

    monkeypatch.setattr(store.index._file, "look_up", look_up)
    append(store, update_record(blob_id(1), DELETED))
    found = offered(store)
    assert found.keys() == before.keys() - {blob_id(1)}, "what waits in memory counts as well"
    assert len(asked) == len(store.copies.segments(0))
    assert sum(asked) == len(before) - 1
