"""Replaying a log behind its checkpoint: only what is on the disk counts, and every byte that is no record is accounted for."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from ambry.format.segment import FOOTER_SIZE
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.index import FindToken
from datanode.store.opening import replay
from datanode.store.opening.progress import Progress
from datanode.store.opening.replay import Replay, ReplayFindings
from datanode.store.segment import segment_name
from tests.support.captured_log import Events, capture_log, said
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    DELETED,
    SEGMENT_SIZE,
    append,
    blob_id,
    checkpoint,
    content,
    open_replica,
    put_record,
    read_all,
    update_record,
)

TOKENS = {"peer": FindToken(b"p" * 16, 4096)}
SIZE = 9_000
COUNT = 16


class Bench:
    """Three segments, the first two sealed, all of them behind the checkpoint of a replica that has authority."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)
        self.store.serving = True
        checkpoint(self.store, tokens=TOKENS)
        for number in range(1, COUNT + 1):
            append(self.store, put_record(blob_id(number), content(number, SIZE)))
        append(self.store, update_record(blob_id(3), DELETED))
        assert self.store.scrub.segment_numbers() == [1, 2, 3]
        self.entries = {number: self.entry(number) for number in range(1, COUNT + 1)}

    def entry(self, number: int) -> IndexEntry:
        entry = self.store.lookup(blob_id(number))
        assert entry is not None, number
        return entry

    def path(self, number: int) -> Path:
        return self.directory / segment_name(number)

    def last_of(self, segment: int) -> int:
        """The blob whose record is the last one of a segment."""
        return max(number for number, entry in self.entries.items() if entry.segment == segment)

    def damage(self, number: int, data: bytes | None = None) -> None:
        """Overwrite the record of a blob from its start, with zeros unless `data` says otherwise."""
        entry = self.entries[number]
        self.disk.overwrite(self.path(entry.segment), entry.offset, data or bytes(entry.size))

    def kill(self) -> None:
        self.disk.kill()
        self.store.close()

    def reopen(self) -> BlobStore:
        self.store = open_replica(self.disk, self.directory)
        return self.store

    def expect_without(self, *missing: int) -> None:
        for number in range(1, COUNT + 1):
            entry = self.store.lookup(blob_id(number))
            if number in missing:
                assert entry is None, number
            else:
                assert entry is not None, number
                assert entry.state.deleted is (number == 3)
                assert read_all(self.store, blob_id(number)) == content(number, SIZE), number


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.kill()
    return made


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return capture_log(monkeypatch, replay)


def test_all_of_a_whole_log_is_replayed(bench: Bench) -> None:
    store = bench.reopen()
    assert (store.opened.replayed, store.opened.gaps, store.opened.cut_bytes) == (COUNT + 1, 0, 0)
    assert store.serving
    assert store.checkpoint.tokens == TOKENS
    assert store.compaction.damaged == set()
    bench.expect_without()
    segments = store._log.segments
    assert segments[1].end == segments[1].data_size() < SEGMENT_SIZE - FOOTER_SIZE
    assert [segments[number].end for number in (1, 2)] == [
        max(entry.offset + entry.size for entry in bench.entries.values() if entry.segment == number)
        for number in (1, 2)
    ]


def test_nothing_behind_the_checkpoint_leaves_the_end_where_it_is(bench: Bench) -> None:
    end = bench.reopen().end_lsn
    filled = bench.store.size_bytes()
    bench.kill()
    store = bench.reopen()
    assert (store.opened.replayed, store.end_lsn, store.size_bytes()) == (0, end, filled)
    bench.expect_without()


def test_every_segment_is_synced_and_read_from_the_disk(bench: Bench) -> None:
    """Pages that a failed sync left behind count as clean, and show bytes that are not on the disk."""
    bench.disk.calls.clear()
    bench.reopen()
    for number in (1, 2, 3):
        calls = [call for call, name in bench.disk.calls if name == segment_name(number)]
        assert calls.count("fdatasync") == 1
        synced, dropped = calls.index("fdatasync"), calls.index("drop_cache")
        assert synced < dropped
        assert "pread" in calls[dropped:], "the records"
        # Header and footer alone are read before it.
        assert calls[:synced].count("pread") <= 2


@pytest.mark.parametrize("segment", [1, 2, 3])
def test_a_sync_that_fails_is_not_believed(bench: Bench, segment: int) -> None:
    bench.disk.fail("fdatasync", errno.EIO, name=segment_name(segment))
    with pytest.raises(OSError, match="Input/output"):
        bench.reopen()
    bench.disk.mend()
    bench.disk.kill()
    bench.reopen()
    bench.expect_without()


def test_what_a_failed_sync_lost_is_gone_at_the_next_try(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    append(bench.store, put_record(blob_id(90), content(90, SIZE)), sync=False)
    bench.kill()
    bench.disk.fail("fdatasync", errno.EIO, name=segment_name(3))
    with pytest.raises(OSError, match="Input/output"):
        bench.reopen()
    bench.disk.mend()
    bench.disk.kill()
    store = bench.reopen()
    assert store.lookup(blob_id(90)) is None, "the page cache still showed it"
    bench.expect_without()


# --- sealed segments ---


@pytest.mark.parametrize("segment", [1, 2])
@pytest.mark.parametrize("zeros", [True, False])
def test_the_last_record_of_a_sealed_segment_is_missed(bench: Bench, events: Events, segment: int, zeros: bool) -> None:
    """Zeros behind the last whole record looked like the end of it, so a lost record was no loss."""
    number = bench.last_of(segment)
    entry = bench.entries[number]
    bench.damage(number, None if zeros else b"\xaa" * 100)
    store = bench.reopen()
    bench.expect_without(number)
    assert (store.opened.gaps, store.opened.cut_bytes) == (1, 0)
    assert store.compaction.damaged == {segment}
    assert not store.serving
    assert store.checkpoint.tokens == {}
    assert not bench.disk.exists(bench.directory / "quarantine"), "nothing of a sealed segment is cut"
    assert len(bench.disk.content(bench.path(segment))) == SEGMENT_SIZE
    (line,) = said(events, "damaged bytes between records")
    assert (line["segment"], line["offset"], line["bytes"]) == (segment, entry.offset, entry.size)
    assert store._log.segments[segment].end == entry.offset + entry.size


def test_all_records_of_a_sealed_segment_zeroed_are_one_gap(bench: Bench) -> None:
    numbers = [number for number, entry in bench.entries.items() if entry.segment == 2]
    for number in numbers:
        bench.damage(number)
    store = bench.reopen()
    bench.expect_without(*numbers)
    assert store.opened.gaps == 1
    assert store.compaction.damaged == {2}
    assert not store.serving


def test_what_stands_behind_the_records_of_a_sealed_segment_is_not_looked_at(bench: Bench) -> None:
    """Its footer says where they end: nothing there was ever acknowledged."""
    image = bench.disk.content(bench.path(1))
    end = bench.entries[bench.last_of(1)].offset + bench.entries[bench.last_of(1)].size
    bench.disk.overwrite(bench.path(1), end, image[80:1_000])
    store = bench.reopen()
    assert (store.opened.gaps, store.serving) == (0, True)
    bench.expect_without()


# --- gaps in the middle ---


@pytest.mark.parametrize("segment", [1, 2, 3])
@pytest.mark.parametrize("zeros", [True, False])
def test_a_gap_between_records_is_noted_with_its_place(bench: Bench, events: Events, segment: int, zeros: bool) -> None:
    number = min(number for number, entry in bench.entries.items() if entry.segment == segment)
    entry = bench.entries[number]
    bench.damage(number, None if zeros else b"\xaa" * 100)
    store = bench.reopen()
    bench.expect_without(number)
    assert (store.opened.gaps, store.opened.cut_bytes) == (1, 0)
    assert store.compaction.damaged == {segment}
    assert not store.serving
    assert store.checkpoint.tokens == {}
    (line,) = said(events, "damaged bytes between records")
    assert (line["log_level"], line["segment"], line["offset"], line["bytes"]) == (
        "error",
        segment,
        entry.offset,
        entry.size,
    )


def test_gaps_add_up(bench: Bench) -> None:
    for number in (1, 3, 9):
        bench.damage(number)
    store = bench.reopen()
    assert store.opened.gaps == 3
    assert store.compaction.damaged == {bench.entries[number].segment for number in (1, 3, 9)}
    (state,) = [entry for entry in store.changes_since(0, 100) if entry.id == blob_id(3)]
    assert (state.present, state.state) == (False, DELETED), "its update record stands further on"


# --- the torn tail ---


def tear(bench: Bench, keep: int) -> tuple[int, bytes]:
    """Cut the very last record off at byte `keep`; returns where it began, and what is left of it."""
    offset = bench.entries[3].lsn - 2 * SEGMENT_SIZE
    image = bench.disk.content(bench.path(3))
    assert image[offset : offset + 4] == b"AMBR"
    bench.disk.overwrite(bench.path(3), offset + keep, bytes(SEGMENT_SIZE - FOOTER_SIZE - offset - keep))
    return offset, image[offset : offset + keep].rstrip(b"\0")


@pytest.mark.parametrize("keep", [1, 50, 100])
def test_a_torn_tail_is_cut_and_kept_aside(bench: Bench, events: Events, keep: int) -> None:
    offset, left = tear(bench, keep)
    store = bench.reopen()
    assert (store.opened.replayed, store.opened.gaps, store.opened.cut_bytes) == (COUNT, 1, len(left))
    path = bench.directory / "quarantine" / f"{segment_name(3)}.{offset}"
    assert bench.disk.durable_content(path) == left
    assert len(bench.disk.durable_content(bench.path(3))) == offset
    assert not store.serving
    assert store.checkpoint.tokens == TOKENS, "they never cover what came behind the checkpoint"
    assert store.compaction.damaged == set()
    (line,) = said(events, "torn tail cut")
    assert (line["segment"], line["offset"], line["bytes"], line["quarantine"]) == (3, offset, len(left), str(path))


def test_a_tail_of_zeros_is_left_alone(bench: Bench) -> None:
    offset, _ = tear(bench, 0)
    store = bench.reopen()
    assert (store.opened.gaps, store.serving) == (0, True)
    assert store._log.segments[3].end == offset
    assert len(bench.disk.content(bench.path(3))) == SEGMENT_SIZE


def test_the_quarantine_of_one_tail_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "QUARANTINE_BYTES_MAX", 40)
    offset, left = tear(bench, 100)
    store = bench.reopen()
    path = bench.directory / "quarantine" / f"{segment_name(3)}.{offset}"
    assert bench.disk.content(path) == left[:40].rstrip(b"\0")
    assert store.opened.cut_bytes <= 40
    assert len(bench.disk.content(bench.path(3))) == offset, "all of it is cut"


def test_the_tail_is_aside_before_it_is_cut(bench: Bench) -> None:
    """A crash in between leaves it in one place at least."""
    offset, left = tear(bench, 100)
    bench.disk.fail("truncate", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        bench.reopen()
    path = bench.directory / "quarantine" / f"{segment_name(3)}.{offset}"
    assert bench.disk.durable_content(path) == left
    bench.disk.mend()
    bench.disk.kill()
    bench.reopen()
    assert bench.disk.durable_content(path) == left
    assert len(bench.disk.durable_content(bench.path(3))) == offset


def test_a_cut_tail_counts_again_when_nobody_could_say_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start that cut it was killed before its checkpoint took the authority away."""
    tear(bench, 100)
    real = Replay._cut

    def cut_and_die(self: Replay, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Replay, "_cut", cut_and_die)
        with pytest.raises(KeyboardInterrupt):
            bench.reopen()
    bench.disk.kill()
    store = bench.reopen()
    assert (store.opened.cut_bytes, store.opened.gaps, store.serving) == (0, 1, False)


@pytest.mark.parametrize("last", [True, False])
def test_a_torn_end_may_only_be_where_the_last_appends_went(bench: Bench, last: bool) -> None:
    """Elsewhere it is damage to what was acknowledged long ago, and tokens cannot be trusted either."""
    store = bench.reopen()
    tear(bench, 100)
    findings = ReplayFindings()
    Replay(bench.disk, bench.directory, store, findings, Progress()).run(store._log.segments[3], 0, last=last)
    assert findings.gaps == 1
    assert findings.cut_bytes > 0
    assert findings.lost is not last
