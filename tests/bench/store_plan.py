"""How large each row of the storage bench is, and which figures it gives with which bars. Pure."""

from __future__ import annotations

import msgspec

from datanode.config import CompactionSection
from tests.bench.store_figures import Spec

ROWS = ("commit", "chunks", "amplification", "cold", "hot", "lookup", "background", "churn", "restart", "index")
WRITERS = 32
CHUNK_SIZE = 4 << 20
BLOB_SIZE = 50_000
# 16 bytes of key, 60 of value, and 24 of the place in the LSN order: what an entry takes without LMDB around it.
ENTRY_BYTES = 100
# A segment is left alone while a quarter of it is dead (compaction.dead_share_min), so this much may be there.
DISK_SHARE_MAX = round(1 / (1 - CompactionSection().dead_share_min), 2)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and counts; a `count` of rounds is how often ours and its baseline take turns."""

    commit_rounds: int
    commit_appends: int
    chunk_rounds: int
    amplified_blobs: int
    cold_rounds: int
    cold_records: int
    hot_rounds: int
    hot_blobs: int
    hot_reads: int
    index_blobs: int
    lookup_rounds: int
    lookups: int
    background_rounds: int
    background_window_s: float
    background_blobs: int
    churn_days: int
    churn_puts_per_day: int
    restart_rounds: int
    tail_records: int
    rebuild_blobs: int
    big_blobs: int = 0
    big_partitions: int = 8


FULL = Plan(
    commit_rounds=7,
    commit_appends=20_000,
    chunk_rounds=13,
    amplified_blobs=20_000,
    cold_rounds=9,
    cold_records=512,
    hot_rounds=9,
    hot_blobs=100_000,
    hot_reads=30_000,
    index_blobs=1_000_000,
    lookup_rounds=7,
    lookups=50_000,
    background_rounds=7,
    background_window_s=5.0,
    background_blobs=80_000,
    churn_days=400,
    churn_puts_per_day=40,
    restart_rounds=5,
    tail_records=50_000,
    rebuild_blobs=20_000,
)
QUICK = Plan(
    commit_rounds=3,
    commit_appends=8_000,
    chunk_rounds=6,
    amplified_blobs=4_000,
    cold_rounds=5,
    cold_records=128,
    hot_rounds=3,
    hot_blobs=20_000,
    hot_reads=20_000,
    index_blobs=200_000,
    lookup_rounds=3,
    lookups=20_000,
    background_rounds=2,
    background_window_s=3.0,
    background_blobs=20_000,
    churn_days=400,
    churn_puts_per_day=8,
    restart_rounds=2,
    tail_records=20_000,
    rebuild_blobs=4_000,
)
BIG_BLOBS = 10_000_000


def specs(plan: Plan) -> list[Spec]:
    """Every figure, in the order of the table."""
    return [
        *_writes(),
        *_reads(plan),
        *_background(plan),
        *_restarts(plan),
        *_index(plan.index_blobs, 1, "index "),
        *(_index(plan.big_blobs, plan.big_partitions, "big ") if plan.big_blobs else []),
    ]


def _writes() -> list[Spec]:
    found = []
    for partitions in (1, 8):
        ours = f"synced {partitions}"
        where = f"4 KiB, {WRITERS} writers, {partitions} partition{'s' if partitions > 1 else ''}"
        found += [
            Spec(row="commit", title=f"{where}: durable / fdatasyncs of one writer",
                 ours=ours, baseline="fdatasync", unit="/s", bar=10.0),
            Spec(row="commit", title=f"{where}: durable / not synced",
                 ours=ours, baseline=f"memory {partitions}", unit="/s", bar=0.5),
        ]  # fmt: skip
    return [
        *found,
        Spec(row="chunks", title="4 MiB, 1 writer / raw writes, each synced",
             ours="chunks 1", baseline="raw 1", unit="MB/s", bar=0.85),
        Spec(row="chunks", title="4 MiB, 4 writers / raw writes, four to a sync",
             ours="chunks 4", baseline="raw 4", unit="MB/s", bar=0.85),
        Spec(row="amplification", title="50 KB: segments used and index / payload",
             ours="used", baseline="payload", unit="MB", bar=1.05, at_least=False),
        Spec(row="amplification", title=f"50 KB, {WRITERS} writers: written to the disk / payload",
             ours="written", baseline="payload", unit="MB", bar=1.05, at_least=False),
        Spec(row="amplification", title="50 KB, 1 writer: written to the disk / payload",
             ours="written 1", baseline="payload", unit="MB"),
        Spec(row="amplification", title="50 KB: blocks that all files hold / payload",
             ours="blocks", baseline="payload", unit="MB"),
        Spec(row="amplification", title="4 MiB: blocks that full segments hold / payload",
             ours="blocks of chunks", baseline="payload of chunks", unit="MB"),
    ]  # fmt: skip


def _reads(plan: Plan) -> list[Spec]:
    return [
        Spec(row="cold", title="64 KiB of 4 MiB, cold, 4 threads / preads of the blocks",
             ours="cold", baseline="preads", unit="/s", bar=0.85),
        Spec(row="cold", title="the same / preads of heads and blocks",
             ours="cold", baseline="preads of both", unit="/s"),
        Spec(row="cold", title="8 blocks of each record, so 7 heads cached / preads of the blocks",
             ours="cold 8", baseline="preads 8", unit="/s"),
        Spec(row="cold", title="raw: head, then block / preads of the blocks",
             ours="preads of both", baseline="preads", unit="/s"),
        Spec(row="cold", title="raw: head and block at once / preads of the blocks",
             ours="preads of both at once", baseline="preads", unit="/s"),
        Spec(row="cold", title="raw: block with check and tag beside it / preads of the blocks",
             ours="preads beside", baseline="preads", unit="/s"),
        Spec(row="cold", title="raw: 4 MiB, cached, blocks and what is beside them apart / one buffer",
             ours="scattered", baseline="whole", unit="MB/s"),
        Spec(row="hot", title="4 KiB reads per core, entry given / preadv alone",
             ours="reads", baseline="preadv", unit="/s", bar=40_000.0, of="value"),
        Spec(row="hot", title="4 KiB reads per core, looked up by id / preadv alone",
             ours="looked up", baseline="preadv", unit="/s", bar=40_000.0, of="value"),
        Spec(row="lookup", title=f"look-up, {plan.index_blobs:,} blobs, hot / LMDB's get alone",
             ours="lookup", baseline="get", unit="us", bar=10.0, of="value", at_least=False),
        Spec(row="lookup", title="look-up of an id that is not there / LMDB's get alone",
             ours="absent", baseline="get", unit="us"),
    ]  # fmt: skip


def _background(plan: Plan) -> list[Spec]:
    return [
        Spec(row="background", title="p99 of durable 16 KiB writes: with / without",
             ours="write p99 busy", baseline="write p99", unit="ms", bar=2.0, at_least=False),
        Spec(row="background", title="p99 of cached 16 KiB reads: with / without",
             ours="read p99 busy", baseline="read p99", unit="ms", bar=2.0, at_least=False),
        Spec(row="background", title="p50 of durable 16 KiB writes: with / without",
             ours="write p50 busy", baseline="write p50", unit="ms"),
        Spec(row="background", title="p50 of cached 16 KiB reads: with / without",
             ours="read p50 busy", baseline="read p50", unit="ms"),
        Spec(row="churn", title=f"{plan.churn_days} days, compacted: disk / live and within retention",
             ours="disk", baseline="needed", unit="MB", bar=DISK_SHARE_MAX, at_least=False),
        Spec(row="churn", title="the same without compaction",
             ours="disk without", baseline="needed", unit="MB"),
        Spec(row="churn", title="came back / dead past retention",
             ours="came back", baseline="dead", unit="MB"),
        Spec(row="churn", title="rewritten by compaction / put",
             ours="rewritten", baseline="put", unit="MB"),
    ]  # fmt: skip


def _restarts(plan: Plan) -> list[Spec]:
    count = f"{plan.index_blobs:,} records"
    return [
        Spec(row="restart", title=f"open {count}, clean stop / an empty replica",
             ours="open clean", baseline="open empty", unit="s", bar=5.0, of="value", at_least=False),
        Spec(row="restart", title="the same, nothing in the page cache",
             ours="open cold", baseline="open empty", unit="s", bar=5.0, of="value", at_least=False),
        Spec(row="restart", title=f"the same, killed {plan.tail_records:,} records after a checkpoint",
             ours="open killed", baseline="open empty", unit="s", bar=5.0, of="value", at_least=False),
        Spec(row="restart", title="rebuild, 50 KB records / preads of 1 MiB, both from the disk",
             ours="rebuild", baseline="read", unit="MB/s", bar=0.6),
        Spec(row="restart", title=f"rebuild, {count} of 16 bytes / preads of 1 MiB",
             ours="rebuild tiny", baseline="read tiny", unit="MB/s"),
        Spec(row="restart", title=f"rebuild, {count} of 16 bytes",
             ours="rebuild tiny seconds", unit="s", of="value"),
    ]  # fmt: skip


def _index(blobs: int, partitions: int, prefix: str) -> list[Spec]:
    count = f"{blobs:,} blobs, {partitions} partition{'s' if partitions > 1 else ''}"
    return [
        Spec(row="index", title=f"data.mdb, {count} / keys and values",
             ours=prefix + "bytes", baseline="entry bytes", unit="B/blob", bar=128.0, of="value", at_least=False),
        Spec(row="index", title=f"RssAnon, opened, {count} / an empty replica",
             ours=prefix + "opened", baseline="opened empty", unit="MB", bar=250.0, of="value", at_least=False),
        Spec(row="index", title=f"RssAnon, writing, {count} / an empty replica",
             ours=prefix + "writer", baseline="opened empty", unit="MB", bar=250.0, of="value", at_least=False),
    ]  # fmt: skip
