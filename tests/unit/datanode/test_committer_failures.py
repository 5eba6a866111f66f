"""Whatever breaks on the way of a batch: everybody who waits is answered once, and nothing stays behind.

An index entry that failed its checksum, met while a batch got its places, used to leave its puts unanswered, their bytes
counted as waiting for ever, and the rebuild of the replica waiting for them.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import AmbryError, IndexCorrupt, InternalError, Overloaded, ReplicaFenced, ReplicaUnavailable
from ambry.format import record as record_format
from ambry.format.record import Record
from datanode.store.batch import Batch
from datanode.store.blob_store import StoreState
from datanode.store.entry import IndexEntry
from datanode.store.index import Index
from datanode.store.segment import Segment
from tests.support.bounded import BOUND, evict
from tests.support.commit_bench import CommitBench
from tests.support.eventually import GIVE_UP_S
from tests.support.fake_files import FakeFile
from tests.support.gate import Gate
from tests.support.samples import DELETED, SEGMENT_SIZE, blob_id, content, put_record, read_all, update_record

CORRUPT = IndexCorrupt("an entry fails its checksum")
BROKEN = OSError(errno.EIO, "the disk fails")
FULL_TABLE = OSError(errno.EMFILE, "too many open files")
BUG = RuntimeError("a bug")
BEFORE_THE_FIRST_WRITE = ("place", "submit", "create", "encode", "hold")
FROM_THE_FIRST_WRITE_ON = ("write", "sync", "publish")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[CommitBench]:
    made = CommitBench(tmp_path)
    assert await made.submit(1, sync=False) is None
    yield made
    made.disk.close()


def plant(bench: CommitBench, patch: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    """Let one step of every batch raise `error`."""

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    def fail_at(call: str, path: Path) -> None:
        if call == {"write": "pwritev", "sync": "fdatasync"}[step] and path.name.endswith(".segment"):
            raise error

    match step:
        case "place":
            patch.setattr(Batch, "_take_on_known_states", fail)
        case "submit":
            patch.setattr(bench.disk, "submit", fail)
        case "create":
            patch.setattr(Segment, "create", fail)
        case "encode":
            patch.setattr(record_format, "encode_head", fail)
        case "hold":
            patch.setattr(FakeFile, "hold", fail)
        case "publish":
            patch.setattr(Index, "set", fail)
        case _:
            patch.setattr(bench.files, "before", fail_at)


async def answers(bench: CommitBench) -> list[AmbryError | None]:
    """A put into a new segment, a delete and a barrier, in one batch: what they are told, each once."""
    large = put_record(blob_id(2), content(2, SEGMENT_SIZE - 1000))
    async with asyncio.timeout(GIVE_UP_S):
        told = await asyncio.gather(
            bench.submit(2, large), bench.submit(1, update_record(blob_id(1), DELETED)), bench.barrier()
        )
        await bench.committer.wait_idle()
    assert [number for number, _ in bench.acks] == [1, 2, 1]
    assert bench.writes.pending_bytes == 0
    assert bench.committer.idle
    return list(told)


def unchanged(bench: CommitBench) -> bool:
    """Whether readers see the blob that was there and nothing of the batch."""
    entry = bench.store.lookup(blob_id(1))
    assert entry is not None
    return not entry.state.deleted and bench.store.lookup(blob_id(2)) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [(CORRUPT, IndexCorrupt), (BUG, InternalError), (MemoryError(), Overloaded), (FULL_TABLE, Overloaded)],
    ids=["corrupt", "bug", "memory", "descriptors"],
)
@pytest.mark.parametrize("step", BEFORE_THE_FIRST_WRITE)
async def test_what_breaks_before_the_first_write_is_told_and_nothing_happened(
    bench: CommitBench, step: str, error: Exception, told: type[AmbryError]
) -> None:
    """A process at a limit of its own, or a bug, says nothing about the disk: it used to fence the replica."""
    end = bench.store.end_lsn
    with pytest.MonkeyPatch.context() as patch:
        plant(bench, patch, step, error)
        assert [type(answer) for answer in await answers(bench)] == [told] * 3
    assert bench.store.state is StoreState.OPEN
    assert unchanged(bench)
    assert bench.store.end_lsn == end
    assert await bench.submit(3) is None
    assert bench.store.lookup(blob_id(3)).lsn == end, "its place is given again"  # type: ignore[union-attr]
    assert read_all(bench.store, blob_id(1)) == content(1, 1000)


@pytest.mark.parametrize("error", [CORRUPT, BUG, BROKEN, FULL_TABLE], ids=["corrupt", "bug", "disk", "descriptors"])
@pytest.mark.parametrize("step", FROM_THE_FIRST_WRITE_ON)
async def test_what_breaks_from_the_first_write_on_fences(bench: CommitBench, step: str, error: Exception) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(bench, patch, step, error)
        assert [type(answer) for answer in await answers(bench)] == [ReplicaFenced] * 3
    assert bench.store.state is StoreState.FENCED
    assert unchanged(bench)
    assert isinstance(await bench.submit(3), ReplicaFenced)
    assert isinstance(await bench.barrier(), ReplicaFenced)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("rolls_over", [False, True])
async def test_no_descriptor_for_the_segment_in_use_refuses_and_passes(
    tmp_path: Path, number: int, rolls_over: bool
) -> None:
    """A segment that was closed to make room, and could not be opened again for a write, fenced its replica for good."""
    bench = CommitBench(tmp_path, open_files_max=BOUND)
    assert await bench.submit(1) is None
    evict(bench.bounded, tmp_path)
    bench.files.fail("open", number, for_ever=True, name=".segment")
    second = put_record(blob_id(2), content(2, SEGMENT_SIZE - 1000 if rolls_over else 1000))
    for _ in range(3):
        assert isinstance(await bench.submit(2, second), Overloaded)
    assert bench.store.state is StoreState.OPEN
    assert bench.writes.pending_bytes == 0
    bench.files.mend()
    assert await bench.submit(2, second) is None
    assert read_all(bench.store, blob_id(1)) == content(1, 1000)
    assert read_all(bench.store, blob_id(2)) == second.payload
    bench.disk.close()


async def test_a_disk_that_fails_to_open_a_segment_fences(bench: CommitBench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(bench, patch, "create", BROKEN)
        assert [type(answer) for answer in await answers(bench)] == [ReplicaFenced] * 3
    assert bench.store.state is StoreState.FENCED
    assert unchanged(bench)


async def test_a_write_that_was_cancelled_fences(bench: CommitBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it happened is unknown."""
    writing: list[asyncio.Future[Any]] = []
    real = bench.disk.submit

    def submit(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        writing.append(real(*args, **kwargs))
        return writing[-1]

    monkeypatch.setattr(bench.disk, "submit", submit)
    with Gate(bench.files, "fdatasync") as gate:
        put = bench.submit(2)
        await gate.arrived.wait()
        writing[0].cancel()
        assert isinstance(await put, ReplicaFenced)
        gate.open()
    assert bench.store.lookup(blob_id(2)) is None
    assert bench.writes.pending_bytes == 0


@pytest.mark.parametrize("how", ["fenced", "closed"])
async def test_a_replica_that_stopped_during_a_batch_acknowledges_nothing(bench: CommitBench, how: str) -> None:
    with Gate(bench.files, "fdatasync") as gate:
        put = bench.submit(2)
        await gate.arrived.wait()
        if how == "fenced":
            bench.store.fence("a test")
        else:
            bench.store.state = StoreState.CLOSED
        gate.open()
        assert type(await put) is {"fenced": ReplicaFenced, "closed": ReplicaUnavailable}[how]
    assert bench.store.lookup(blob_id(2)) is None


async def test_an_answer_that_fails_takes_no_other_with_it(bench: CommitBench) -> None:
    """The answers behind it used to be lost, with the bytes that they stood for."""

    def broken(_error: AmbryError | None) -> None:
        raise RuntimeError("the caller is broken")

    bench.committer.append(put_record(blob_id(2), b"x"), sync=True, done=broken)
    async with asyncio.timeout(GIVE_UP_S):
        assert await bench.submit(3) is None
        await bench.committer.wait_idle()
    assert bench.writes.pending_bytes == 0
    assert read_all(bench.store, blob_id(2)) == b"x"


async def test_one_that_cannot_be_prepared_takes_no_other_with_it(bench: CommitBench) -> None:
    """Nobody of its batch was answered, and nothing was written any more."""
    told: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()

    def prepare(_entry: IndexEntry | None) -> Record | None:
        raise BUG

    bench.committer.append(put_record(blob_id(2), b"x"), sync=True, done=told.set_result, prepare=prepare)
    beside = bench.submit(3)
    async with asyncio.timeout(GIVE_UP_S):
        assert isinstance(await told, InternalError)
        assert await beside is None
        assert await bench.submit(4) is None
        await bench.committer.wait_idle()
    assert bench.writes.pending_bytes == 0
    assert bench.store.lookup(blob_id(2)) is None


async def test_a_batch_that_breaks_does_not_hold_up_the_next(bench: CommitBench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(bench, patch, "place", CORRUPT)
        first = bench.submit(2)
        assert isinstance(await first, IndexCorrupt)
        second = bench.submit(3)
    assert await second is None


@pytest.mark.parametrize("end", ["fence", "leave"])
async def test_what_comes_after_a_replica_stopped_taking_appends_is_refused_at_once(
    bench: CommitBench, end: str
) -> None:
    """Between the wait for a quiet committer and the close of its files nothing can be appended, whoever still has it in hand.

    And nobody waits for the batch on its way to hear of it: that may hang.
    """
    go = threading.Event()

    def hang(call: str, _path: Path) -> None:
        if call == "pwritev":
            go.wait(30)

    bench.files.before = hang
    first = bench.submit(2)
    await asyncio.sleep(0)
    assert not bench.committer.idle
    bench.store.fence("a test") if end == "fence" else bench.store.leave()
    late = bench.submit(3)
    assert late.done()
    assert isinstance(late.result(), ReplicaUnavailable)
    assert not first.done()
    go.set()
    assert isinstance(await first, ReplicaUnavailable) == (end == "fence")
    await bench.committer.wait_idle()
    bench.store.close()
    assert isinstance(bench.submit(4).result(), ReplicaUnavailable)
