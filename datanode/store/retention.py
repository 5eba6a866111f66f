"""What the configuration says about how long dead things are kept, as the store wants to hear it."""

from __future__ import annotations

from datanode.config import CompactionSection
from datanode.store.compaction.plan import Retention


def retention_at(config: CompactionSection, now_ms: int, *, horizon_lsn: int = 0) -> Retention:
    """The retention at `now_ms`, wall clock; `horizon_lsn`: every peer has seen all before it."""
    return Retention(
        now_ms=now_ms,
        deleted_ms=config.deleted_retention_s * 1000,
        tombstone_ms=config.tombstone_retention_s * 1000,
        horizon_lsn=horizon_lsn,
    )
