"""Copied records on their way into a log, beside what requests append."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import AmbryError, InsufficientStorage, ReplicaFenced, ReplicaUnavailable
from ambry.format import record as record_format
from datanode.store.copies import StandingRecord
from datanode.store.images import Image, verified
from tests.support.commit_bench import CommitBench
from tests.support.samples import ALIVE, DELETED, blob_id, content, open_replica, put_record, read_all, update_record


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[CommitBench]:
    made = CommitBench(tmp_path, batch_records_max=1)
    yield made
    made.disk.close()


def image(number: int) -> Image:
    record = put_record(blob_id(number), content(number, 1_000))
    buffer = bytearray(record_format.encode(record, 7, 0))
    return verified(buffer, 0, [StandingRecord(record.id, 0, record.size, ALIVE, 0)], 0).images[0]


def copy(bench: CommitBench, *numbers: int) -> asyncio.Future[AmbryError | None]:
    """Append images; the future has the outcome, which stands among the acks under the first number."""
    done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()

    def acknowledged(error: AmbryError | None) -> None:
        bench.acks.append((numbers[0], error))
        done.set_result(error)

    bench.committer.append_images([image(number) for number in numbers], acknowledged)
    return done


async def test_they_are_durable_when_they_are_acknowledged(bench: CommitBench, tmp_path: Path) -> None:
    assert await copy(bench, 1, 2, 3) is None
    bench.store.close()
    bench.files.crash(random.Random(1))
    store = open_replica(bench.files, tmp_path / "r")
    assert [read_all(store, blob_id(number)) for number in (1, 2, 3)] == [
        content(number, 1_000) for number in (1, 2, 3)
    ]
    store.close()


async def test_copies_and_requests_take_turns_and_neither_waits_for_all_of_the_other(bench: CommitBench) -> None:
    puts = [bench.submit(number) for number in range(4)]
    copies = [copy(bench, 100), copy(bench, 200)]
    await asyncio.gather(*puts, *copies)
    order = [number for number, error in bench.acks if error is None]
    assert order[:3] == [0, 100, 200] or order[:3] == [100, 200, 0], "what was copied goes together, after one batch"
    assert sorted(order) == [0, 1, 2, 3, 100, 200]
    assert bench.committer.idle


async def test_they_are_no_foreground_work(bench: CommitBench) -> None:
    bench.clock.advance(10)
    work = copy(bench, 1)
    assert not bench.writes.busy()
    assert not bench.committer.idle
    await work
    assert not bench.writes.busy()


async def test_the_reserve_of_the_disk_is_not_for_them(bench: CommitBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(bench.files), "free_bytes", lambda _self, _path: 1 << 17)
    assert isinstance(await copy(bench, 1), InsufficientStorage)
    assert await bench.submit(2, update_record(blob_id(2), DELETED)) is None
    assert isinstance(await copy(bench, 1), InsufficientStorage)
    monkeypatch.undo()
    assert await copy(bench, 1) is None
    assert read_all(bench.store, blob_id(1)) == content(1, 1_000)


async def test_a_replica_that_leaves_takes_none_and_is_idle_then(bench: CommitBench) -> None:
    bench.store.leave()
    refused = copy(bench, 1)
    await bench.committer.wait_idle()
    assert isinstance(await refused, ReplicaUnavailable)


async def test_a_failed_sync_fences_and_acknowledges_nothing(
    bench: CommitBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await copy(bench, 1) is None
    segment = next(iter(bench.store._log.segments.values()))

    def fails() -> None:
        raise OSError(5, "EIO")

    monkeypatch.setattr(segment.file, "fdatasync", fails)
    assert isinstance(await copy(bench, 2), ReplicaFenced)
    assert bench.store.lookup(blob_id(2)) is None
