"""What the parts of a data node do together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import ReplicaUnavailable
from datanode.config import BootstrapSection, CompactionSection, ScrubSection, SweepSection
from datanode.store.blob_store import StoreState
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.gate import Gate
from tests.support.lone_bench import LoneBench
from tests.support.node_parts import lone_map, lone_node
from tests.support.samples import blob_id


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
        "asides",
        "bootstrap",
        "checkpoint",
        "clock",
        "compare",
        "digests",
        "disk",
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
        bootstrap=BootstrapSection(enabled=False),
    )
    assert off == {"asides", "checkpoint", "clock", "compare", "digests", "disk", "heal", "room", "pull:silent"}


async def test_background_work_begins_later_but_within_its_interval(tmp_path: Path) -> None:
    parts = lone_node(FakeFiles(tmp_path), tmp_path, clock=SettableClock(), sweep=SweepSection(interval_s=3.0))
    later = parts.starts_after_s()
    assert later["compaction"] >= 30
    assert later["scrub"] >= 30
    assert later["sweep"] == 3.0
    assert later.keys() <= parts.ticks().keys()
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


async def test_the_loop_has_its_turns_while_replicas_are_closed(tmp_path: Path) -> None:
    """Closing 1,000 of them held it for 50 ms."""
    bench = LoneBench(tmp_path)
    await bench.open()
    stores = [replica.store for replica in bench.replicas.all()]
    open_now: list[int] = []

    async def look() -> None:
        while True:
            open_now.append(sum(store.state is not StoreState.CLOSED for store in stores))
            await asyncio.sleep(0)

    looking = asyncio.ensure_future(look())
    await bench.parts.close()
    looking.cancel()
    assert set(open_now) >= {1, 2}, "one after the other"


async def test_nothing_is_taken_behind_the_checkpoint_that_ends_a_log_cleanly(tmp_path: Path) -> None:
    """It was acknowledged; the next start does not read there, and gave the same LSN again. Seen in a random history: a server
    has closed its connections by then, but what else runs may append."""
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    node = cluster["a1"]
    await node.put(blob_id(1), b"x", sync=False)
    with Gate(node.files, "fdatasync") as gate:
        ending = asyncio.ensure_future(node.stop())
        await gate.arrived.wait()
        late = asyncio.ensure_future(node.put(blob_id(2), b"y"))
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(ReplicaUnavailable):
            await late
    await ending
    await node.start()
    assert node.holds(blob_id(1))
    assert node.state(blob_id(2)) is None
    await cluster.stop()
