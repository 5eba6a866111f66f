"""Configuration of a data node. Every key stands with its default, unit and reason in `configs/datanode.toml`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ambry.address import is_loopback
from ambry.config import Amount, Interval, Millis, Port, Seconds, Some
from ambry.errors import ConfigInvalid
from ambry.service.logs import LogSection
from ambry.service.tls import NodeTlsSection


class NodeSection(msgspec.Struct, frozen=True):
    name: str = ""
    layout: str = ""
    data_dir: str = ""
    admin_host: str = "127.0.0.1"
    admin_port: Port = 0
    hosts: tuple[str, ...] = ()
    drain_timeout_s: Seconds = 5.0
    connections_max: Some = 1_024
    requests_bytes_max: Some = 256 << 20


class StoreSection(msgspec.Struct, frozen=True):
    segment_size_bytes: Some = 64 << 20
    io_threads: Some = 4
    batch_bytes_max: Some = 16 << 20
    batch_records_max: Some = 400
    gather_ms: Millis = 1
    pending_bytes_max: Some = 128 << 20
    checkpoint_interval_s: Interval = 30.0
    checkpoint_records: Some = 50_000
    capacity_bytes: Some = 1 << 40
    reserve_bytes: Amount = 256 << 20
    inline_read_bytes_max: Amount = 256 << 10
    open_files_max: Some = 512
    remembered_entries_max: Some = 100_000


class CompactionSection(msgspec.Struct, frozen=True):
    enabled: bool = True
    interval_s: Interval = 300.0
    rate_bytes_per_s: Some = 50 << 20
    dead_share_min: float = 0.25
    deleted_retention_s: Amount = 7 * 86_400
    tombstone_retention_s: Amount = 30 * 86_400


class ScrubSection(msgspec.Struct, frozen=True):
    enabled: bool = True
    interval_s: Interval = 86_400.0
    rate_bytes_per_s: Some = 10 << 20


class SweepSection(msgspec.Struct, frozen=True):
    enabled: bool = True
    interval_s: Interval = 86_400.0
    grace_s: Amount = 2 * 86_400


class ReplicationSection(msgspec.Struct, frozen=True):
    poll_wait_ms: Millis = 20_000
    sibling_delay_ms: Millis = 400
    designated_delay_ms: Millis = 20
    standby_delay_ms: Millis = 1_000
    fetch_bytes_max: Some = 8 << 20
    changes_max: Some = 2_000
    request_timeout_ms: Millis = 10_000
    compare_interval_s: Interval = 14_400.0


class BootstrapSection(msgspec.Struct, frozen=True):
    enabled: bool = True
    behind_bytes_min: Amount = 128 << 20
    rate_bytes_per_s: Some = 512 << 20


class DataNodeConfig(msgspec.Struct, frozen=True):
    node: NodeSection = msgspec.field(default_factory=NodeSection)
    store: StoreSection = msgspec.field(default_factory=StoreSection)
    compaction: CompactionSection = msgspec.field(default_factory=CompactionSection)
    scrub: ScrubSection = msgspec.field(default_factory=ScrubSection)
    sweep: SweepSection = msgspec.field(default_factory=SweepSection)
    replication: ReplicationSection = msgspec.field(default_factory=ReplicationSection)
    bootstrap: BootstrapSection = msgspec.field(default_factory=BootstrapSection)
    node_tls: NodeTlsSection = msgspec.field(default_factory=NodeTlsSection)
    log: LogSection = msgspec.field(default_factory=LogSection)


def check(config: DataNodeConfig) -> DataNodeConfig:
    """Refuse what cannot work. Raises ConfigInvalid naming the key."""
    for key in ("name", "layout", "data_dir"):
        if not getattr(config.node, key):
            raise ConfigInvalid(f"node.{key} must be set")
    if not 16 <= config.node.connections_max <= 1 << 20:
        raise ConfigInvalid("node.connections_max must lie between 16 and 1,048,576: each frontend takes one")
    if config.node.requests_bytes_max < 128 << 20:
        raise ConfigInvalid(
            "node.requests_bytes_max must be at least 128 MiB: half of it must hold the largest requests"
        )
    if not is_loopback(config.node.admin_host) and not config.node_tls.wanted:
        raise ConfigInvalid(
            f"node.admin_host is {config.node.admin_host!r}, and node_tls is not set: off loopback the admin port answers "
            "operators alone, by their certificates; `ambry certs` makes some, or listen on 127.0.0.1"
        )
    store = config.store
    if not 1 << 20 <= store.segment_size_bytes <= 1 << 31:
        raise ConfigInvalid("store.segment_size_bytes must lie between 1 MiB and 2 GiB")
    if not 1 <= store.io_threads <= 64:
        raise ConfigInvalid("store.io_threads must lie between 1 and 64")
    if not 1 <= store.batch_records_max <= 500:
        raise ConfigInvalid("store.batch_records_max must lie between 1 and 500: a vectored write takes 1,024 buffers")
    if store.io_threads < 2 and (config.compaction.enabled or config.scrub.enabled):
        raise ConfigInvalid("store.io_threads must be at least 2: scrub and compaction hold one for a while")
    if store.open_files_max < 16:
        raise ConfigInvalid("store.open_files_max must be at least 16: a batch, a reader and a scrub each hold some")
    if store.remembered_entries_max < 1:
        raise ConfigInvalid("store.remembered_entries_max must be at least 1")
    for name in ("compaction", "scrub", "bootstrap"):
        if getattr(config, name).rate_bytes_per_s < 1 << 16:
            raise ConfigInvalid(f"{name}.rate_bytes_per_s must be at least 65536, or the loop never comes round")
    if config.sweep.grace_s < 5:
        raise ConfigInvalid("sweep.grace_s must be at least 5: frontends ask about chunks of uploads that took longer")
    if config.replication.request_timeout_ms < 1:
        raise ConfigInvalid("replication.request_timeout_ms must be at least 1 ms")
    if config.replication.compare_interval_s < 1:
        raise ConfigInvalid("replication.compare_interval_s must be at least 1")
    if not 0.05 <= config.compaction.dead_share_min <= 1:
        raise ConfigInvalid("compaction.dead_share_min must lie between 0.05 and 1")
    if not Path(config.node.layout).is_file():
        raise ConfigInvalid(f"node.layout: there is no file {config.node.layout}")
    return config
