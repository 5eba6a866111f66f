"""What compaction keeps, which segments it picks, and what its copy holds."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState
from ambry.format import record as record_format
from ambry.format.record import RecordKind
from ambry.format.segment import HEADER_SIZE, SegmentHeader
from datanode.store.blob_store import BlobStore
from datanode.store.compaction import plan as compaction
from datanode.store.compaction.copy import Copied, DamagedInput
from datanode.store.compaction.plan import Usage, plan, replaced
from datanode.store.entry import IndexEntry
from datanode.store.retention import Retention
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import Segment, segment_name
from datanode.store.stored_entries import ENTRY_BYTES, PAGE_ENTRIES
from tests.support.fake_files import FakeFiles
from tests.support.pieces import all_of
from tests.support.samples import (
    ALIVE,
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
    update_record,
)

WRITTEN = 1_700_000_000_000
ENTRY = IndexEntry(blob_id(1), 100, 1, 80, 500, 300, ALIVE, WRITTEN)
GONE = msgspec.structs.replace(ENTRY, segment=0, offset=0, size=0, payload_size=0, state=DELETED)


def retention(now: int, *, deleted: int = 10, tombstone: int = 30, horizon: int = 1 << 60) -> Retention:
    return Retention(now_ms=WRITTEN + now, deleted_ms=deleted, tombstone_ms=tombstone, horizon_lsn=horizon)


@pytest.mark.parametrize(
    ("state", "now", "dead"),
    [
        (ALIVE, 1 << 50, False),
        (DELETED, 9, False),
        (DELETED, 10, True),
        (BlobState(3, True, NEVER_MS), 10, True),
        (BlobState(0, False, WRITTEN + 100), 109, False),
        (BlobState(0, False, WRITTEN + 100), 110, True),
        (BlobState(1, False, 0), 9, False),
    ],
)
def test_bytes_die_after_their_retention(state: BlobState, now: int, dead: bool) -> None:
    assert retention(now).bytes_dead(msgspec.structs.replace(ENTRY, state=state)) is dead


@pytest.mark.parametrize(
    ("entry", "now", "horizon", "dead"),
    [
        (GONE, 29, 101, False),
        (GONE, 30, 101, True),
        (GONE, 30, 100, False),
        (msgspec.structs.replace(GONE, repaired=True), 1 << 40, 101, False),
        (msgspec.structs.replace(GONE, state=BlobState(0, False, 5)), 10, 0, True),
    ],
)
def test_a_tombstone_goes_when_it_is_old_and_everybody_has_seen_it(
    entry: IndexEntry, now: int, horizon: int, dead: bool
) -> None:
    assert retention(now, horizon=horizon).entry_dead(entry) is dead


usages_drawn = st.lists(
    st.integers(0, 1000).flatmap(lambda used: st.tuples(st.just(used), st.integers(0, used))), max_size=8
).map(lambda pairs: [Usage(number=7 + 3 * i, used_bytes=u, live_bytes=v) for i, (u, v) in enumerate(pairs)])


@given(usages_drawn, st.integers(-10, 3000), st.integers(1, 1500), st.floats(0.05, 1))
def test_a_plan_is_a_run_of_neighbours_that_fits_and_is_worth_it(
    usages: list[Usage], free: int, most: int, share: float
) -> None:
    numbers = plan(usages, free_bytes=free, output_bytes_max=most, dead_share_min=share)
    if numbers:
        every = [usage.number for usage in usages]
        start = every.index(numbers[0])
        assert numbers == every[start : start + len(numbers)]
        chosen = usages[start : start + len(numbers)]
        live, used = sum(u.live_bytes for u in chosen), sum(u.used_bytes for u in chosen)
        assert live <= most
        assert live <= free
        assert used > live
        assert (used - live) / used >= share


def test_the_obvious_segment_is_picked() -> None:
    usages = [Usage(number=n, used_bytes=1000, live_bytes=v) for n, v in ((4, 990), (9, 10), (2, 980))]
    assert plan(usages, free_bytes=10_000, output_bytes_max=1000, dead_share_min=0.25) == [9]
    assert plan(usages, free_bytes=5, output_bytes_max=1000, dead_share_min=0.25) == []
    assert plan([], free_bytes=10_000, output_bytes_max=1000, dead_share_min=0.25) == []


def test_what_is_copied_fits_one_segment_and_the_disk() -> None:
    usages = [Usage(number=n, used_bytes=1000, live_bytes=600) for n in (1, 2)]
    assert plan(usages, free_bytes=1200, output_bytes_max=1200, dead_share_min=0.4) == [1, 2]
    assert plan(usages, free_bytes=1199, output_bytes_max=1200, dead_share_min=0.4) == [1]
    assert plan(usages, free_bytes=1200, output_bytes_max=1199, dead_share_min=0.4) == [1]
    assert plan(usages, free_bytes=1200, output_bytes_max=599, dead_share_min=0.4) == []
    assert plan(usages, free_bytes=1200, output_bytes_max=1200, dead_share_min=0.41) == []


def test_a_damaged_segment_is_rewritten_first_and_alone() -> None:
    usages = [
        Usage(number=4, used_bytes=1000, live_bytes=10),
        Usage(number=9, used_bytes=1000, live_bytes=1000, damaged=True),
        Usage(number=2, used_bytes=1000, live_bytes=10),
    ]
    assert plan(usages, free_bytes=1000, output_bytes_max=1000, dead_share_min=0.25) == [9]
    # Without room for its copy it waits, and the others give some back.
    assert plan(usages, free_bytes=999, output_bytes_max=1000, dead_share_min=0.25) == [4]


def segment(number: int, base_lsn: int, end_lsn: int, *, used: int, generation: int = 0) -> Segment:
    header = SegmentHeader(
        partition=7,
        incarnation=b"i" * 16,
        base_lsn=base_lsn,
        end_lsn=end_lsn,
        capacity_bytes=1000,
        created_at_ms=5,
        generation=generation,
    )
    made = Segment(number, header)
    made.end = HEADER_SIZE + used
    return made


SEGMENTS = [
    segment(1, 1000, 2000, used=900),
    segment(3, 2000, 4000, used=800, generation=1),
    segment(2, 4000, 5000, used=900),
]
PUT_IN_1 = msgspec.structs.replace(ENTRY, segment=1, offset=80, size=500, lsn=1080)
MOVED_TO_3 = msgspec.structs.replace(ENTRY, segment=3, offset=80, size=500, lsn=2080)
STATE_ONLY = msgspec.structs.replace(GONE, state=ALIVE, lsn=4080)
UPDATE = 128
"""Bytes of an update record: its header, an id, padding."""


@pytest.mark.parametrize(
    ("entry", "live"),
    [
        pytest.param(PUT_IN_1, (500, 0, 0), id="a put and nothing since"),
        pytest.param(msgspec.structs.replace(PUT_IN_1, lsn=4080), (500, 0, UPDATE), id="changed in a later segment"),
        pytest.param(
            msgspec.structs.replace(PUT_IN_1, lsn=1580), (500 + UPDATE, 0, 0), id="changed in its own segment"
        ),
        pytest.param(
            msgspec.structs.replace(PUT_IN_1, lsn=4080, segment=2), (0, 0, 500), id="a put in the last segment"
        ),
        pytest.param(MOVED_TO_3, (0, 500 + UPDATE, 0), id="compacted: offsets tell no LSN, there may be an update"),
        pytest.param(
            msgspec.structs.replace(PUT_IN_1, lsn=4080, state=DELETED),
            (0, 0, UPDATE),
            id="deleted: bytes go, the delete stays",
        ),
        pytest.param(
            msgspec.structs.replace(PUT_IN_1, state=DELETED), (UPDATE, 0, 0), id="put under a tombstone: it becomes one"
        ),
        pytest.param(STATE_ONLY, (0, 0, UPDATE), id="a state whose bytes have not come"),
        pytest.param(
            msgspec.structs.replace(STATE_ONLY, state=DELETED), (0, 0, 0), id="a tombstone that everybody has seen"
        ),
        pytest.param(
            msgspec.structs.replace(STATE_ONLY, state=DELETED, repaired=True),
            (0, 0, UPDATE),
            id="a tombstone that must stay",
        ),
        pytest.param(msgspec.structs.replace(PUT_IN_1, lsn=999), (500, 0, 0), id="changed before all of these"),
        pytest.param(msgspec.structs.replace(PUT_IN_1, lsn=5000), (500, 0, 0), id="changed behind all of these"),
    ],
)
def test_what_a_segment_is_needed_for(entry: IndexEntry, live: tuple[int, int, int]) -> None:
    counted = all_of(compaction.usages(SEGMENTS, [entry], retention(100)))
    assert [(usage.number, usage.used_bytes, usage.live_bytes) for usage in counted] == [
        (1, 900, live[0]),
        (3, 800, live[1]),
        (2, 900, live[2]),
    ]


def test_a_segment_is_needed_for_all_its_blobs_together_and_never_for_more_than_it_holds() -> None:
    entries = [msgspec.structs.replace(PUT_IN_1, id=blob_id(n), size=200, lsn=4080 + n) for n in range(1, 4)]
    counted = all_of(compaction.usages(SEGMENTS, entries, retention(100), damaged={3}))
    assert [(usage.live_bytes, usage.damaged) for usage in counted] == [(600, False), (0, True), (3 * UPDATE, False)]
    counted = all_of(compaction.usages(SEGMENTS, entries * 3, retention(100)))
    assert [usage.live_bytes for usage in counted] == [900, 0, 900]


def test_a_tombstone_that_somebody_may_not_have_heard_of_waits_where_it_stands() -> None:
    gone = msgspec.structs.replace(STATE_ONLY, state=DELETED, lsn=2080)
    assert [usage.waiting for usage in all_of(compaction.usages(SEGMENTS, [gone], retention(100, horizon=2081)))] == [
        0,
        0,
        0,
    ]
    assert [usage.waiting for usage in all_of(compaction.usages(SEGMENTS, [gone], retention(100, horizon=2080)))] == [
        0,
        1,
        0,
    ]


def test_a_walk_through_many_entries_lets_others_have_their_turn() -> None:
    pieces: list[int] = []
    all_of(compaction.usages(SEGMENTS, [PUT_IN_1] * (2 * PAGE_ENTRIES + 1), retention(100)), pieces.append)
    assert pieces == [PAGE_ENTRIES * ENTRY_BYTES] * 2


class Bench:
    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)

    def seal(self) -> list[int]:
        """Fill the last segment until another is begun, checkpoint; returns the sealed ones."""
        count = self.store.segment_count()
        number = 900 + 10 * count
        while self.store.segment_count() == count:
            append(self.store, put_record(blob_id(number), content(number, 20_000)))
            number += 1
        checkpoint(self.store)
        return self.store.scrub.segment_numbers()[:-1]

    def copy(self, numbers: list[int], kept: Retention) -> Copied:
        return copy_segments(self.store, numbers, kept)

    def names(self) -> list[str]:
        return [name for name in self.disk.list_directory(self.directory) if "segment" in name]

    def compact(self, numbers: list[int], kept: Retention) -> Copied:
        return compact(self.store, numbers, kept)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def records(copied: Copied) -> list[FoundRecord]:
    segment = copied.output
    scan = SegmentScan(segment.file, segment.header, size=segment.data_size())
    found = list(scan.run(HEADER_SIZE))
    assert all(isinstance(item, FoundRecord) for item in found)
    return [item for item in found if isinstance(item, FoundRecord)]


def image(bench: Bench, number: int) -> bytes:
    entry = bench.store.lookup(blob_id(number))
    assert entry is not None
    return bytes(bench.store.read_image(entry))


def test_what_is_kept_is_kept_to_the_byte_and_the_rest_is_gone(bench: Bench) -> None:
    lsns = append(bench.store, *(put_record(blob_id(n), content(n, 3_000)) for n in range(1, 6)))
    append(bench.store, update_record(blob_id(2), DELETED), update_record(blob_id(4), DELETED))
    numbers = bench.seal()
    before = {n: image(bench, n) for n in (1, 3, 5)}
    copied = bench.copy(numbers, retention(20))
    found = {item.id: item for item in records(copied)}
    for place, number in enumerate((1, 2, 3, 4, 5)):
        item = found[blob_id(number)]
        if number in (2, 4):
            assert item.header.kind == RecordKind.UPDATE
            assert item.header.state == DELETED
        else:
            assert item.header.lsn == lsns[place]
            raw = bytearray(item.header.record_size)
            copied.output.file.pread(raw, item.offset)
            record_format.restamp(raw)
            assert bytes(raw) == before[number]
    assert [item.header.lsn for item in records(copied)] == sorted(item.header.lsn for item in records(copied))


def test_a_tombstone_goes_in_the_second_round_only(bench: Bench) -> None:
    append(bench.store, put_record(blob_id(1), content(1, 3_000)), update_record(blob_id(1), DELETED))
    numbers = bench.seal()
    first = bench.compact(numbers, retention(100))
    assert not first.forgotten
    for kept in (retention(29), retention(100, horizon=0)):
        assert not bench.compact(bench.store.scrub.segment_numbers()[:-1], kept).forgotten
        assert bench.store.lookup(blob_id(1)) is not None
    last = bench.compact(bench.store.scrub.segment_numbers()[:-1], retention(100))
    assert [item.id for item in last.forgotten] == [blob_id(1)]
    assert bench.store.lookup(blob_id(1)) is None


def test_a_put_under_a_tombstone_leaves_the_tombstone_with_its_lsn(bench: Bench) -> None:
    append(bench.store, update_record(blob_id(1), DELETED))
    lsn = append(bench.store, put_record(blob_id(1), content(1, 3_000)))[0]
    copied = bench.copy(bench.seal(), retention(20))
    mine = [item for item in records(copied) if item.id == blob_id(1)]
    assert [(item.header.kind, item.header.lsn, item.header.state) for item in mine] == [
        (RecordKind.UPDATE, lsn, DELETED)
    ]


def test_nothing_goes_for_a_record_that_may_be_lost(bench: Bench) -> None:
    lsn = append(bench.store, put_record(blob_id(1), content(1, 300)), update_record(blob_id(1), DELETED))[1]
    numbers = bench.seal()
    append(bench.store, update_record(blob_id(1), BlobState(1, False, NEVER_MS)), sync=False)
    copied = bench.copy(numbers, retention(20))
    assert lsn in [item.header.lsn for item in records(copied)]


def test_tombstones_are_not_rewritten_for_ever(bench: Bench) -> None:
    append(bench.store, *(update_record(blob_id(n), DELETED) for n in range(1, 400)))
    bench.seal()
    kept = retention(20)
    for _ in range(6):
        usages = all_of(bench.store.compaction.usages(bench.store.overlay(), kept))
        numbers = plan(usages, free_bytes=1 << 30, output_bytes_max=SEGMENT_SIZE, dead_share_min=0.25)
        if not numbers:
            return
        bench.compact(numbers, kept)
    raise AssertionError("it never ends")


def test_damage_stops_the_copy(bench: Bench) -> None:
    append(bench.store, put_record(blob_id(1), content(1, 3_000)))
    numbers = bench.seal()
    before = bench.names()
    bench.disk.flip(bench.directory / segment_name(numbers[0]), 900)
    with pytest.raises(DamagedInput):
        bench.copy(numbers, retention(20))
    assert bench.names() == before


@pytest.mark.parametrize("call", ["create", "pwritev", "fsync"])
def test_a_failed_copy_leaves_nothing(bench: Bench, call: str) -> None:
    append(bench.store, put_record(blob_id(1), content(1, 3_000)))
    numbers = bench.seal()
    before = bench.names()
    bench.disk.fail(call, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        bench.copy(numbers, retention(20))
    assert bench.names() == before


def test_after_a_compaction_its_output_stands_in_the_place_of_its_inputs(bench: Bench) -> None:
    for first in (1, 11):
        append(bench.store, *(put_record(blob_id(n), content(n, 6_000)) for n in range(first, first + 9)))
        bench.seal()
    append(bench.store, *(update_record(blob_id(n), DELETED) for n in range(1, 8)))
    numbers = bench.seal()
    kept = retention(20)
    before = all_of(bench.store.compaction.usages(bench.store.overlay(), kept))
    copied = bench.compact(numbers[:2], kept)
    after = replaced(before, numbers[:2], copied.output)
    assert [usage.number for usage in after] == [copied.output.number, *numbers[2:]]
    fresh = all_of(bench.store.compaction.usages(bench.store.overlay(), kept))
    assert [usage.number for usage in fresh] == [usage.number for usage in after]
    assert after[0].live_bytes == after[0].used_bytes == fresh[0].used_bytes
    assert fresh[0].live_bytes <= after[0].live_bytes


def test_when_a_blob_was_deleted_outlives_a_later_put_its_compaction_and_the_index(tmp_path: Path) -> None:
    """The put carried the tombstone, and with it its own, earlier time: in a rebuilt index the retention was over too soon."""
    deleted_at_ms = WRITTEN + 6
    files = FakeFiles(tmp_path)
    store = open_replica(files, tmp_path / "r")
    append(store, msgspec.structs.replace(update_record(blob_id(1), DELETED), written_at_ms=deleted_at_ms))
    append(store, put_record(blob_id(1), b"late"))
    for number in range(2, 8):
        append(store, put_record(blob_id(number), content(number, 20_000)))
    checkpoint(store)
    compact(store, [1], retention(9))
    checkpoint(store, clean=True)
    store.close()
    store = open_replica(files, tmp_path / "r", rebuild=True)
    entry = store.lookup(blob_id(1))
    assert entry is not None
    assert (entry.present, entry.state, entry.changed_at_ms) == (True, DELETED, deleted_at_ms)
    store.close()
