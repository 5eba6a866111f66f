"""The index: every blob is found at every moment of a checkpoint, and damage is never taken for an answer."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest

from ambry.blob import BlobState
from ambry.errors import AmbryError, IndexCorrupt, InsufficientStorage, InvariantBroken, Overloaded, ReplicaUnavailable
from datanode.store.entry import IndexEntry
from datanode.store.files import OsFiles
from datanode.store.index import Checkpoint, FindToken, Frozen, Index
from datanode.store.index_file import IndexFile
from datanode.store.stored_entries import PAGE_ENTRIES, Entries
from datanode.store.tables import Table
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id

INCARNATION = b"i" * 16


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "index"
    path.mkdir()
    return path


@pytest.fixture
def index(directory: Path) -> Iterator[Index]:
    made = Index(OsFiles(), directory, PARTITION)
    yield made
    made.close()


def entry(number: int, lsn: int, state: BlobState = ALIVE) -> IndexEntry:
    return IndexEntry(blob_id(number), lsn, 1, lsn, 200, 100, state, 0)


def checkpoint(index: Index, lsn: int) -> None:
    frozen = index.freeze()
    made = Checkpoint(incarnation=INCARNATION, segment=1, offset=lsn, lsn=lsn)
    index.write(frozen, made)
    index.finish(made)


def changes(index: Index, lsn: int = 0, limit: int = 1000) -> list[tuple[int, int]]:
    """(blob number, LSN) of the changes."""
    return [(int.from_bytes(item.id[16:22], "big"), item.lsn) for item in index.changes_since(lsn, limit)]


def environment(index: Index) -> Any:
    """LMDB's own."""
    tables = index._file.tables
    assert isinstance(tables, IndexFile)
    return tables._env


def damage(directory: Path, database: bytes, key: bytes, value: bytes) -> None:
    env = lmdb.open(str(directory), map_size=1 << 20, max_dbs=4)
    with env.begin(write=True) as txn:
        txn.put(key, value, db=env.open_db(database, txn=txn))
    env.close()


def test_a_new_index_is_empty(index: Index) -> None:
    assert index.checkpoint == Checkpoint()
    assert index.get(blob_id(1)) is None
    assert changes(index) == []
    assert (index.recent_count, index.stored_count()) == (0, 0)


def test_an_entry_is_found_at_every_moment_of_a_checkpoint(index: Index) -> None:
    index.set(entry(1, 100))
    seen = [index.get(blob_id(1))]
    frozen = index.freeze()
    seen.append(index.get(blob_id(1)))
    made = Checkpoint(incarnation=INCARNATION, lsn=200)
    index.write(frozen, made)
    seen.append(index.get(blob_id(1)))
    index.finish(made)
    seen.append(index.get(blob_id(1)))
    assert seen == [entry(1, 100)] * 4
    assert (index.recent_count, index.stored_count()) == (0, 1)


def test_the_newest_entry_is_found_while_an_older_one_is_written(index: Index) -> None:
    index.set(entry(1, 100))
    checkpoint(index, 200)
    index.set(entry(1, 300, DELETED))
    frozen = index.freeze()
    index.set(entry(1, 400))
    assert index.get(blob_id(1)) == entry(1, 400)
    made = Checkpoint(incarnation=INCARNATION, lsn=350)
    index.write(frozen, made)
    index.finish(made)
    assert index.get(blob_id(1)) == entry(1, 400)
    checkpoint(index, 500)
    assert index.get(blob_id(1)) == entry(1, 400)


def test_another_blob_with_the_same_uuid_is_not_found(index: Index) -> None:
    index.set(entry(1, 100))
    assert index.get(blob_id(1, partition=8)) is None
    checkpoint(index, 200)
    assert index.get(blob_id(1, partition=8)) is None
    assert index.get(blob_id(1)) == entry(1, 100)


def test_each_blob_stands_once_at_its_latest_change(index: Index) -> None:
    for number, lsn in ((1, 100), (2, 200), (1, 300), (3, 400), (2, 500)):
        index.set(entry(number, lsn))
    assert changes(index) == [(1, 300), (3, 400), (2, 500)]
    checkpoint(index, 600)
    assert changes(index) == [(1, 300), (3, 400), (2, 500)]
    index.set(entry(3, 700))
    assert changes(index) == [(1, 300), (2, 500), (3, 700)]
    checkpoint(index, 800)
    assert changes(index) == [(1, 300), (2, 500), (3, 700)]
    assert changes(index, 301) == [(2, 500), (3, 700)]
    assert changes(index, 300, limit=2) == [(1, 300), (2, 500)]
    assert changes(index, 701) == []
    assert changes(index, 0, limit=0) == []


def test_an_old_change_takes_no_room(index: Index) -> None:
    for lsn in range(100, 1100, 100):
        for number in (1, 2, 3):
            index.set(entry(number, lsn + number))
        checkpoint(index, lsn + 50)
    assert index._file.tables.count(Table.CHANGES) == index.stored_count() == 3


def test_changes_stand_once_and_in_order_while_a_checkpoint_is_written(index: Index) -> None:
    """Between the commit of LMDB and the end of a checkpoint its changes stood in LMDB and in the journal: they came twice, out
    of order."""
    index.set(entry(1, 100))
    index.set(entry(2, 200))
    checkpoint(index, 300)
    index.set(entry(3, 400))
    index.set(entry(1, 500))
    frozen = index.freeze()
    made = Checkpoint(incarnation=INCARNATION, lsn=600)
    index.set(entry(4, 700))
    expected = [(2, 200), (3, 400), (1, 500), (4, 700)]
    assert changes(index) == expected
    index.write(frozen, made)
    assert changes(index) == expected
    assert changes(index, limit=3) == expected[:3]
    index.finish(made)
    assert changes(index) == expected


def test_any_sequence_agrees_with_a_plain_dictionary(directory: Path) -> None:
    source = random.Random(7)
    for _ in range(15):
        for file in directory.iterdir():
            file.unlink()
        index = Index(OsFiles(), directory, PARTITION)
        model: dict[int, int] = {}
        lsn = 64
        pending: tuple[Frozen, Checkpoint] | None = None
        written = False
        for _ in range(60):
            step = source.choice(("set", "set", "set", "freeze", "write", "finish", "reopen"))
            if step == "set":
                number = source.randint(1, 8)
                model[number] = lsn
                index.set(entry(number, lsn))
                lsn += source.randint(1, 50)
            elif step == "freeze" and pending is None:
                pending, written = (index.freeze(), Checkpoint(incarnation=INCARNATION, lsn=lsn)), False
            elif step == "write" and pending is not None and not written:
                index.write(*pending)
                written = True
            elif step == "finish" and pending is not None and written:
                index.finish(pending[1])
                pending = None
            elif step == "reopen" and pending is None:
                checkpoint(index, lsn)
                index.close()
                index = Index(OsFiles(), directory, PARTITION)
            for since in (0, source.randint(0, lsn)):
                expected = sorted((at, number) for number, at in model.items() if at >= since)
                assert changes(index, since) == [(number, at) for at, number in expected]
            for number in range(1, 10):
                found = index.get(blob_id(number))
                assert (found.lsn if found else None) == model.get(number)
        index.close()


def test_a_checkpoint_is_found_after_reopening(directory: Path) -> None:
    index = Index(OsFiles(), directory, PARTITION)
    index.set(entry(1, 100))
    made = Checkpoint(
        incarnation=INCARNATION,
        segment=3,
        offset=640,
        lsn=9_000,
        clean=True,
        serving=True,
        tokens={"peer": FindToken(b"p" * 16, 5)},
        resume=True,
    )
    index.write(index.freeze(), made)
    index.finish(made)
    index.close()
    again = Index(OsFiles(), directory, PARTITION)
    assert again.checkpoint == made
    assert again.get(blob_id(1)) == entry(1, 100)
    again.close()


def test_what_was_not_written_is_gone_after_reopening(directory: Path) -> None:
    index = Index(OsFiles(), directory, PARTITION)
    index.set(entry(1, 100))
    index.close()
    again = Index(OsFiles(), directory, PARTITION)
    assert again.get(blob_id(1)) is None
    again.close()


def test_two_checkpoints_at_once_are_refused(index: Index) -> None:
    """A second one used to throw away what the first had not written yet."""
    index.set(entry(1, 100))
    index.freeze()
    with pytest.raises(InvariantBroken):
        index.freeze()
    assert index.get(blob_id(1)) == entry(1, 100)


@pytest.mark.parametrize("place", range(54))
def test_a_rotten_entry_is_never_an_answer(directory: Path, place: int) -> None:
    from datanode.store import entry as entry_format

    index = Index(OsFiles(), directory, PARTITION)
    index.set(entry(1, 100))
    checkpoint(index, 200)
    index.close()
    value = bytearray(entry_format.encode(entry(1, 100)))
    value[place] ^= 0x10
    damage(directory, b"entries", blob_id(1)[16:32], bytes(value))
    heard: list[str] = []
    index = Index(OsFiles(), directory, PARTITION, on_corrupt=heard.append)
    with pytest.raises(IndexCorrupt):
        index.get(blob_id(1))
    with pytest.raises(IndexCorrupt):
        index.changes_since(0, 10)
    index.set(entry(1, 300))  # a newer entry is known to be good
    assert index.get(blob_id(1)) == entry(1, 300)
    with pytest.raises(IndexCorrupt):  # but its old change cannot be taken out
        index.write(index.freeze(), Checkpoint(incarnation=INCARNATION, lsn=400))
    assert len(heard) == 3, "and each time somebody hears of it who can mend it"
    index.close()


def test_a_change_that_points_nowhere_is_left_out(directory: Path) -> None:
    index = Index(OsFiles(), directory, PARTITION)
    index.set(entry(1, 100))
    checkpoint(index, 200)
    index.close()
    damage(directory, b"changes", (150).to_bytes(8, "big"), b"nobody's key ..!")
    damage(directory, b"changes", (160).to_bytes(8, "big"), blob_id(1)[16:32])
    index = Index(OsFiles(), directory, PARTITION)
    assert changes(index) == [(1, 100)]
    index.close()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, bytes(8192)])
def test_a_file_that_is_no_index_is_corrupt(directory: Path, content: bytes) -> None:
    (directory / "data.mdb").write_bytes(content)
    try:
        made = Index(OsFiles(), directory, PARTITION)
    except IndexCorrupt:
        return
    assert not made.checkpoint.incarnation  # as good as new: the opening sees a foreign incarnation and rebuilds
    made.close()


def test_a_checkpoint_that_cannot_be_read_is_corrupt(directory: Path) -> None:
    index = Index(OsFiles(), directory, PARTITION)
    checkpoint(index, 100)
    index.close()
    damage(directory, b"meta", b"checkpoint", b"\xc1")
    with pytest.raises(IndexCorrupt):
        Index(OsFiles(), directory, PARTITION)


def test_an_index_of_another_version_is_corrupt_so_that_it_is_rebuilt(directory: Path) -> None:
    index = Index(OsFiles(), directory, PARTITION)
    checkpoint(index, 100)
    index.close()
    damage(directory, b"meta", b"checkpoint", msgspec.msgpack.encode({"version": 2}))
    with pytest.raises(IndexCorrupt, match="version 2"):
        Index(OsFiles(), directory, PARTITION)


def test_an_index_can_be_opened_again_after_a_failed_opening(directory: Path) -> None:
    index = Index(OsFiles(), directory, PARTITION)
    checkpoint(index, 100)
    index.close()
    damage(directory, b"meta", b"checkpoint", b"\xc1")
    with pytest.raises(IndexCorrupt):
        Index(OsFiles(), directory, PARTITION)
    for file in directory.iterdir():
        file.unlink()
    Index(OsFiles(), directory, PARTITION).close()


def test_a_cut_file_is_refused_at_any_size_below_the_one_it_needs(directory: Path, index: Index) -> None:
    for number in range(1, 400):
        index.set(entry(number, number * 100))
    checkpoint(index, 50_000)
    index.close()
    path = directory / "data.mdb"
    whole = path.read_bytes()
    for size in [0, 1, 4095, 4096, 8191, *range(8192, len(whole), 5021), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(IndexCorrupt):
            Index(OsFiles(), directory, PARTITION)
    path.write_bytes(whole)
    again = Index(OsFiles(), directory, PARTITION)
    assert len(list(again.stored({}))) == 399
    again.close()


def test_moves_and_removals_are_no_changes_and_are_checkpointed(index: Index) -> None:
    for number in (1, 2, 3):
        index.set(entry(number, number * 100))
    checkpoint(index, 400)
    moved = msgspec.structs.replace(entry(1, 100), segment=9, offset=80)
    index.move(moved)
    index.remove(blob_id(2))
    wanted = [moved, entry(3, 300)]
    for _ in range(2):
        assert sorted(index.stored(index.overlay()), key=lambda item: item.lsn) == wanted
        assert changes(index) == [(1, 100), (3, 300)]
        assert index.get(blob_id(2)) is None
        checkpoint(index, 400)
    assert (index.overlay(), index.stored_count()) == ({}, 2)


def test_a_walk_through_the_index_holds_no_transaction_and_meets_every_blob_once(index: Index) -> None:
    """A walk that rests between its pieces kept LMDB from using freed pages again, for as long as it took."""
    for number in range(3 * PAGE_ENTRIES):
        index.set(entry(number, 10 + number))
    checkpoint(index, 10_000)
    pages = 0
    met: list[int] = []
    for count, item in enumerate(index.stored(index.overlay()), start=1):
        met.append(int.from_bytes(item.id[16:22], "big"))
        if count % PAGE_ENTRIES:
            continue
        pages += 1
        assert not [line for line in environment(index).readers().splitlines()[1:] if line.split()[-1] != "-"]
        # What others do meanwhile: a change that the walk has met, one that it has not, a new blob, a checkpoint.
        base = 20_000 + 100 * pages
        index.set(entry(1, base, DELETED))
        index.set(entry(3 * PAGE_ENTRIES - 1, base + 1, DELETED))
        index.set(entry(9_000 + pages, base + 2))
        checkpoint(index, base + 3)
    assert len(met) == len(set(met))
    assert set(met) >= set(range(3 * PAGE_ENTRIES))
    assert pages >= 3


def test_a_walk_may_go_on_on_another_thread(index: Index) -> None:
    for number in range(2 * PAGE_ENTRIES):
        index.set(entry(number, 10 + number))
    checkpoint(index, 10_000)
    walk = index.stored(index.overlay())
    met = [next(walk) for _ in range(PAGE_ENTRIES // 2)]
    with ThreadPoolExecutor(1) as other:
        met += other.submit(list, walk).result()
    assert len(met) == 2 * PAGE_ENTRIES


# --- out of something ---

SHORTAGES = [
    (lmdb.MemoryError("mdb_txn_begin: Cannot allocate memory"), Overloaded),
    (lmdb.ReadersFullError("mdb_txn_begin: MDB_READERS_FULL"), Overloaded),
    (lmdb.Error("/index: Too many open files"), Overloaded),
    (lmdb.MapFullError("mdb_put: MDB_MAP_FULL"), InsufficientStorage),
    (lmdb.DiskError("mdb_txn_commit: No space left on device"), InsufficientStorage),
]


class Failing:
    """LMDB's environment, of which every transaction fails while `error` is set."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.error: lmdb.Error | None = None

    def begin(self, **named: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self._env.begin(**named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)


def failing_of(index: Index) -> Failing:
    """Put one under an index."""
    tables = index._file.tables
    assert isinstance(tables, IndexFile)
    tables._env = failing = Failing(tables._env)
    return failing


@pytest.mark.parametrize(("error", "raised"), SHORTAGES, ids=repr)
def test_an_index_that_cannot_be_asked_for_a_shortage_is_not_damaged(
    directory: Path, error: lmdb.Error, raised: type[AmbryError]
) -> None:
    """It was deleted and rebuilt from the log, and the replica fenced."""
    damage: list[str] = []
    index = Index(OsFiles(), directory, PARTITION, on_corrupt=damage.append)
    index.set(entry(1, 10))
    checkpoint(index, 100)
    failing = failing_of(index)
    failing.error = error
    asking: list[Callable[[], object]] = [
        lambda: index.get(blob_id(1)),
        lambda: index.changes_since(0, 10),
        lambda: list(index.stored({})),
    ]
    for ask in asking:
        with pytest.raises(raised):
            ask()
    assert damage == []
    failing.error = None
    assert index.get(blob_id(1)) == entry(1, 10)
    index.close()


@pytest.mark.parametrize(("error", "raised"), SHORTAGES, ids=repr)
def test_a_checkpoint_that_a_shortage_kept_from_being_written_is_written_by_the_next(
    directory: Path, error: lmdb.Error, raised: type[AmbryError]
) -> None:
    index = Index(OsFiles(), directory, PARTITION)
    failing = failing_of(index)
    index.set(entry(1, 10))
    index.set(entry(2, 20))
    frozen = index.freeze()
    index.set(entry(2, 30, DELETED))
    index.set(entry(3, 40))
    failing.error = error
    with pytest.raises(raised):
        index.write(frozen, Checkpoint(incarnation=INCARNATION, segment=1, offset=25, lsn=25))
    index.thaw()
    failing.error = None
    assert index.checkpoint.lsn == 0
    assert changes(index) == [(1, 10), (2, 30), (3, 40)]
    checkpoint(index, 50)
    index.close()
    again = Index(OsFiles(), directory, PARTITION)
    assert changes(again) == [(1, 10), (2, 30), (3, 40)]
    assert again.get(blob_id(2)) == entry(2, 30, DELETED)
    again.close()


def test_an_index_that_cannot_be_opened_for_a_shortage_is_not_damaged(directory: Path) -> None:
    """Without descriptors at start the index of a replica was deleted, and its whole log read again."""
    index = Index(OsFiles(), directory, PARTITION)
    index.set(entry(1, 10))
    checkpoint(index, 100)
    index.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(3):  # with none left, with one, with two
            with pytest.raises(Overloaded):
                Index(OsFiles(), directory, PARTITION)
            os.close(held.pop())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in held:
            os.close(number)
    again = Index(OsFiles(), directory, PARTITION)
    assert again.get(blob_id(1)) == entry(1, 10)
    again.close()


def test_changes_may_be_read_on_another_thread_while_checkpoints_and_changes_go_on(index: Index) -> None:
    """10,000 changes out of LMDB took the event loop 0.1 to 0.5 s. None may be passed over for being read elsewhere."""
    lsn = 10
    for number in range(400):
        index.set(entry(number, lsn := lsn + 10))
    checkpoint(index, lsn + 10)
    for number in range(0, 400, 3):  # later changes: some in a checkpoint on its way, some behind it
        index.set(entry(number, lsn := lsn + 10, DELETED))
    frozen = index.freeze()
    for number in range(0, 400, 5):
        index.set(entry(number, lsn := lsn + 10, DELETED))
    expected = changes(index)
    past, end = index.past(), lsn + 1
    started = threading.Barrier(2)

    def read() -> list[tuple[int, int]]:
        started.wait()
        return [(int.from_bytes(item.id[16:22], "big"), item.lsn) for item in index.changes_since(0, 1000, past)]

    with ThreadPoolExecutor(1) as other:
        reading = other.submit(read)
        started.wait()
        made = Checkpoint(incarnation=INCARNATION, segment=1, offset=lsn, lsn=lsn - 800)
        index.write(frozen, made)
        index.finish(made)
        for number in range(0, 400, 7):
            index.set(entry(number, lsn := lsn + 10, DELETED))
        found = reading.result()
    changed_again = {number for number, _ in changes(index, end)}
    assert {item for item in found if item[0] not in changed_again} == {
        item for item in expected if item[0] not in changed_again
    }, "what did not change since is there, once"
    assert len({number for number, _ in found}) == len(found)


def test_a_reader_of_changes_is_told_none_that_came_after_it_began(index: Index) -> None:
    """A blob that it had been told from LMDB and that changed meanwhile was told twice."""
    index.set(entry(1, 10))
    checkpoint(index, 100)
    index.set(entry(2, 200))
    past = index.past()
    index.set(entry(1, 300, DELETED))
    index.set(entry(3, 400))
    assert [item.lsn for item in index.changes_since(0, 1000, past)] == [200]
    assert [item.lsn for item in index.changes_since(201, 1000)] == [300, 400]


def test_closing_waits_for_a_reader_on_another_thread(index: Index) -> None:
    """The map went away under a thread that read it: the process died of SIGSEGV."""
    for number in range(300):
        index.set(entry(number, 10 + number))
    checkpoint(index, 10_000)
    tables = index._file.tables
    assert isinstance(tables, IndexFile)
    tables._enter()  # what a reader does first
    with ThreadPoolExecutor(2) as others:
        closing = others.submit(index.close)
        assert not closing.done()
        assert tables._env is not None
        tables._leave()
        closing.result(30)


def test_a_reader_that_meets_a_closed_index_is_told_so_and_nobody_of_damage(directory: Path) -> None:
    damage: list[str] = []
    index = Index(OsFiles(), directory, PARTITION, on_corrupt=damage.append)
    for number in range(300):
        index.set(entry(number, 10 + number))
    checkpoint(index, 10_000)
    past = index.past()
    begun, go = threading.Event(), threading.Event()
    find_all = index._changes._find_all

    def slowly(keys: Sequence[bytes]) -> list[IndexEntry | None]:
        begun.set()
        go.wait(30)
        return find_all(keys)

    index._changes._find_all = slowly
    with ThreadPoolExecutor(1) as other:
        reading = other.submit(index.changes_since, 0, 1000, past)
        assert begun.wait(30)
        index.close()
        go.set()
        with pytest.raises(ReplicaUnavailable, match="closed"):
            reading.result(30)
    assert damage == []


def test_changes_that_are_stored_are_looked_up_by_pages(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction for each change was a quarter of what a node did whose peer caught up with it."""
    index = Index(OsFiles(), directory, PARTITION)
    for number in range(300):
        index.set(entry(number, 10 + number))
    checkpoint(index, 10_000)
    index.set(entry(7, 20_000))
    asked: list[int] = []
    real = index._file.look_up

    def look_up(keys: Collection[bytes]) -> Entries:
        asked.append(len(keys))
        return real(keys)

    monkeypatch.setattr(index._file, "look_up", look_up)
    found = index.changes_since(0, 1_000)
    assert [item.lsn for item in found] == [*range(10, 17), *range(18, 310), 20_000]
    assert asked == [199, 100], "what waits in memory is not asked for"
    assert [item.lsn for item in index.changes_since(0, 5)] == [10, 11, 12, 13, 14]
    index.close()
