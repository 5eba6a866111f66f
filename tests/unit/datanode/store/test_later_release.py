"""A replica that a later release wrote into: what this one does not know it refuses, and keeps, bit for bit.

Every reader of the log used to take part in a loss: an unknown flag was ignored and the bytes served as they stood, and an
unknown kind or version ended the scrub, the compaction and the inspection of a whole replica.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.checksum import xxh64
from ambry.errors import FormatUnknown
from datanode.store.blob_store import BlobStore
from datanode.store.compaction.plan import plan
from datanode.store.entry import IndexEntry
from datanode.store.inspection import Inspection
from datanode.store.retention import Retention
from datanode.store.scrub import SegmentFindings, scrub_segment
from datanode.store.segment import segment_name
from datanode.store.verification import find_problems
from tests.support.fake_files import FakeFiles
from tests.support.later_release import FEATURES, LATER, MEANINGS, Change, as_later
from tests.support.pieces import all_of
from tests.support.samples import (
    DELETED,
    SEGMENT_SIZE,
    append,
    blob_id,
    checkpoint,
    compact,
    content,
    copy_segments,
    open_replica,
    put_record,
    read_all,
    stop_cleanly,
    update_record,
)

KEEP = Retention(now_ms=0, deleted_ms=1000, tombstone_ms=1000, horizon_lsn=0)
OLD = Retention(now_ms=1 << 50, deleted_ms=10, tombstone_ms=10, horizon_lsn=1 << 50)
REFUSED = "written by a newer release; upgrade to read it"
ID = blob_id(2)


class Replica:
    """Three blobs, the second of which a later release changed; `fill` seals the segment that they are in."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)
        for number in (1, 2, 3):
            append(self.store, put_record(blob_id(number), content(number, 5_000)))

    def entry(self) -> IndexEntry:
        entry = self.store.lookup(ID)
        assert entry is not None
        return entry

    def path(self, number: int = 1) -> Path:
        return self.directory / segment_name(number)

    def bytes_of(self, path: Path) -> bytes:
        file = self.disk.open(path)
        buffer = bytearray(file.size())
        file.pread(buffer, 0)
        file.close()
        return bytes(buffer)

    def change(self, change: Change) -> bytes:
        """Let the second record be as a later release would have written it; returns it."""
        entry = self.entry()
        image = self.bytes_of(self.path())[entry.offset : entry.offset + entry.size]
        changed = as_later(image, xxh64(self.store.incarnation), **change)
        self.disk.overwrite(self.path(), entry.offset, changed)
        return changed

    def seal(self) -> None:
        for number in range(900, 904):
            append(self.store, put_record(blob_id(number), content(number, 20_000)))
        checkpoint(self.store)

    def reopen(self, *, rebuild: bool = False) -> BlobStore:
        self.store = open_replica(self.disk, self.directory, rebuild=rebuild)
        return self.store

    def scrub(self) -> SegmentFindings:
        segment = self.store.scrub.target(1)
        assert segment is not None
        return all_of(scrub_segment(segment, self.store.lookup, KEEP))


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    return Replica(tmp_path)


# --- reading it ---


@pytest.mark.parametrize("change", LATER)
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("first", "end"), [(0, 5_000), (10, 20), (0, 0)])
def test_it_is_never_served(replica: Replica, change: Change, cached: bool, first: int, end: int) -> None:
    replica.change(change)
    with pytest.raises(FormatUnknown, match=REFUSED):
        replica.store.read(replica.entry(), first, end, cached_only=cached)
    assert read_all(replica.store, blob_id(1)) == content(1, 5_000)
    assert read_all(replica.store, blob_id(3)) == content(3, 5_000)


@pytest.mark.parametrize("change", LATER)
def test_its_image_travels_as_it_is(replica: Replica, change: Change) -> None:
    """Its receiver may know it; where it does not, it refuses it."""
    changed = replica.change(change)
    image = bytes(replica.store.read_image(replica.entry()))
    assert image == as_later(changed, 0)


# --- starting with it ---


@pytest.mark.parametrize("change", FEATURES)
@pytest.mark.parametrize("rebuild", [False, True])
def test_a_payload_that_cannot_be_read_is_a_blob_like_any_other(
    replica: Replica, change: Change, rebuild: bool
) -> None:
    changed = replica.change(change)
    stop_cleanly(replica.store)
    store = replica.reopen(rebuild=rebuild)
    assert (store.opened.gaps, store.opened.cut_bytes) == (0, 0)
    assert replica.entry().present
    with pytest.raises(FormatUnknown, match=REFUSED):
        store.read(replica.entry(), 0, 5_000, cached_only=False)
    assert bytes(store.read_image(replica.entry())) == as_later(changed, 0)
    append(store, update_record(ID, DELETED))
    assert replica.entry().state == DELETED


@pytest.mark.parametrize("change", MEANINGS)
def test_nothing_is_concluded_from_a_record_whose_meaning_is_not_known(replica: Replica, change: Change) -> None:
    """It may be the end of a blob. So a log that must be replayed over it waits for a release that knows it."""
    replica.change(change)
    before = replica.bytes_of(replica.path())
    replica.store.close()
    replica.disk.kill()
    for rebuild in (False, True):
        with pytest.raises(FormatUnknown, match=rf"00000001.segment at \d+: .*{REFUSED}"):
            replica.reopen(rebuild=rebuild)
    assert replica.bytes_of(replica.path()) == before
    assert not replica.disk.exists(replica.directory / "quarantine")


@pytest.mark.parametrize("change", MEANINGS)
def test_behind_the_checkpoint_it_keeps_no_replica_from_starting(replica: Replica, change: Change) -> None:
    replica.change(change)
    stop_cleanly(replica.store)
    store = replica.reopen()
    assert read_all(store, blob_id(3)) == content(3, 5_000)
    with pytest.raises(FormatUnknown, match=REFUSED):
        store.read(replica.entry(), 0, 5_000, cached_only=False)


@pytest.mark.parametrize("change", MEANINGS)
def test_a_torn_tail_behind_it_is_not_cut(replica: Replica, change: Change) -> None:
    replica.change(change)
    end = replica.store.end_lsn
    replica.disk.overwrite(replica.path(), end, b"torn")
    replica.store.close()
    replica.disk.kill()
    with pytest.raises(FormatUnknown):
        replica.reopen()
    assert replica.bytes_of(replica.path())[end : end + 4] == b"torn"


@pytest.mark.parametrize("change", MEANINGS)
def test_an_interrupted_compaction_is_not_finished_over_it(replica: Replica, change: Change) -> None:
    replica.seal()
    replica.change(change)
    store = replica.store
    copied = copy_segments(store, [1], KEEP)
    store.compaction.put_in_place(copied)
    names = {number: replica.bytes_of(replica.path(number)) for number in (1, copied.output.number)}
    store.close()
    replica.disk.kill()
    with pytest.raises(FormatUnknown, match=REFUSED):
        replica.reopen()
    assert {number: replica.bytes_of(replica.path(number)) for number in names} == names


# --- upkeep ---


@pytest.mark.parametrize("change", LATER)
def test_the_scrub_takes_it_for_no_damage(replica: Replica, change: Change) -> None:
    replica.change(change)
    found = replica.scrub()
    assert (found.gaps, found.records, found.indexed, found.unknown, found.refused) == ([], 3, 3, 0, 1)
    assert all_of(replica.store.scrub.unreadable([replica.entry()], whole=True)) == []


@pytest.mark.parametrize("change", MEANINGS)
def test_an_index_without_it_is_not_rebuilt_for_it(replica: Replica, change: Change) -> None:
    replica.change(change)
    replica.store.index.remove(ID)
    assert replica.scrub().unknown == 0


@pytest.mark.parametrize("change", LATER)
@pytest.mark.parametrize("damaged", [False, True])
def test_a_compaction_keeps_it_to_the_bit(replica: Replica, change: Change, damaged: bool) -> None:
    replica.seal()
    changed = replica.change(change)
    if damaged:  # a dead neighbour, left out
        append(replica.store, update_record(blob_id(1), DELETED))
        checkpoint(replica.store)
    copied = compact(replica.store, [1], OLD if damaged else KEEP)
    entry = replica.entry()
    assert entry.segment == copied.output.number
    assert replica.bytes_of(replica.path(entry.segment))[entry.offset : entry.offset + entry.size] == changed
    with pytest.raises(FormatUnknown, match=REFUSED):
        replica.store.read(entry, 0, 5_000, cached_only=False)
    assert read_all(replica.store, blob_id(3)) == content(3, 5_000)


@pytest.mark.parametrize("change", MEANINGS)
@pytest.mark.parametrize("known", [True, False])
def test_a_compaction_keeps_it_whatever_the_index_says(replica: Replica, change: Change, known: bool) -> None:
    """The index may have its blob elsewhere, or dead, or not at all: what the record itself says is not known."""
    replica.seal()
    changed = replica.change(change)
    if known:
        append(replica.store, update_record(ID, DELETED), put_record(ID, content(2, 10)))
    else:
        replica.store.index.remove(ID)
    checkpoint(replica.store)
    copied = compact(replica.store, [1], OLD)
    assert changed in replica.bytes_of(replica.path(copied.output.number))


# --- looking at it ---


@pytest.mark.parametrize("change", LATER)
def test_it_is_shown_and_named_and_not_called_damaged(replica: Replica, change: Change) -> None:
    replica.change(change)
    stop_cleanly(replica.store)
    inspection = Inspection(replica.disk, replica.directory)
    lines = {line.offset: line for line in inspection.records()}
    assert len(lines) == 3
    refused = [line for line in lines.values() if line.refused]
    assert [line.id for line in refused] == [lines[refused[0].offset].id]
    assert REFUSED in refused[0].refused
    assert refused[0].kind == ("kind 9" if change.get("kind") == 9 else "kind 0" if change.get("kind") == 0 else "blob")
    assert [line.gaps for line in inspection.overview().segments] == [0]
    (problem,) = find_problems(inspection)
    assert (problem.file, problem.offset) == ("00000001.segment", refused[0].offset)
    assert problem.what.startswith("intact, but refused: record ")


def test_a_segment_of_a_later_release_is_named(replica: Replica) -> None:
    stop_cleanly(replica.store)
    header = bytearray(replica.bytes_of(replica.path())[:120])
    header[11] = 4
    replica.disk.overwrite(replica.path(), 0, bytes(header) + xxh64(bytes(header)).to_bytes(8, "big"))
    said = r"00000001.segment: segment version 1, features 0x0004, reserved : written by a newer release"
    with pytest.raises(FormatUnknown, match=said):
        replica.reopen()
    inspection = Inspection(replica.disk, replica.directory)
    (refused,) = inspection.overview().refused
    assert "features 0x0004" in refused
    problems = list(find_problems(inspection))
    assert "features 0x0004" in problems[0].what


@pytest.mark.parametrize("change", MEANINGS)
def test_what_a_compaction_cannot_free_is_not_compacted_again_and_again(replica: Replica, change: Change) -> None:
    """The index has the blob for dead, the copy kept it: the segment was rewritten at every interval, and gave nothing back."""
    replica.seal()
    replica.change(change)
    append(replica.store, update_record(ID, DELETED), update_record(blob_id(1), DELETED))
    replica.seal()
    rounds = 0
    while numbers := next_compaction(replica.store, OLD):
        compact(replica.store, numbers, OLD)
        rounds += 1
        assert rounds < 10, "it never ends"
    assert rounds >= 1
    append(replica.store, update_record(blob_id(3), DELETED))
    replica.seal()
    assert next_compaction(replica.store, OLD), "something else died in it"


def next_compaction(store: BlobStore, retention: Retention) -> list[int]:
    usages = all_of(store.compaction.usages(store.overlay(), retention))
    return plan(usages, free_bytes=1 << 40, output_bytes_max=SEGMENT_SIZE, dead_share_min=0.05)
