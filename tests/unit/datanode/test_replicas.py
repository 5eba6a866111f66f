"""All replicas of a node: opening, rebuilding, closing."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from ambry.errors import AmbryError, PartitionUnknown, ReplicaUnavailable
from datanode import openings
from datanode.replicas import Replica
from datanode.store.blob_store import StoreState
from datanode.store.index import FindToken
from tests.support.eventually import eventually
from tests.support.lone_bench import LoneBench
from tests.support.node_parts import SILENT
from tests.support.samples import DELETED, blob_id, content, read_all, update_record


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[LoneBench]:
    made = LoneBench(tmp_path)
    yield made
    await made.tear_down()


async def test_every_partition_is_opened_and_found(bench: LoneBench) -> None:
    await bench.open()
    assert [replica.partition.id for replica in bench.replicas.all()] == [7, 8]
    assert bench.replicas[8].store.partition == 8
    assert bench.replicas.get(9) is None
    with pytest.raises(PartitionUnknown):
        bench.replicas[9]


async def test_replicas_that_are_expected_are_opening_before_anything_is_read(bench: LoneBench) -> None:
    """The ports were open a moment earlier: then a node was ready that had nothing, and knew none of its partitions."""
    parts = bench.make()
    parts.replicas.expect(parts.map.partitions_of(parts.own.name))
    assert len(parts.replicas.unready()) == 2
    with pytest.raises(ReplicaUnavailable, match="is opening"):
        parts.replicas[7]
    await parts.open_replicas()
    assert parts.replicas.unready() == []


async def test_a_replica_that_cannot_be_opened_says_which(bench: LoneBench) -> None:
    await bench.open()
    await bench.parts.close()
    bench.files.flip(bench.root / "data" / "partition-00000008" / "identity.json", 5)
    await bench.open()
    assert len(bench.replicas.unready()) == 1
    assert "partition-00000008" in bench.replicas.unready()[0]
    with pytest.raises(ReplicaUnavailable, match="cannot be opened"):
        bench.replicas[8]
    await bench.put(1)
    bench.files.flip(bench.root / "data" / "partition-00000008" / "identity.json", 5)
    await bench.replicas.reopen(8)
    assert bench.replicas[8].store.state is StoreState.OPEN
    assert bench.replicas.unready() == []


async def test_a_replica_of_a_later_release_is_refused_and_the_others_serve(bench: LoneBench) -> None:
    """One segment that the node did not know kept all its replicas from starting."""
    await bench.open()
    await bench.parts.close()
    path = bench.root / "data" / "partition-00000008" / "identity.json"
    file = bench.files.open(path)
    image = bytearray(file.size())
    file.pread(image, 0)
    bench.files.overwrite(path, image.index(b'"version":1'), b'"version":2')
    await bench.open()
    (reason,) = bench.replicas.unready()
    assert "partition 8 cannot be opened" in reason
    assert "version 2, written by a newer release; upgrade to read it" in reason
    await bench.put(1)
    bench.files.overwrite(path, 0, bytes(image))
    await bench.replicas.reopen(8)
    assert bench.replicas.unready() == []


async def test_a_reopening_that_ends_in_a_bug_leaves_the_partition_known(bench: LoneBench) -> None:
    """It was in no table any more, and could not be reopened a second time."""
    replica = await bench.open()
    replica.store.fence("test")

    def bug(_call: str, _path: Path) -> None:
        raise RuntimeError("a bug")

    bench.files.before = bug
    with pytest.raises(RuntimeError):
        await bench.replicas.reopen(7)
    assert bench.replicas.unready() == ["partition 7 cannot be opened: a bug"]
    bench.files.before = lambda _call, _path: None
    await bench.replicas.reopen(7)
    assert bench.replicas.unready() == []


async def test_a_clean_close_needs_no_replay(bench: LoneBench) -> None:
    await bench.open()
    for number in range(5):
        await bench.put(number)
    bench.parts.cursors.restore(bench.replicas[7].partition, {SILENT.name: FindToken(b"p" * 16, 77)})
    await bench.parts.close()
    assert bench.replicas.all() == []
    replica = await bench.open()
    assert replica.store.opened.replayed == 0
    assert replica.store.checkpoint.tokens == {SILENT.name: FindToken(b"p" * 16, 77)}
    for number in range(5):
        assert read_all(replica.store, blob_id(number)) == content(number, 500)


async def test_what_is_in_flight_while_closing_is_written_to_its_end(bench: LoneBench) -> None:
    """The files were closed under the disk thread that wrote to them: its descriptor's number may be another file's by then."""
    replica = await bench.open()
    loop = asyncio.get_running_loop()
    closed_under_it: list[str] = []

    def slowly(call: str, path: Path) -> None:
        if call == "pwritev" and path.suffix == ".segment":
            time.sleep(0.05)  # long enough for a close that does not wait; nothing depends on it when all is well
            closed_under_it.append(str(replica.store.state))

    bench.files.before = slowly
    started = asyncio.Event()
    submit = bench.parts.disk.submit

    def noted(*arguments: Any, **named: Any) -> Any:
        loop.call_soon(started.set)
        return submit(*arguments, **named)

    bench.parts.disk.submit = noted  # type: ignore[method-assign]
    put = asyncio.ensure_future(bench.put(1))
    await started.wait()
    await bench.parts.close()
    await asyncio.gather(put, return_exceptions=True)
    assert closed_under_it == ["open"]
    bench.files.before = lambda _call, _path: None
    replica = await bench.open()
    assert read_all(replica.store, blob_id(1)) == content(1, 500)


async def rebuilt(bench: LoneBench, before: Replica) -> Replica:
    await eventually(lambda: bench.replicas.get(7) not in (None, before))
    return bench.replicas[7]


async def test_a_rebuild_keeps_everything_and_is_said_meanwhile(bench: LoneBench) -> None:
    before = await bench.open()
    for number in range(5):
        await bench.put(number)
    bench.replicas.rebuild(before.store, "test")
    bench.replicas.rebuild(before.store, "again")
    with pytest.raises(ReplicaUnavailable, match="being reopened"):
        bench.replicas[7]
    assert bench.replicas.unready() == ["partition 7 is being reopened"]
    after = await rebuilt(bench, before)
    bench.replicas.rebuild(before.store, "by somebody who still has the old one")
    assert bench.replicas[7] is after
    assert bench.replicas.unready() == []
    assert before.store.state is StoreState.CLOSED
    assert after.store.opened.rebuilt
    for number in range(5):
        assert read_all(after.store, blob_id(number)) == content(number, 500)


async def test_a_rebuild_that_fails_leaves_the_partition_unavailable(bench: LoneBench) -> None:
    before = await bench.open()
    await bench.put(1)
    bench.files.flip(bench.root / "data" / "partition-00000007" / "identity.json", 5)
    bench.replicas.rebuild(before.store, "test")
    await eventually(lambda: not bench.replicas._tasks)
    with pytest.raises(ReplicaUnavailable):
        bench.replicas[7]
    assert bench.replicas[8].store.state is StoreState.OPEN


async def test_a_clean_stop_with_a_rotten_entry_is_mended_at_the_next_start(bench: LoneBench) -> None:
    replica = await bench.open()
    await bench.put(1)
    await bench.put(2)
    await bench.parts.close()
    env = lmdb.open(str(bench.root / "data" / "partition-00000007" / "index"), map_size=1 << 20, max_dbs=4)
    with env.begin(write=True) as txn:
        txn.put(blob_id(1)[16:32], b"rotten" * 9, db=env.open_db(b"entries", txn=txn))
    env.close()
    replica = await bench.open()
    done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
    replica.committer.append(update_record(blob_id(2), DELETED), sync=True, done=done.set_result)
    assert await done is None
    assert read_all(replica.store, blob_id(2)) == content(2, 500)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC])
async def test_an_opening_that_lacks_something_is_tried_again_by_itself(
    bench: LoneBench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The replica stayed unavailable until an operator came, for a lack of descriptors that was over at once."""
    await bench.open()
    await bench.put(1)
    await bench.parts.close()
    monkeypatch.setattr(openings, "RETRY_MIN_S", 0.01)
    failed: list[str] = []

    def lacking(call: str, path: Path) -> None:
        if "partition-00000007" in str(path) and call in ("open", "lock", "create") and len(failed) < 5:
            failed.append(bench.replicas.unready()[0])
            raise OSError(number, "lacking")

    bench.files.before = lacking
    replica = await bench.open()
    assert len(failed) == 5
    assert any("partition 7 is opening: waiting" in reason for reason in failed) or "opening" in failed[0]
    assert bench.replicas.unready() == []
    assert read_all(replica.store, blob_id(1)) == content(1, 500)
    assert not replica.store.opened.rebuilt


async def test_what_is_appended_while_it_closes_is_refused(bench: LoneBench) -> None:
    """Whoever had the replica in hand could append between the last wait and the close, and wrote into a closed file."""
    before = await bench.open()
    await bench.put(1)
    async with before.maintenance_lock:
        bench.replicas.rebuild(before.store, "test")
        await asyncio.sleep(0)  # it waits for the lock: nothing is on its way any more
        refused: list[AmbryError | None] = []
        before.committer.append(update_record(blob_id(1), DELETED), sync=True, done=refused.append)
        await before.committer.wait_idle()
    assert [type(error) for error in refused] == [ReplicaUnavailable]
    after = await rebuilt(bench, before)
    assert read_all(after.store, blob_id(1)) == content(1, 500)
