from __future__ import annotations

from pathlib import Path

import pytest

from ambry.config import load
from ambry.errors import ConfigInvalid
from datanode.config import DataNodeConfig, check


def sample(tmp_path: Path, *overrides: str) -> DataNodeConfig:
    layout = tmp_path / "layout.json"
    layout.write_text("{}")
    base = ["node.name=n", f"node.layout={layout}", f"node.data_dir={tmp_path}"]
    return load(DataNodeConfig, None, env={}, overrides=[*base, *overrides])


def test_a_configuration_that_works_is_given_back(tmp_path: Path) -> None:
    config = sample(tmp_path)
    assert check(config) is config


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("node.name=", "node.name"),
        ("node.layout=", "node.layout"),
        ("node.data_dir=", "node.data_dir"),
        ("node.layout=/nowhere/layout.json", "/nowhere/layout.json"),
        ("store.segment_size_bytes=1048575", "store.segment_size_bytes"),
        ("store.segment_size_bytes=2147483649", "store.segment_size_bytes"),
        ("store.io_threads=0", "store.io_threads"),
        ("store.io_threads=65", "store.io_threads"),
        ("store.batch_records_max=0", "store.batch_records_max"),
        ("store.batch_records_max=501", "store.batch_records_max"),
        ("sweep.grace_s=4", "sweep.grace_s"),
        ("node.connections_max=15", "node.connections_max"),
        ("node.requests_bytes_max=1048576", "node.requests_bytes_max"),
        # Each of these was taken, and went wrong later: puts that are never admitted, workers that spin, ports that wrap.
        ("node.admin_port=65536", "node.admin_port: Expected `int` <= 65535"),
        ("node.admin_port=-1", "node.admin_port"),
        ("node.drain_timeout_s=-1", "node.drain_timeout_s"),
        ("store.pending_bytes_max=-1", "store.pending_bytes_max: Expected `int` >= 1"),
        ("store.batch_bytes_max=0", "store.batch_bytes_max"),
        ("store.gather_ms=-5", "store.gather_ms"),
        ("store.reserve_bytes=-1", "store.reserve_bytes"),
        ("store.capacity_bytes=0", "store.capacity_bytes"),
        ("store.checkpoint_interval_s=0", "store.checkpoint_interval_s"),
        ("store.checkpoint_records=0", "store.checkpoint_records"),
        ("scrub.interval_s=nan", "scrub.interval_s"),
        ("compaction.interval_s=inf", "compaction.interval_s"),
        ("replication.poll_wait_ms=1000000000000", "replication.poll_wait_ms"),
        ("replication.changes_max=0", "replication.changes_max"),
        ("replication.fetch_bytes_max=0", "replication.fetch_bytes_max"),
        ("replication.request_timeout_ms=0", "replication.request_timeout_ms"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        check(sample(tmp_path, override))
    assert words in str(caught.value)


@pytest.mark.parametrize("value", [1 << 20, 1 << 31])
def test_the_bounds_themselves_are_fine(tmp_path: Path, value: int) -> None:
    check(sample(tmp_path, f"store.segment_size_bytes={value}"))


def test_off_loopback_the_admin_port_takes_certificates(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"node\.admin_host is .*node_tls is not set"):
        check(sample(tmp_path, "node.admin_host=0.0.0.0"))
    check(sample(tmp_path, "node.admin_host=0.0.0.0", "node_tls.certificate=n1.crt"))
