"""Three days in which two of three clocks do what they like: nothing goes, as nothing is dead for its retention of seven."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState, join
from ambry.errors import BlobDeleted
from datanode.config import CompactionSection, SweepSection
from datanode.upkeep import sweeper as sweeper_module
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import blob_id, content

HOUR_S = 3_600
HOUR_MS = HOUR_S * 1000
DAY_MS = 24 * HOUR_MS
OFFSETS_MS = (0, 0, -DAY_MS, DAY_MS, -40 * DAY_MS, 40 * DAY_MS, 400 * DAY_MS)
SIZE = 9_000


class History:
    """What was done, and what must be true of it. a1's clock is right; the others' are anything."""

    def __init__(self, cluster: DirectCluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.states: dict[int, BlobState] = {}
        self.number = 0
        self.had: dict[str, set[int]] = {}

    def pick(self) -> DirectNode:
        return self.cluster[self.random.choice(sorted(self.cluster.running))]

    def wrong(self) -> DirectNode:
        return self.cluster[self.random.choice(["a2", "a3"])]

    def hear(self) -> None:
        """Pings go on all the time."""
        for node in self.cluster.running.values():
            node.hear_clocks()

    async def put(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            self.number += 1
            now_ms = self.cluster.clock.wall_ms()
            expires_at_ms = self.random.choice([now_ms + 20 * HOUR_MS, now_ms + 30 * DAY_MS, NEVER_MS])
            self.states[self.number] = BlobState(0, False, expires_at_ms)
            for name in self.random.sample(["a1", "a2", "a3"], self.random.randint(2, 3)):
                await self.cluster[name].put(
                    blob_id(self.number), content(self.number, SIZE), state=self.states[self.number]
                )

    async def update(self) -> None:
        """A delete or an undelete, on two replicas, by a frontend whose clock may be wrong."""
        if not self.states:
            return
        number = self.random.choice(sorted(self.states))
        old = self.states[number]
        new = BlobState(old.life_version + old.deleted, not old.deleted, old.expires_at_ms)
        for name in self.random.sample(["a1", "a2", "a3"], 2):
            node = self.cluster[name]
            try:
                await node.update(blob_id(number), join(old, new))
                self.states[number] = join(old, new)
            except BlobDeleted:
                # Two clocks that are wrong by the same are most: such a node may call an undelete late where it has no bytes.
                assert not node.holds(blob_id(number))

    async def clock(self) -> None:
        node = self.wrong()
        node.clock.frozen_ms = None
        node.clock.ahead_ms = self.random.choice(OFFSETS_MS)
        if self.random.random() < 0.2:
            node.clock.frozen_ms = node.clock.wall_ms()

    async def restart(self) -> None:
        node = self.wrong()
        await self.random.choice([node.stop, node.kill])()
        if self.random.random() < 0.5:
            await self.clock()
        await node.start()
        self.hear()

    async def pull(self) -> None:
        node = self.pick()
        await node.pull(self.random.choice(sorted(node.peers)))
        await node.heal()

    async def compact(self) -> None:
        node = self.pick()
        await node.parts.checkpointer.checkpoint(node.replica)
        while await node.parts.compactor.compact(node.replica):
            pass

    async def sweep(self) -> None:
        await self.pick().tick("sweep")

    async def pass_time(self) -> None:
        if self.cluster.clock.seconds < 1_000 + 70 * HOUR_S:
            self.cluster.clock.advance(self.random.choice([60, HOUR_S, 7 * HOUR_S]))
        self.hear()

    async def run(self, steps: int) -> None:
        todo = [self.put] * 5 + [self.update] * 3 + [self.pull] * 3 + [self.compact] * 3
        todo += [self.clock, self.restart, self.sweep, self.pass_time, self.pass_time]
        for _ in range(steps):
            await self.random.choice(todo)()
            self.nothing_went()

    def nothing_went(self) -> None:
        """What a node had it has. (A kill takes nothing of what was synced.)"""
        for name, node in self.cluster.running.items():
            had = self.had.setdefault(name, set())
            has = {number for number in self.states if node.holds(blob_id(number))}
            assert had <= has, f"{name} lost {sorted(had - has)}"
            self.had[name] = has


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_clocks_do_for_three_days_nothing_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(sweeper_module, "PAUSE_S", 0)
    cluster = DirectCluster(
        tmp_path,
        cluster_map(3),
        sections={"compaction": CompactionSection(dead_share_min=0.05), "sweep": SweepSection(interval_s=HOUR_S)},
    )
    await cluster.start()
    await cluster.settle()
    history = History(cluster, seed)
    await history.run(100)
    for node in cluster.nodes.values():
        node.clock.ahead_ms, node.clock.frozen_ms = 0, None
    history.hear()
    await cluster.settle()
    assert len(history.states) > 20
    changed = {number: set[int]() for number in history.states}
    for node in cluster.nodes.values():
        assert node.replica.store.serving
        for number, state in history.states.items():
            entry = node.replica.store.lookup(blob_id(number))
            assert entry is not None and entry.state == state, (node.name, number)
            assert entry.present or state.deleted, (node.name, number)
            changed[number].add(entry.changed_at_ms)
    assert {len(times) for times in changed.values()} == {1}, "replicas agree when each change was made"
    await cluster.stop()
