from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from ambry.errors import DataCorrupt
from ambry.format.segment import FOOTER_SIZE, HEADER_SIZE, SegmentHeader
from datanode.store.segment import Segment, segment_name, segment_number
from tests.support.fake_files import FakeFiles

HEADER = SegmentHeader(
    partition=7, incarnation=b"i" * 16, base_lsn=1000, end_lsn=5096, capacity_bytes=4096, created_at_ms=5
)


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


def test_a_name_holds_the_number() -> None:
    assert segment_name(7) == "00000007.segment"
    assert segment_number(segment_name(7)) == 7
    for other in ("7.segment", "00000007", "00000007.segment.tmp", "0000000x.segment", "identity.json", "index"):
        assert segment_number(other) is None


def test_a_created_segment_is_whole_and_durable(disk: FakeFiles, tmp_path: Path) -> None:
    Segment(1, HEADER).create(disk, tmp_path)
    for seed in range(10):
        disk.crash(random.Random(seed))
    segment = Segment.open(disk, tmp_path, 1)
    assert segment.header == HEADER
    assert segment.file.size() == 4096
    assert (segment.end, segment.end_lsn, segment.limit - segment.end) == (
        HEADER_SIZE,
        1000 + HEADER_SIZE,
        4096 - HEADER_SIZE - FOOTER_SIZE,
    )
    assert disk.list_directory(tmp_path) == ["00000001.segment"]


def test_a_crash_while_a_segment_is_created_leaves_it_whole_or_not_there(tmp_path: Path) -> None:
    """A file without a header used to be left behind; it cost the replica its authority at every start from then on."""
    calls = ["create", "allocate", "pwritev", "fsync", "rename", "sync_directory"]
    for call in calls:
        for seed in range(20):
            disk = FakeFiles(tmp_path)

            def power_cut(now: str, _path: Path, call: str = call) -> None:
                if now == call:
                    raise KeyboardInterrupt

            disk.before = power_cut
            with pytest.raises(KeyboardInterrupt):
                Segment(1, HEADER).create(disk, tmp_path)
            disk.before = lambda _call, _path: None
            (disk.kill if seed == 0 else lambda seed=seed, disk=disk: disk.crash(random.Random(seed)))()
            if disk.exists(tmp_path / segment_name(1)):
                assert Segment.open(disk, tmp_path, 1).header == HEADER
            else:
                Segment(1, HEADER).create(disk, tmp_path)


@pytest.mark.parametrize("call", ["allocate", "pwritev", "fsync", "rename", "sync_directory"])
def test_a_segment_that_cannot_be_created_leaves_nothing(disk: FakeFiles, tmp_path: Path, call: str) -> None:
    disk.fail(call, errno.ENOSPC)
    segment = Segment(1, HEADER)
    with pytest.raises(OSError) as caught:
        segment.create(disk, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert disk.list_directory(tmp_path) == []
    assert not segment.on_disk
    assert not hasattr(segment, "file")
    segment.create(disk, tmp_path)
    assert segment.on_disk


def test_a_segment_is_never_written_over(disk: FakeFiles, tmp_path: Path) -> None:
    Segment(1, HEADER).create(disk, tmp_path)
    with pytest.raises(FileExistsError):
        Segment(1, HEADER).create(disk, tmp_path)
    assert Segment.open(disk, tmp_path, 1).header == HEADER


@pytest.mark.parametrize("size", [0, 10, HEADER_SIZE - 1])
def test_a_segment_that_is_too_short_is_damaged(disk: FakeFiles, tmp_path: Path, size: int) -> None:
    Segment(1, HEADER).create(disk, tmp_path)
    disk.cut(tmp_path / segment_name(1), size)
    with pytest.raises(DataCorrupt):
        Segment.open(disk, tmp_path, 1)


def test_closing_twice_is_harmless(disk: FakeFiles, tmp_path: Path) -> None:
    segment = Segment(1, HEADER)
    segment.create(disk, tmp_path)
    segment.close()
    segment.close()
    assert not segment.on_disk
