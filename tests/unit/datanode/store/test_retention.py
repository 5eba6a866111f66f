from __future__ import annotations

from datanode.config import CompactionSection
from datanode.store.retention import Retention, retention_at

CONFIG = CompactionSection(deleted_retention_s=7, tombstone_retention_s=30)


def test_the_configured_seconds_become_milliseconds() -> None:
    assert retention_at(CONFIG, 5_000, horizon_lsn=99) == Retention(
        now_ms=5_000, deleted_ms=7_000, tombstone_ms=30_000, horizon_lsn=99
    )


def test_without_a_horizon_no_tombstone_may_go() -> None:
    assert retention_at(CONFIG, 1 << 60).horizon_lsn == 0
