"""Random histories of three or six nodes: nothing acknowledged is lost, hidden or revived, and all agree in the end.

What a history is made of: tests/support/histories.py. One that failed is repeated by its seed, with AMBRY_TEST_SEED; where a
node ended amid work it may need some repetitions.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from ambry.errors import AmbryError
from datanode.replication import comparison
from datanode.upkeep import sweeper
from tests.support.clusters import rounds, seed_of
from tests.support.histories import History

THREE, SIX = (3,), (3, 3)
TOLD = 60


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is under way between nodes, nor between pieces of a sweep: nothing is, and the clock stands still."""
    monkeypatch.setattr(comparison, "PATIENCE_S", 0.0)
    monkeypatch.setattr(sweeper, "PAUSE_S", 0)


async def play(root: Path, seed: int, datacenters: tuple[int, ...], steps: int) -> None:
    """One history; when it breaks a promise, its last steps are printed."""
    root.mkdir()
    history = History(root, seed, datacenters)
    try:
        await history.run(steps)
        assert history.ledger.promises
    except BaseException:
        print(f"the last steps of history {seed}:", *history.said[-TOLD:], sep="\n  ")
        raise
    finally:
        with suppress(AmbryError, OSError):
            await history.cluster.stop()
        shutil.rmtree(root, ignore_errors=True)


async def play_some(root: Path, datacenters: tuple[int, ...], *, count: int, steps: int) -> None:
    seed = seed_of(f"histories of {sum(datacenters)} nodes")
    for number in range(count):
        print(f"history {number} has seed {seed + number}")
        await play(root / str(number), seed + number, datacenters, steps)


@pytest.mark.parametrize(("datacenters", "count", "steps"), [(THREE, 3, 40), (SIX, 1, 25)])
async def test_short_histories_keep_every_promise(
    tmp_path: Path, datacenters: tuple[int, ...], count: int, steps: int
) -> None:
    await play_some(tmp_path, datacenters, count=count, steps=steps)


@pytest.mark.fault
@pytest.mark.parametrize("datacenters", [THREE, SIX])
async def test_long_histories_keep_every_promise(tmp_path: Path, datacenters: tuple[int, ...]) -> None:
    await play_some(tmp_path, datacenters, count=2 * rounds(10), steps=150)
