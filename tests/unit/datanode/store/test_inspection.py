"""Looking at a stopped replica: every wrong bit of the log is named with its place, and nothing is changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ambry.errors import DataCorrupt, IndexCorrupt, StoreMismatch
from ambry.format.segment import HEADER_SIZE
from datanode.store.files import OsFiles
from datanode.store.inspection import Inspection, Problem, locked
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    content,
    open_replica,
    put_record,
    stop_cleanly,
    update_record,
)

FILES = OsFiles()
FIRST = "00000001.segment"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three segments, and a tombstone."""
    directory = tmp_path / "r"
    store = open_replica(FILES, directory)
    append(store, update_record(blob_id(9), DELETED), put_record(blob_id(8), b"odd"))
    for number in range(1, 6):
        append(store, put_record(blob_id(number), content(number, 30_000)))
    assert store.segment_count() == 3
    stop_cleanly(store)
    return directory


def verify(place: Path) -> list[Problem]:
    return list(Inspection(FILES, place).verify())


def flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0] ^ 1 << bit
        stream.seek(offset)
        stream.write(bytes([byte]))


def test_a_sound_replica_has_no_problem_and_is_not_changed(place: Path) -> None:
    def held() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and "lock" not in path.name}

    before = held()
    with locked(FILES, place):
        inspection = Inspection(FILES, place)
        overview = inspection.overview()
        assert verify(place) == []
        assert len(list(inspection.records())) == 7
    assert held() == before
    assert (overview.entries, overview.missing_lsns, overview.checkpoint_clean) == (7, [], True)
    assert [line.records for line in overview.segments] == [4, 2, 1]


def test_a_deleted_segment_leaves_a_missing_range(place: Path) -> None:
    (place / "00000002.segment").unlink()
    overview = Inspection(FILES, place).overview()
    first, third = overview.segments
    assert overview.missing_lsns == [(first.base_lsn + (64 << 10), third.base_lsn)]
    problems = verify(place)
    assert {problem.file for problem in problems} == {"00000002.segment", str(place)}
    assert problems[0].what == "no segment covers LSN 65536 to 131072: a file is missing"
    open_replica(FILES, place).close()
    assert str(place) not in {problem.file for problem in verify(place)}, (
        "the node knows, and has given up what was there"
    )


def test_a_deleted_last_segment_is_a_problem(place: Path) -> None:
    (place / "00000003.segment").unlink()
    assert "the log went on behind LSN 131072: its last file is missing" in {problem.what for problem in verify(place)}


def test_any_flipped_bit_of_a_segment_is_found_at_its_place(place: Path) -> None:
    """Header, both small records with their padding, and samples of all the rest, the zeros at the end included."""
    path = place / FIRST
    size = path.stat().st_size
    dense = range(HEADER_SIZE + 116 + 4 + 136)
    for offset in [*dense, *range(dense.stop, size, 997), size - 1]:
        flip(path, offset, offset % 8)
        problems = [problem for problem in verify(place) if problem.file == FIRST]
        flip(path, offset, offset % 8)
        assert problems and problems[0].offset <= offset, offset
    assert verify(place) == []


def test_a_zeroed_tombstone_between_records_is_found(place: Path) -> None:
    path = place / FIRST
    with path.open("r+b") as stream:
        stream.seek(HEADER_SIZE)
        stream.write(bytes(120))
    assert [(p.file, p.offset) for p in verify(place)] == [(FIRST, HEADER_SIZE)]


def test_a_missing_or_cut_index_is_a_problem(place: Path) -> None:
    data = place / "index" / "data.mdb"
    with data.open("r+b") as stream:
        stream.truncate(data.stat().st_size - 4096)
    assert [problem.file for problem in verify(place)] == ["index"]
    with pytest.raises(IndexCorrupt, match="instead of"):
        Inspection(FILES, place).overview()
    shutil.rmtree(place / "index")
    assert [problem.file for problem in verify(place)] == ["index"]


def test_an_empty_index_file_is_left_as_it_is(place: Path) -> None:
    data = place / "index" / "data.mdb"
    data.write_bytes(b"")
    assert "index" in {problem.file for problem in verify(place)}
    assert data.read_bytes() == b""


def test_a_running_node_and_what_is_no_replica_are_refused(place: Path, tmp_path: Path) -> None:
    with locked(FILES, place), pytest.raises(StoreMismatch, match="in use"), locked(FILES, place):
        pass
    with pytest.raises(StoreMismatch, match="no replica"), locked(FILES, tmp_path):
        pass
    flip(place / "identity.json", 20, 1)
    with pytest.raises(DataCorrupt):
        Inspection(FILES, place)
