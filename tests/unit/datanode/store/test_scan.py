"""Reading a segment back: every whole record is found, and nothing else ever is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ambry.checksum import xxh64
from ambry.errors import FormatUnknown
from ambry.format import record as record_format
from ambry.format.record import Record
from ambry.format.segment import HEADER_SIZE, SegmentHeader
from datanode.store import scan as recovery
from datanode.store.scan import FoundRecord, Gap, SegmentScan
from tests.support.fake_files import FakeFile, FakeFiles
from tests.support.later_release import LATER, Change, later
from tests.support.samples import DELETED, PARTITION, blob_id, content, put_record, update_record

BASE = 10_000
SALT = xxh64(b"i" * 16)
SIZE = 8192


def write(tmp_path: Path, *items: Record | bytes, size: int = SIZE, base: int = BASE) -> tuple[FakeFiles, list[int]]:
    """A segment file holding records (with their right LSNs) and raw bytes. Returns the offsets of the items too."""
    disk = FakeFiles(tmp_path)
    file = disk.create(tmp_path / "s")
    file.allocate(size)
    at = HEADER_SIZE
    offsets = []
    for item in items:
        data = item if isinstance(item, bytes) else record_format.encode(item, base + at, SALT)
        file.pwritev([data], at)
        offsets.append(at)
        at += len(data)
    offsets.append(at)
    return disk, offsets


def scan(
    disk: FakeFiles, tmp_path: Path, start: int = 0, base: int = BASE, generation: int = 0
) -> list[FoundRecord | Gap]:
    file = disk.open(tmp_path / "s")
    header = SegmentHeader(
        partition=PARTITION,
        incarnation=b"i" * 16,
        base_lsn=base,
        end_lsn=base + (1 << 20),
        capacity_bytes=1 << 20,
        created_at_ms=0,
        generation=generation,
    )
    return list(SegmentScan(file, header, size=file.size()).run(start))


def brief(items: list[FoundRecord | Gap]) -> list[tuple[object, ...]]:
    return [
        ("found", item.offset, item.id) if isinstance(item, FoundRecord) else ("gap", item.start, item.end, item.zeros)
        for item in items
    ]


A, B, C = (put_record(blob_id(number), content(number, size)) for number, size in ((1, 100), (2, 333), (3, 0)))
U = update_record(blob_id(1), DELETED)


def test_all_records_are_found_and_then_zeros(tmp_path: Path) -> None:
    disk, at = write(tmp_path, A, U, B, C)
    assert brief(scan(disk, tmp_path)) == [
        ("found", at[0], A.id),
        ("found", at[1], U.id),
        ("found", at[2], B.id),
        ("found", at[3], C.id),
        ("gap", at[4], SIZE, True),
    ]
    assert brief(scan(disk, tmp_path, start=at[2]))[0] == ("found", at[2], B.id)


def test_a_full_segment_has_no_gap(tmp_path: Path) -> None:
    disk, at = write(tmp_path, A, B)
    disk.cut(tmp_path / "s", at[2])
    assert brief(scan(disk, tmp_path)) == [("found", at[0], A.id), ("found", at[1], B.id)]


def test_an_empty_segment_is_one_gap_of_zeros(tmp_path: Path) -> None:
    disk, _ = write(tmp_path)
    assert brief(scan(disk, tmp_path)) == [("gap", HEADER_SIZE, SIZE, True)]


@pytest.mark.parametrize("cut", range(B.size + 1))
def test_a_tail_torn_at_any_byte_keeps_the_records_before_it(tmp_path: Path, cut: int) -> None:
    image = record_format.encode(B, BASE + HEADER_SIZE + A.size, SALT)
    disk, at = write(tmp_path, A, image[:cut])
    items = brief(scan(disk, tmp_path))
    assert items[0] == ("found", at[0], A.id)
    if cut == B.size:
        assert items[1:] == [("found", at[1], B.id), ("gap", at[2], SIZE, True)]
    else:
        assert items[1:] == [("gap", at[1], SIZE, cut == 0)]


@pytest.mark.parametrize("place", range(0, B.size, 3))
def test_a_damaged_record_hides_only_itself(tmp_path: Path, place: int) -> None:
    disk, at = write(tmp_path, A, B, C, U)
    disk.flip(tmp_path / "s", at[1] + place, bit=place % 8)
    assert brief(scan(disk, tmp_path)) == [
        ("found", at[0], A.id),
        ("gap", at[1], at[2], False),
        ("found", at[2], C.id),
        ("found", at[3], U.id),
        ("gap", at[4], SIZE, True),
    ]


def test_the_first_record_damaged_hides_only_itself(tmp_path: Path) -> None:
    disk, at = write(tmp_path, A, B)
    disk.flip(tmp_path / "s", at[0])
    assert brief(scan(disk, tmp_path))[:2] == [("gap", at[0], at[1], False), ("found", at[1], B.id)]


def test_a_hole_of_zeros_is_told_from_damage(tmp_path: Path) -> None:
    disk, at = write(tmp_path, A, bytes(160), B)
    # B was encoded with the LSN of its place, so it is found behind the hole.
    assert brief(scan(disk, tmp_path))[1] == ("gap", at[1], at[2], True)


def test_a_record_image_inside_a_payload_is_not_taken_for_one(tmp_path: Path) -> None:
    inner = record_format.encode(put_record(blob_id(99), b"planted"), 12_345, SALT)
    for shift in range(8):
        outer = put_record(blob_id(1), bytes(shift) + inner + b"end")
        disk, at = write(tmp_path, A, outer, B)
        disk.flip(tmp_path / "s", at[1] + 10)  # the header: its payload is now searched for records
        items = brief(scan(disk, tmp_path))
        assert items[1:3] == [("gap", at[1], at[2], False), ("found", at[2], B.id)]


@pytest.mark.parametrize("generation", [0, 1])
def test_an_image_with_the_right_lsn_but_not_the_salt_is_not_taken_for_a_record(
    tmp_path: Path, generation: int
) -> None:
    """Who knows where in the log a payload comes to stand could plant one; the salt is known to nobody."""
    for shift in range(8):
        size = put_record(blob_id(99), b"planted").size + shift
        head = put_record(blob_id(1), bytes(size)).size - size
        inner = record_format.encode(put_record(blob_id(99), b"planted"), BASE + HEADER_SIZE + A.size + head + shift)
        disk, at = write(tmp_path, A, put_record(blob_id(1), bytes(shift) + inner), B)
        disk.flip(tmp_path / "s", at[1] + 10)
        found = [item.id for item in scan(disk, tmp_path, generation=generation) if isinstance(item, FoundRecord)]
        assert found == [A.id, B.id]


def test_a_planted_image_of_a_newer_release_does_not_stop_the_replica(tmp_path: Path) -> None:
    """Any image with an unknown version used to raise FormatUnknown wherever it lay, so a user's bytes in a torn tail could
    keep a replica from starting."""
    inner = later(put_record(blob_id(99), b"planted"), 12_345, SALT, version=9)
    for shift in range(8):
        outer = put_record(blob_id(1), bytes(shift) + inner)
        disk, at = write(tmp_path, A, outer)
        disk.flip(tmp_path / "s", at[1] + 10)
        assert brief(scan(disk, tmp_path))[1:] == [("gap", at[1], SIZE, False)]


@pytest.mark.parametrize("change", LATER)
@pytest.mark.parametrize("generation", [0, 1])
def test_an_intact_record_of_a_later_release_is_found_and_hides_nothing(
    tmp_path: Path, change: Change, generation: int
) -> None:
    disk, at = write(tmp_path, A, B, C)
    disk.overwrite(tmp_path / "s", at[1], later(B, BASE + at[1], SALT, **change))
    items = scan(disk, tmp_path, generation=generation)
    assert brief(items) == [
        ("found", at[0], A.id),
        ("found", at[1], B.id),
        ("found", at[2], C.id),
        ("gap", at[3], SIZE, True),
    ]
    header = items[1].header if isinstance(items[1], FoundRecord) else None
    assert header is not None
    with pytest.raises(FormatUnknown, match="written by a newer release; upgrade to read it"):
        record_format.require_readable(header)


@pytest.mark.parametrize("change", LATER)
def test_a_damaged_record_of_a_later_release_is_damaged(tmp_path: Path, change: Change) -> None:
    disk, at = write(tmp_path, A, B, C)
    disk.overwrite(tmp_path / "s", at[1], later(B, BASE + at[1], SALT, **change))
    for place in range(0, B.size, 7):
        disk.flip(tmp_path / "s", at[1] + place, bit=place % 8)
        assert brief(scan(disk, tmp_path))[1] == ("gap", at[1], at[2], False), place
        disk.flip(tmp_path / "s", at[1] + place, bit=place % 8)


def test_records_of_another_place_are_not_believed(tmp_path: Path) -> None:
    disk, at = write(tmp_path, A, B)
    assert brief(scan(disk, tmp_path, base=BASE + 8)) == [("gap", at[0], SIZE, False)]


def test_a_record_that_would_end_beyond_the_file_is_not_found(tmp_path: Path) -> None:
    disk, at = write(tmp_path, A, B)
    disk.cut(tmp_path / "s", at[2] - 8)
    assert brief(scan(disk, tmp_path)) == [("found", at[0], A.id), ("gap", at[1], at[2] - 8, False)]


def test_a_file_that_is_cut_while_it_is_read_ends_in_a_gap_that_is_not_empty(tmp_path: Path) -> None:
    """The scan used to ask for the missing bytes for ever. Whatever they were, nobody may say that they were zeros."""
    disk, at = write(tmp_path, A, B)
    file = disk.open(tmp_path / "s")
    header = SegmentHeader(
        partition=PARTITION,
        incarnation=b"i" * 16,
        base_lsn=BASE,
        end_lsn=BASE + SIZE,
        capacity_bytes=SIZE,
        created_at_ms=0,
    )
    disk.cut(tmp_path / "s", at[2] + 64)
    assert brief(list(SegmentScan(file, header, size=SIZE).run(0))) == [
        ("found", at[0], A.id),
        ("found", at[1], B.id),
        ("gap", at[2], SIZE, False),
    ]


def test_records_are_found_across_the_window_of_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "WINDOW", 256)
    source = random.Random(3)
    for _ in range(40):
        records = [put_record(blob_id(n), content(n, source.randint(0, 900))) for n in range(8)]
        disk, at = write(tmp_path, *records, size=16 << 10)
        bad = source.randrange(8)
        disk.flip(tmp_path / "s", at[bad] + source.randrange(100))
        expected = [record.id for number, record in enumerate(records) if number != bad]
        assert [item.id for item in scan(disk, tmp_path) if isinstance(item, FoundRecord)] == expected


def test_random_damage_never_yields_a_record_that_was_not_written(tmp_path: Path) -> None:
    source = random.Random(4)
    records = [put_record(blob_id(n), content(n, 50 + 40 * n)) for n in range(10)]
    for _ in range(60):
        disk, at = write(tmp_path, *records)
        for _ in range(source.randint(1, 6)):
            start = source.randrange(HEADER_SIZE, at[-1])
            disk.overwrite(tmp_path / "s", start, source.randbytes(source.randint(1, 200)))
        known = {(at[n], record.id) for n, record in enumerate(records)}
        items = scan(disk, tmp_path)
        assert {(item.offset, item.id) for item in items if isinstance(item, FoundRecord)} <= known
        # The items cover the file without holes or overlaps.
        ends = [HEADER_SIZE, *(item.end for item in items)]
        starts = [item.offset if isinstance(item, FoundRecord) else item.start for item in items]
        assert starts == ends[:-1]
        assert ends[-1] == SIZE


def test_room_that_was_never_written_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start after a kill read the rest of the segment in use of every replica, for nothing: 64 GB of zeros with 1,000."""
    disk, offsets = write(tmp_path, put_record(blob_id(1), content(1, 500)), size=32 << 20)
    sizes: list[int] = []
    real = FakeFile.pread

    def pread(file: FakeFile, buffer: bytearray | memoryview, offset: int) -> int:
        sizes.append(len(buffer))
        return real(file, buffer, offset)

    monkeypatch.setattr(FakeFile, "pread", pread)
    assert brief(scan(disk, tmp_path)) == [
        ("found", offsets[0], blob_id(1)),
        ("gap", offsets[1], 32 << 20, True),
    ]
    assert sum(sizes) <= 2 * recovery.WINDOW


def test_what_stands_behind_room_that_was_never_written_is_found(tmp_path: Path) -> None:
    place = 5 << 20
    record = put_record(blob_id(2), content(2, 500))
    disk, offsets = write(tmp_path, put_record(blob_id(1), content(1, 500)), size=8 << 20)
    end = disk.open(tmp_path / "s")
    end.pwritev([record_format.encode(record, BASE + place, SALT)], place)
    found = brief(scan(disk, tmp_path))
    assert found[:3] == [
        ("found", offsets[0], blob_id(1)),
        ("gap", offsets[1], place, True),
        ("found", place, blob_id(2)),
    ]
