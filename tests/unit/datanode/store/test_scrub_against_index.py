"""What a replica shows to those who check it: no more than is published, and the index as it is at that moment."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import IndexCorrupt
from ambry.format.segment import HEADER_SIZE
from datanode.store import scrub
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.retention import Retention
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import segment_name
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
    update_record,
)

NOW_MS = 1_700_000_000_000
SIZE = 3_000
KEPT = Retention(now_ms=NOW_MS + 1_000, deleted_ms=10, tombstone_ms=30, horizon_lsn=1 << 60)


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
def store(disk: FakeFiles, tmp_path: Path) -> BlobStore:
    """Three segments, half of the entries in the checkpoint and half in memory only."""
    made = open_replica(disk, tmp_path / "r")
    for number in range(1, 50):
        append(made, put_record(blob_id(number), content(number, SIZE)))
        if number == 25:
            checkpoint(made)
    assert made.scrub.segment_numbers() == [1, 2, 3]
    return made


def entry(store: BlobStore, number: int) -> IndexEntry:
    found = store.lookup(blob_id(number))
    assert found is not None, number
    return found


def numbers(entries: list[IndexEntry]) -> list[int]:
    return sorted(int.from_bytes(found.id[16:22], "big") for found in entries)


def flip(disk: FakeFiles, store: BlobStore, number: int, place: int) -> None:
    found = entry(store, number)
    disk.flip(store.directory / segment_name(found.segment), found.offset + place)


# --- segments ---


def test_a_target_ends_where_the_last_published_record_does(store: BlobStore) -> None:
    for number in store.scrub.segment_numbers():
        target = store.scrub.target(number)
        assert target is not None
        items = list(SegmentScan(target.file, target.header, size=target.end).run(HEADER_SIZE))
        assert all(isinstance(item, FoundRecord) for item in items)
        assert items[-1].end == target.end
    assert target is not None
    assert target.base_lsn + target.end == store.end_lsn


def test_what_is_placed_and_not_published_is_not_shown(store: BlobStore) -> None:
    """Its bytes are being written: a scrub would take them for damage."""
    before = store.scrub.target(3)
    assert before is not None
    records = [put_record(blob_id(number), content(number, SIZE)) for number in range(100, 145)]
    full = store._log.active
    assert full is not None
    batch = store.begin(records, sync=True)
    batch.place()
    assert [segment.number for segment in batch.created] == [4, 5]
    during = store.scrub.target(3)
    assert during is not None
    assert during.end == before.end < full.end
    assert store.scrub.target(4) is None
    batch.write()
    assert store.scrub.segment_numbers() == [1, 2, 3]
    store.publish(batch)
    assert store.scrub.segment_numbers() == [1, 2, 3, 4, 5]
    after = store.scrub.target(5)
    assert after is not None
    assert after.base_lsn + after.end == store.end_lsn


def test_a_target_does_not_grow_with_its_segment(store: BlobStore) -> None:
    target = store.scrub.target(3)
    assert target is not None
    end = target.end
    append(store, put_record(blob_id(100), content(100, SIZE)))
    assert target.end == end
    later = store.scrub.target(3)
    assert later is not None
    assert later.end == end + entry(store, 100).size


def test_a_segment_that_is_gone_has_no_target(store: BlobStore) -> None:
    checkpoint(store)
    assert store.scrub.target(99) is None
    output = compact(store, [1, 2], KEPT).output
    assert store.scrub.target(1) is None
    assert store.scrub.segment_numbers() == [output.number, 3]
    target = store.scrub.target(output.number)
    assert target is not None
    assert target.end == target.data_size(), "offsets of a compacted segment are no LSNs"


# --- the index ---


def test_the_survey_counts_the_blobs_of_each_segment(store: BlobStore) -> None:
    survey = all_of(store.scrub.survey(store.overlay(), NOW_MS))
    counts = {
        number: sum(entry(store, blob).segment == number for blob in range(1, 50))
        for number in store.scrub.segment_numbers()
    }
    assert dict(survey.present) == counts
    assert sum(counts.values()) == 49
    assert survey.absent == []


@pytest.mark.parametrize("stored", [True, False])
def test_living_blobs_without_their_bytes_are_absent(store: BlobStore, stored: bool) -> None:
    states = {
        100: BlobState(0, False, NEVER_MS),
        101: BlobState(1, False, NOW_MS + 1),
        102: BlobState(2, False, NEVER_MS),
        103: DELETED,
        104: BlobState(0, False, NOW_MS),
        105: BlobState(0, False, NOW_MS - 1),
    }
    append(store, *(update_record(blob_id(number), state) for number, state in states.items()))
    if stored:
        checkpoint(store)
    survey = all_of(store.scrub.survey(store.overlay(), NOW_MS))
    assert numbers(survey.absent) == [100, 101, 102]
    assert sum(survey.present.values()) == 49


def test_what_has_its_bytes_is_never_absent(store: BlobStore) -> None:
    append(store, update_record(blob_id(1), DELETED), update_record(blob_id(2), BlobState(1, False, NEVER_MS)))
    survey = all_of(store.scrub.survey(store.overlay(), NOW_MS))
    assert survey.absent == []
    assert sum(survey.present.values()) == 49


def test_the_list_of_absent_blobs_is_bounded(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "ABSENT_MAX", 3)
    append(store, *(update_record(blob_id(number), BlobState(1, False, NEVER_MS)) for number in range(100, 110)))
    survey = all_of(store.scrub.survey(store.overlay(), NOW_MS))
    assert len(survey.absent) == 3
    assert sum(survey.present.values()) == 49


def test_entries_are_picked_from_memory_and_checkpoint_alike(store: BlobStore) -> None:
    wanted = {blob_id(number) for number in (3, 24, 25, 26, 49)}
    found = all_of(store.scrub.entries_where(store.overlay(), lambda entry: entry.id in wanted))
    assert numbers(found) == [3, 24, 25, 26, 49]
    # What changed since the checkpoint is seen once, as it is now.
    append(store, update_record(blob_id(3), DELETED))
    (changed,) = all_of(store.scrub.entries_where(store.overlay(), lambda entry: entry.id == blob_id(3)))
    assert changed.state == DELETED
    assert all_of(store.scrub.entries_where(store.overlay(), lambda entry: False)) == []


# --- reading ---


def test_only_what_cannot_be_read_is_unreadable(disk: FakeFiles, store: BlobStore) -> None:
    flip(disk, store, 3, 50)
    flip(disk, store, 30, 2_500)
    entries = [entry(store, number) for number in range(1, 50)]
    assert numbers(all_of(store.scrub.unreadable(entries, whole=True))) == [3, 30]
    assert numbers(all_of(store.scrub.unreadable(entries, whole=False))) == [3], "only heads are read"
    assert all_of(store.scrub.unreadable([], whole=True)) == []


def test_a_disk_that_fails_a_read_is_no_different(disk: FakeFiles, store: BlobStore) -> None:
    disk.fail("pread", errno.EIO, for_ever=True, name=segment_name(2))
    entries = [entry(store, number) for number in range(1, 50)]
    bad = [found.id for found in entries if found.segment == 2]
    assert [found.id for found in all_of(store.scrub.unreadable(entries, whole=False))] == bad


def test_what_was_repaired_or_went_since_is_not_unreadable(disk: FakeFiles, store: BlobStore) -> None:
    """The list was made a while ago: each entry counts as it is now."""
    for number in (3, 4, 5):
        flip(disk, store, number, 50)
    old = [entry(store, number) for number in (3, 4, 5)]
    append(store, put_record(blob_id(3), content(3, SIZE)))
    store.compaction.forget_bytes(entry(store, 4))
    (found,) = all_of(store.scrub.unreadable(old, whole=True))
    assert found == entry(store, 5)
    store.index.remove(blob_id(5))
    assert all_of(store.scrub.unreadable(old, whole=True)) == []


def test_a_damaged_index_says_nothing_about_blobs(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [entry(store, 3)]

    def broken(_raw_id: bytes) -> None:
        raise IndexCorrupt("page 7 is rotten")

    monkeypatch.setattr(store.index, "get", broken)
    with pytest.raises(IndexCorrupt):
        all_of(store.scrub.unreadable(old, whole=True))
