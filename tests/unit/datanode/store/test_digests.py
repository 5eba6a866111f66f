"""Digests of an index: two histories that end in the same living state have the same, and any other difference shows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState
from datanode.store.digests import Digests
from datanode.store.entry import IndexEntry
from datanode.store.files import OsFiles
from datanode.store.index import Checkpoint, Index
from datanode.store.ranges import BEHIND_ALL, FIRST_KEY, NOTHING, SIZE_MAX, Sum, compared, over, sum_of, window_of
from datanode.store.usage import Amount, ContainerUsage
from tests.support.samples import ALIVE, PARTITION, blob_id

ALL = (FIRST_KEY, BEHIND_ALL)
LATER_MS = 1 << 40
STATES = [
    BlobState(life, deleted, expires) for life in (0, 1) for deleted in (False, True) for expires in (9, NEVER_MS)
]


class Bench:
    """One index that is changed, checkpointed, and opened again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lsn = 0
        self.open()

    def open(self) -> None:
        self.index = Index(OsFiles(), self.directory, PARTITION)
        self.digests = Digests(self.index)

    def put(self, number: int, state: BlobState = ALIVE, *, present: bool = True) -> None:
        self.lsn += 200
        self.index.set(IndexEntry(blob_id(number), self.lsn, int(present), self.lsn, 200, 100, state, self.lsn))

    def checkpoint(self) -> None:
        made = Checkpoint(incarnation=bytes(16), segment=1, offset=self.lsn, lsn=self.lsn)
        self.index.write(self.index.freeze(), made)
        self.index.finish(made)

    def restart(self) -> None:
        self.index.close()
        self.open()

    def sum(self, after_ms: int = 0) -> Sum:
        return self.digests.sums(ALL, after_ms)[0]

    def tidy(self) -> int:
        """Returns in how many pieces."""
        pieces = 0
        more = self.digests.look()
        while more:
            more = self.digests.tidy()
            pieces += 1
        return pieces

    def counted(self, low: bytes = FIRST_KEY, high: bytes = BEHIND_ALL) -> Sum:
        """What the digest must be, by the entries themselves."""
        found = NOTHING
        for entry in self.index.stored({}):
            if low <= entry.id[16:32] < high and compared(window_of(entry), 0):
                found = found.plus(sum_of(entry))
        return found

    def used(self, now_ms: int = 1) -> list[ContainerUsage]:
        """What containers have, as it is told in pages of one."""
        found, after = [], b""
        while True:
            page = self.digests.usage(after, now_ms, 1)
            found += page.containers
            if not page.after:
                return found
            after = page.after

    def counted_use(self, now_ms: int = 1) -> list[ContainerUsage]:
        """What that must be, by the entries themselves."""
        found: dict[bytes, ContainerUsage] = {}
        for entry in self.index.stored({}):
            if entry.present:
                before = found.get(entry.id[4:12], ContainerUsage(entry.id[4:12], Amount(), Amount()))
                one = Amount(1, entry.payload_size)
                dead = over(window_of(entry), now_ms)
                found[entry.id[4:12]] = (
                    before._replace(dead=before.dead.plus(one)) if dead else before._replace(live=before.live.plus(one))
                )
        return [found[container] for container in sorted(found)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.index.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 15), st.sampled_from(STATES), st.booleans()),
        st.tuples(st.just("move"), st.integers(0, 15)),
        st.tuples(st.just("remove"), st.integers(0, 15)),
        st.tuples(st.just("checkpoint")),
        st.tuples(st.just("put off")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("begin anew")),
        st.tuples(st.just("tidy")),
    ),
    max_size=40,
)


@settings(max_examples=25)
@given(STEPS, st.randoms(use_true_random=False))
def test_any_history_has_the_digest_of_the_state_it_ends_in(
    steps: list[tuple[object, ...]], order: random.Random
) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        bench, straight = Bench(Path(one)), Bench(Path(other))
        for step in steps:
            match step:
                case ("put", int(number), BlobState() as state, bool(present)):
                    bench.put(number, state, present=present)
                case ("move", int(number)):
                    entry = bench.index.get(blob_id(number))
                    if entry is not None and entry.present:
                        bench.index.move(msgspec.structs.replace(entry, segment=9))
                case ("remove", int(number)):
                    bench.index.remove(blob_id(number))
                case ("checkpoint",):
                    bench.checkpoint()
                case ("put off",):
                    bench.index.freeze()
                    bench.index.thaw()
                case ("restart",):
                    bench.checkpoint()
                    bench.restart()
                case ("begin anew",):
                    bench.digests._begin_anew()
                case ("tidy",):
                    bench.digests.tidy()
        bench.checkpoint()
        bench.tidy()
        entries = list(bench.index.stored({}))
        order.shuffle(entries)
        for entry in entries:
            straight.put(int.from_bytes(entry.id[16:22], "big"), entry.state, present=entry.present)
        straight.checkpoint()
        assert bench.sum() == straight.sum() == bench.counted()
        assert bench.used() == straight.used() == bench.counted_use()
        assert bench.used(LATER_MS) == bench.counted_use(LATER_MS)
        bench.index.close()
        straight.index.close()


def test_of_what_changes_the_old_goes_out_and_the_new_comes_in(bench: Bench) -> None:
    seen = set()
    for state in STATES:
        for present in (True, False):
            bench.put(1, state, present=present)
            bench.checkpoint()
            assert bench.sum() == bench.counted()
            seen.add(bench.sum())
    assert len(seen) == 5, "two lives with and without bytes, and nothing: what is deleted or over"
    bench.put(1)
    bench.checkpoint()
    bench.index.remove(blob_id(1))
    bench.checkpoint()
    assert bench.sum() == NOTHING


def fill(bench: Bench, numbers: Iterable[int]) -> None:
    for number in numbers:
        bench.put(number)
    bench.checkpoint()


def test_a_large_index_is_cut_into_ranges_and_each_has_its_own_digest(bench: Bench) -> None:
    fill(bench, range(5_000, 5_000 + 3 * SIZE_MAX))
    assert bench.tidy() > 2
    found = bench.digests.grouped(*ALL, 0, limit=1_000)
    assert max(item.sum.blobs for item in found) <= SIZE_MAX
    assert sum(item.sum.blobs for item in found) == 3 * SIZE_MAX
    ends = [*(item.start for item in found[1:]), BEHIND_ALL]
    assert [item.sum for item in found] == [
        bench.counted(item.start, end) for item, end in zip(found, ends, strict=True)
    ]
    bench.restart()
    assert bench.digests.grouped(*ALL, 0, limit=1_000) == found
    few = bench.digests.grouped(*ALL, 0, limit=2)
    assert len(few) == 2
    assert sum(item.sum.blobs for item in few) == 3 * SIZE_MAX


def test_digests_of_ranges_that_somebody_else_cut(bench: Bench) -> None:
    fill(bench, range(5_000, 5_000 + SIZE_MAX + 100))
    bench.tidy()
    bounds = [FIRST_KEY, *(blob_id(number)[16:32] for number in (5_001, 5_500, 7_000)), BEHIND_ALL]
    wanted = [bench.counted(low, high) for low, high in pairwise(bounds)]
    assert bench.digests.sums(bounds, 0) == wanted


@pytest.mark.parametrize("number", [5_000, 5_777, 5_000 + SIZE_MAX + 99])
def test_one_blob_more_changes_the_digest_of_its_range_alone(bench: Bench, number: int) -> None:
    fill(bench, (each for each in range(5_000, 5_000 + SIZE_MAX + 100) if each != number))
    bench.tidy()
    before = bench.digests.grouped(*ALL, 0, limit=1_000)
    fill(bench, [number])
    after = bench.digests.sums([*(item.start for item in before), BEHIND_ALL], 0)
    differing = [item.start for item, now in zip(before, after, strict=True) if item.sum != now]
    assert differing == [bench.index.ranges.start_of(blob_id(number)[16:32])]


def test_a_damaged_digest_is_counted_anew_in_pieces_while_blobs_come_and_go(bench: Bench) -> None:
    fill(bench, range(5_000, 5_000 + SIZE_MAX + 100))
    bench.tidy()
    bench.index.close()
    with lmdb.open(str(bench.directory), max_dbs=4) as env, env.begin(write=True) as txn:
        database = env.open_db(b"ranges", txn=txn)
        start = bench.index.ranges.starts[-1]
        txn.put(start, bytes(txn.get(start, db=database) or b"")[:-1] + b"\x77", db=database)
    bench.open()
    assert bench.digests.look(), "it is noticed"
    assert not bench.digests.whole
    pieces = 0
    while bench.digests.tidy():
        pieces += 1
        if pieces in (2, 3):
            # On both sides of what is counted by now.
            fill(bench, [4_000 + pieces, 5_000 + pieces, 100_000 + pieces])
            bench.index.remove(blob_id(5_100 + pieces))
            bench.index.remove(blob_id(5_000 + SIZE_MAX + pieces))
            bench.checkpoint()
        if pieces == 2:
            bench.restart()
    assert pieces > 3
    assert bench.digests.whole
    assert bench.sum() == bench.counted()
    assert bench.used() == bench.counted_use()


def test_an_index_written_before_there_were_digests_gets_them(bench: Bench) -> None:
    fill(bench, range(5_000, 5_050))
    bench.index.close()
    with lmdb.open(str(bench.directory), max_dbs=4) as env, env.begin(write=True) as txn:
        txn.delete(b"ranges", db=env.open_db(b"meta", txn=txn))
        txn.drop(env.open_db(b"ranges", txn=txn), delete=False)
    bench.open()
    assert not bench.digests.whole
    bench.tidy()
    assert bench.digests.whole
    assert bench.sum() == bench.counted()


def test_usage_that_cannot_be_read_is_counted_anew_and_not_told_meanwhile(bench: Bench) -> None:
    fill(bench, range(5_000, 5_050))
    bench.index.close()
    with lmdb.open(str(bench.directory), max_dbs=5) as env, env.begin(write=True) as txn:
        database = env.open_db(b"usage", txn=txn)
        key, row = next(iter(txn.cursor(db=database)))
        txn.put(bytes(key), bytes(row)[:-1] + b"\x77", db=database)
    bench.open()
    assert bench.digests.usage(b"", 1, 10).containers == []
    assert not bench.digests.whole
    bench.tidy()
    assert bench.digests.whole
    assert bench.used() == bench.counted_use() != []
