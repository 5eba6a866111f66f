"""How a data node is put together."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import ConfigInvalid
from datanode.config import CompactionSection, ScrubSection, SweepSection
from datanode.wiring import build
from tests.support.direct_node import cluster_map
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.lone_bench import LoneBench
from tests.support.node_parts import lone_map, lone_node, node_config
from tests.support.samples import blob_id


def test_a_node_that_the_map_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="has no node a9"):
        build(
            node_config("a9", tmp_path),
            cluster_map(1),
            clock=SettableClock(),
            random_source=random.Random(1),
            files=FakeFiles(tmp_path),
        )


async def test_what_runs_by_itself_follows_the_configuration(tmp_path: Path) -> None:
    def names(**sections: Any) -> set[str]:
        parts = lone_node(
            FakeFiles(tmp_path),
            tmp_path,
            clock=SettableClock(),
            cluster_map=lone_map(with_silent_peer=True),
            **sections,
        )
        parts.disk.close()
        return set(parts.ticks())

    assert names() == {
        "checkpoint",
        "clock",
        "compare",
        "digests",
        "heal",
        "room",
        "pull:silent",
        "compaction",
        "scrub",
        "sweep",
    }
    off = names(
        compaction=CompactionSection(enabled=False),
        scrub=ScrubSection(enabled=False),
        sweep=SweepSection(enabled=False),
    )
    assert off == {"checkpoint", "clock", "compare", "digests", "heal", "room", "pull:silent"}


async def test_background_work_begins_later_but_within_its_interval(tmp_path: Path) -> None:
    parts = lone_node(FakeFiles(tmp_path), tmp_path, clock=SettableClock(), sweep=SweepSection(interval_s=3.0))
    later = parts.starts_after_s()
    assert later["compaction"] >= 30
    assert later["scrub"] >= 30
    assert later["sweep"] == 3.0
    assert later.keys() <= parts.ticks().keys()
    parts.disk.close()


async def test_building_touches_no_file(tmp_path: Path) -> None:
    files = FakeFiles(tmp_path)
    parts = lone_node(files, tmp_path / "data", clock=SettableClock())
    assert files.calls == []
    assert parts.replicas.all() == []
    parts.disk.close()


async def test_closing_is_clean_and_nothing_is_rebuilt_any_more(tmp_path: Path) -> None:
    """A rebuild that began while the node was closing opened files that nobody closed."""
    bench = LoneBench(tmp_path)
    store = (await bench.open()).store
    await bench.put(1)
    await bench.parts.replicas.settle()
    bench.parts.replicas.rebuild(store, "too late")
    assert bench.parts.replicas[7].store is store
    await bench.parts.close()
    replica = await bench.open()
    assert replica.store.opened.replayed == 0
    assert replica.store.lookup(blob_id(1)) is not None
    await bench.parts.close()
