"""The benchmark of names measures what it says, at a size that takes a moment."""

from __future__ import annotations

from pathlib import Path

from tests.bench.names import DELIMITER_RATIO_MAX, NAME_BYTES_MAX, arriving, measure


def test_names_arrive_directory_by_directory_and_a_tenth_is_listed() -> None:
    versions = [version for some in arriving(20_000) for version in some]
    assert len({version.key for version in versions}) == 20_000
    assert sum(version.scope == 1 for version in versions) == 2_000
    assert [v.stamp for v in versions] == sorted(v.stamp for v in versions)
    assert versions[0].key.rpartition(b"/")[0] == versions[99].key.rpartition(b"/")[0]


async def test_a_small_run_is_measured(tmp_path: Path) -> None:
    report = await measure(tmp_path, 20_000)
    assert report.key_bytes < report.name_bytes <= NAME_BYTES_MAX
    assert 0 < report.lookup_p50_ms <= report.lookup_p99_ms
    assert len(report.bars()) == 5
    assert DELIMITER_RATIO_MAX > 1
