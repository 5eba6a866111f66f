"""What the admin port shows of a long round while it lasts: the replica, and how much of it is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from datanode.parts import Parts
from datanode.upkeep import sweeper as sweeper_module
from datanode.upkeep.progress import RoundProgress, describe
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.node_parts import lone_node
from tests.support.samples import DELETED, blob_id, content, put_record, update_record

SIZE = 14_000
COUNT = 14


@pytest.fixture
def files(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
async def parts(files: FakeFiles) -> AsyncIterator[Parts]:
    """A replica of several segments, half of whose blobs have been deleted for long."""
    clock = SettableClock()
    made = lone_node(files, files.root / "data", clock=clock)
    await made.open_replicas()
    records = [put_record(blob_id(number), content(number, SIZE)) for number in range(COUNT)]
    records += [update_record(blob_id(number), DELETED) for number in range(0, COUNT, 2)]
    replica = made.replicas[7]
    for record in records:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        replica.committer.append(record, sync=True, done=done.set_result)
        assert await done is None
    await made.checkpointer.checkpoint(replica)
    clock.advance(8 * 86_400.0)
    yield made
    await made.close()


def watch(files: FakeFiles, progress: Any) -> list[dict[str, Any]]:
    """What `progress` said at every read of a segment."""
    seen: list[dict[str, Any]] = []

    def before(call: str, path: Path) -> None:
        if call == "pread" and path.suffix == ".segment":
            seen.append(progress())

    files.before = before
    return seen


async def test_a_scrub_says_how_many_bytes_of_the_replica_it_read(files: FakeFiles, parts: Parts) -> None:
    total = parts.replicas[7].store.size_bytes()
    seen = watch(files, parts.progress()["scrub"])
    await parts.scrubber.scrub(parts.replicas[7])
    assert seen[0] == {"partition": 7, "bytes": 0, "bytes_total": total}
    done = [each["bytes"] for each in seen if each]
    assert done == sorted(done)
    assert total / 2 < done[-1] < total
    assert parts.progress()["scrub"]() == {}, "nothing is under way"


async def test_a_compaction_says_which_segments_it_copies(files: FakeFiles, parts: Parts) -> None:
    seen = watch(files, parts.progress()["compaction"])
    assert await parts.compactor.compact(parts.replicas[7])
    first = next(each for each in seen if each)
    segments = first["segments"]
    assert (first["partition"], first["bytes"]) == (7, 0)
    assert not set(segments) & set(parts.replicas[7].store.scrub.segment_numbers()), "they are replaced now"
    assert 0 < max(each["bytes"] for each in seen if each) <= first["bytes_total"]
    assert parts.progress()["compaction"]() == {}


async def test_a_sweep_says_how_many_blobs_it_looked_at(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper_module, "PAGE", 5)
    monkeypatch.setattr(sweeper_module, "PAUSE_S", 0)
    seen: list[dict[str, Any]] = []
    real = sweeper_module._take

    def take(entries: Any) -> Any:
        seen.append(parts.progress()["sweep"]())
        return real(entries)

    monkeypatch.setattr(sweeper_module, "_take", take)
    await parts.sweeper.tick()
    assert seen == [{"partition": 7, "blobs": looked_at} for looked_at in (0, 5, 10, COUNT)]
    assert parts.progress()["sweep"]() == {}


def test_what_is_not_known_is_not_shown() -> None:
    assert describe(None) == {}
    assert describe(RoundProgress(partition=3, unit="blobs", done=9)) == {"partition": 3, "blobs": 9}
