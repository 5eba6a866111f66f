"""What the storage bench reads from /proc, and its ways with files."""

from __future__ import annotations

from pathlib import Path

from tests.bench import store_machine
from tests.bench.store_machine import parse_rss_anon_kib, parse_write_bytes

STATUS = "Name:\tpython\nVmRSS:\t   55000 kB\nRssAnon:\t   31234 kB\nRssFile:\t   23000 kB\n"
IO = "rchar: 6976\nwchar: 0\nsyscr: 10\nsyscw: 0\nread_bytes: 1\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n"


def test_anonymous_memory_is_told_from_mapped_files() -> None:
    assert parse_rss_anon_kib(STATUS) == 31234


def test_bytes_written_are_those_that_go_to_a_disk() -> None:
    assert parse_write_bytes(IO) == 8192


def test_this_machine_has_both() -> None:
    assert store_machine.rss_anon_mb() > 1
    assert store_machine.written_mb() >= 0


def test_only_segments_are_segments(tmp_path: Path) -> None:
    (tmp_path / "partition-00000001" / "index").mkdir(parents=True)
    for name in ("00000002.segment", "00000001.segment", "lock", "00000003.segment.tmp", "index/data.mdb"):
        (tmp_path / "partition-00000001" / name).write_bytes(bytes(5_000))
    found = [path.name for path in store_machine.segments_below(tmp_path)]
    assert found == ["00000001.segment", "00000002.segment"]
    assert len(store_machine.files_below(tmp_path)) == 5
    assert store_machine.blocks_mb(tmp_path) >= 5 * 5_000 / 1e6


def test_files_are_read_to_their_end_whether_they_are_cached_or_not(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes((3 << 20) + 17))
    store_machine.drop([path])
    assert store_machine.read_through([path, path]) == 2 * ((3 << 20) + 17)


def test_the_disk_probe_leaves_nothing(tmp_path: Path) -> None:
    assert store_machine.appends_per_s(tmp_path, 5) > 0
    assert list(tmp_path.iterdir()) == []
