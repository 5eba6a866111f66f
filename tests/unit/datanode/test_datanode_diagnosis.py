"""What is unsafe about a data node: one fault at a time, each by its code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ambry.config import convert
from ambry.service.diagnosis import FileSeen, ProcessSeen, Severity, Sight
from datanode.config import DataNodeConfig
from datanode.diagnosis import judge, wanted

RUNNING = ProcessSeen(pid=7, uid=990, core_bytes_max=0, descriptors_max=65_536, arguments=(), environment={})


def found(place: Path, *, host: str = "127.0.0.1", data_mode: int = 0o750, **sections: Any) -> set[str]:
    """The codes of all but notes, of a configuration that is right but for what is said."""
    nodes = [{"name": "n1", "host": host, "port": 7000}]
    layout = {
        "cluster": "main",
        "version": 1,
        "datacenters": [{"name": "dc1", "id": 1, "nodes": nodes}],
        "partitions": [{"id": 0, "replicas": ["n1"]}],
    }
    (place / "layout.json").write_text(json.dumps(layout))
    tree = {"node": {"name": "n1", "layout": str(place / "layout.json"), "data_dir": str(place / "data")}}
    for name, more in sections.items():
        tree[name] = {**tree.get(name, {}), **more}
    config = convert(DataNodeConfig, tree, source="a test")
    files = {path: FileSeen(0o755, 990, 1) for path in wanted(config).files}
    files[place / "data"] = FileSeen(data_mode, 990, 1)
    seen = Sight(config=place / "n.toml", now_ms=0, files=files, certificates={}, lists_end_ms={}, process=RUNNING)
    return {each.code for each in judge(config, seen) if each.severity is not Severity.NOTE}


def test_nothing_is_found_of_what_is_right(tmp_path: Path) -> None:
    assert found(tmp_path) == set()


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ({"host": "10.0.0.1"}, {"nodes-in-the-clear"}),
        ({"data_mode": 0o755}, {"readable-by-others"}),
        ({"data_mode": 0o770}, {"directory-writable"}),
        ({"node": {"name": "n9"}}, {"not-in-layout"}),
        ({"node": {"admin_host": "10.0.0.1"}}, {"admin-port-open", "refused"}),
        ({"node": {"hosts": ["*"]}}, {"any-host-name"}),
        ({"node": {"layout": "/nowhere"}}, {"refused"}),
        ({"node": {"connections_max": 65_536}}, {"few-descriptors"}),
        ({"scrub": {"enabled": False}}, {"no-scrub"}),
        ({"compaction": {"enabled": False}}, {"no-compaction"}),
    ],
)
def test_each_fault_is_named(tmp_path: Path, said: dict[str, Any], codes: set[str]) -> None:
    assert found(tmp_path, **said) == codes
