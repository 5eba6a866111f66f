"""Records that were copied whole, on their way into another log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.format import record as record_format
from ambry.format.record import Record
from datanode.store.blob_store import BlobStore
from datanode.store.copies import StandingRecord
from datanode.store.images import Image, ImageBatch, Verified, verified
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    ALIVE,
    DELETED,
    append,
    blob_id,
    content,
    open_replica,
    put_record,
    read_all,
    stop_cleanly,
    update_record,
)

SALT = 77
AT = 128


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_replica(FakeFiles(tmp_path), tmp_path / "replica")


def record(number: int, size: int = 500, state: BlobState = ALIVE) -> Record:
    return put_record(blob_id(number), content(number, size), state=state, metadata=b"m" * (number % 9))


def piece(*records: Record, told: BlobState | None = None) -> tuple[bytearray, list[StandingRecord]]:
    """Bytes as they stand in somebody's segment from offset 128 on, and what its index says of them."""
    buffer = bytearray()
    offers: list[StandingRecord] = []
    for item in records:
        offset = AT + len(buffer)
        offers.append(StandingRecord(item.id, offset, item.size, told or item.state, 0))
        buffer += record_format.encode(item, 1_000_000 + offset, SALT)
    return buffer, offers


def take(buffer: bytearray, offers: list[StandingRecord]) -> Verified:
    return verified(buffer, AT, offers, SALT)


def append_images(store: BlobStore, *images: Image) -> int:
    """Returns how many buffers were written."""
    batch = store.begin(images, sync=True, shape=ImageBatch)
    batch.place()
    buffers = sum(len(run.buffers) for run in batch._runs())
    batch.write()
    store.publish(batch)
    return buffers


def test_they_are_read_like_any_others_also_after_their_index_is_lost(store: BlobStore, tmp_path: Path) -> None:
    found = take(*piece(*(record(number, 3_000 + number) for number in range(50))))
    assert not found.refused
    append_images(store, *found.images)
    assert store.segment_count() > 2, "they go over into new segments"
    files, directory = store._log._files, store.directory
    for rebuild in (False, True):
        stop_cleanly(store)
        store = open_replica(files, directory, rebuild=rebuild)
        assert [read_all(store, blob_id(number)) for number in range(50)] == [
            content(number, 3_000 + number) for number in range(50)
        ]


def test_those_that_follow_each_other_are_written_at_once(store: BlobStore) -> None:
    found = take(*piece(*(record(number) for number in range(20))))
    assert append_images(store, *found.images[:8], *found.images[9:]) == 2


@pytest.mark.parametrize("place", range(0, record(1).size, 13))
def test_a_flipped_bit_anywhere_refuses_the_record_and_no_other(store: BlobStore, place: int) -> None:
    buffer, offers = piece(record(0), record(1), record(2))
    buffer[offers[1].offset - AT + place] ^= 4
    found = take(buffer, offers)
    assert found.refused == [blob_id(1)]
    append_images(store, *found.images)
    assert read_all(store, blob_id(0)) == content(0, 500)
    assert read_all(store, blob_id(2)) == content(2, 500)


def test_what_is_not_the_record_that_was_offered_is_refused() -> None:
    buffer, offers = piece(record(0), record(1))
    other = StandingRecord(blob_id(9), offers[0].offset, offers[0].size, ALIVE, 0)
    longer = StandingRecord(blob_id(1), offers[1].offset, offers[1].size + 8, ALIVE, 0)
    beyond = StandingRecord(blob_id(1), offers[1].offset + 8, offers[1].size, ALIVE, 0)
    assert take(buffer, [other, longer, beyond]) == Verified([], [blob_id(9), blob_id(1), blob_id(1)])
    assert verified(buffer, AT, offers, SALT + 1).refused == [blob_id(0), blob_id(1)], "of another log"
    update = update_record(blob_id(3), DELETED)
    assert take(*piece(update)).refused == [blob_id(3)]


def test_the_state_that_the_peers_index_knows_goes_into_the_log(store: BlobStore) -> None:
    """The record was written before the blob got its time to live, and knows nothing of it."""
    state = BlobState(2, False, 5_000_000_000_000)
    older = record(1, state=BlobState(0, False, 9))
    append_images(store, *take(*piece(older, told=state)).images)
    files, directory = store._log._files, store.directory
    stop_cleanly(store)
    store = open_replica(files, directory, rebuild=True)
    entry = store.lookup(blob_id(1))
    assert entry is not None
    assert entry.state == state
    assert read_all(store, blob_id(1)) == content(1, 500)


@pytest.mark.parametrize(
    ("known", "taken", "state"),
    [
        (None, True, ALIVE),
        (BlobState(0, False, 7), True, ALIVE),
        (BlobState(1, False, 7), True, BlobState(1, False, NEVER_MS)),
        (DELETED, False, DELETED),
        (BlobState(3, True, NEVER_MS), False, BlobState(3, True, NEVER_MS)),
    ],
)
def test_what_was_learned_meanwhile_is_joined(
    store: BlobStore, known: BlobState | None, taken: bool, state: BlobState
) -> None:
    found = take(*piece(record(1)))
    if known is not None:
        append(store, update_record(blob_id(1), known))
    append_images(store, *found.images)
    entry = store.lookup(blob_id(1))
    assert entry is not None
    assert (entry.present, entry.state) == (taken, state)


def test_a_blob_that_came_meanwhile_is_not_stored_twice(store: BlobStore) -> None:
    buffer, offers = piece(record(1), record(2))
    append(store, record(1))
    before = store.lookup(blob_id(1))
    images = take(buffer, offers).images
    append_images(store, *images, *images)
    assert store.lookup(blob_id(1)) == before
    assert read_all(store, blob_id(2)) == content(2, 500)
    entry = store.lookup(blob_id(2))
    assert entry is not None
    assert not entry.repaired
