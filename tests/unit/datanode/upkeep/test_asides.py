"""A node says how much it has set aside: it grew unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from datanode import metrics
from datanode.store.writing import write_atomically
from datanode.upkeep import asides
from tests.support.captured_log import capture_log, said
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.samples import PARTITION


async def test_it_is_measured_and_shown_and_much_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, asides)
    monkeypatch.setattr(asides, "MUCH_BYTES", 150)
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    node = cluster["a1"]
    page = node.parts.asides.describe
    assert await node.tick("asides") > 60
    assert (page(), events) == ({"bytes": 0, "items": 0, "largest": []}, [])
    directory = node.replica.store.directory
    node.files.make_directory(directory / "quarantine")
    for number, size in ((1, 100), (2, 60)):
        write_atomically(node.files, directory / "quarantine" / f"0000000{number}.segment.9", bytes(size))
        await node.tick("asides")
    assert metrics.SET_ASIDE_BYTES._value.get() == 160
    shown = page()
    assert (shown["bytes"], shown["items"]) == (160, 2)
    assert [item["name"] for item in shown["largest"]] == [
        f"partition-{PARTITION:08d}/quarantine/0000000{number}.segment.9" for number in (1, 2)
    ]
    await node.tick("asides")
    assert [event["bytes"] for event in said(events, "much is set aside: look at it, and drop it")] == [160]
    await cluster.stop()
