"""Verifying a stopped replica: every wrong bit of it is named with its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ambry.errors import IndexCorrupt
from ambry.format.segment import HEADER_SIZE
from datanode.store.inspection import Inspection
from datanode.store.verification import Problem, find_problems
from tests.support.samples import open_replica
from tests.support.stopped_replica import FILES, FIRST, flip, stopped_replica


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return stopped_replica(tmp_path / "r")


def problems_in(place: Path) -> list[Problem]:
    return list(find_problems(Inspection(FILES, place)))


def test_a_deleted_segment_leaves_a_missing_range(place: Path) -> None:
    (place / "00000002.segment").unlink()
    overview = Inspection(FILES, place).overview()
    first, third = overview.segments
    assert overview.missing_lsns == [(first.base_lsn + (64 << 10), third.base_lsn)]
    problems = problems_in(place)
    assert {problem.file for problem in problems} == {"00000002.segment", str(place)}
    assert problems[0].what == "no segment covers LSN 65536 to 131072: a file is missing"
    open_replica(FILES, place).close()
    assert str(place) not in {problem.file for problem in problems_in(place)}, (
        "the node knows, and has given up what was there"
    )


def test_a_deleted_last_segment_is_a_problem(place: Path) -> None:
    (place / "00000003.segment").unlink()
    assert "the log went on behind LSN 131072: its last file is missing" in {
        problem.what for problem in problems_in(place)
    }


def test_any_flipped_bit_of_a_segment_is_found_at_its_place(place: Path) -> None:
    """Header, both small records, and samples of all the rest, the zeros at the end included."""
    path = place / FIRST
    size = path.stat().st_size
    dense = range(HEADER_SIZE + 128 + 144)
    for offset in [*dense, *range(dense.stop, size, 997), size - 1]:
        flip(path, offset, offset % 8)
        problems = [problem for problem in problems_in(place) if problem.file == FIRST]
        flip(path, offset, offset % 8)
        assert problems and problems[0].offset <= offset, offset
    assert problems_in(place) == []


def test_a_zeroed_tombstone_between_records_is_found(place: Path) -> None:
    path = place / FIRST
    with path.open("r+b") as stream:
        stream.seek(HEADER_SIZE)
        stream.write(bytes(128))
    assert [(p.file, p.offset) for p in problems_in(place)] == [(FIRST, HEADER_SIZE)]


def test_a_missing_or_cut_index_is_a_problem(place: Path) -> None:
    data = place / "index" / "data.mdb"
    with data.open("r+b") as stream:
        stream.truncate(data.stat().st_size - 4096)
    assert [problem.file for problem in problems_in(place)] == ["index"]
    with pytest.raises(IndexCorrupt, match="instead of"):
        Inspection(FILES, place).overview()
    shutil.rmtree(place / "index")
    assert [problem.file for problem in problems_in(place)] == ["index"]


def test_an_empty_index_file_is_left_as_it_is(place: Path) -> None:
    data = place / "index" / "data.mdb"
    data.write_bytes(b"")
    assert "index" in {problem.file for problem in problems_in(place)}
    assert data.read_bytes() == b""
