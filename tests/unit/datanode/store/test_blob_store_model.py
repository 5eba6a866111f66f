"""Any sequence of calls, crashes and restarts, against a dictionary.

Acknowledged (synced) blobs read back identical with the joined state, whatever happens. LSNs are never given twice: not even
those of records that a crash lost, since a peer may have seen them. `changes_since` of any earlier token covers every blob
that changed later. Compaction, cut off anywhere, changes nothing but that blobs dead past retention may be forgotten; none of
those ever comes back, but by a backup that is put back: then all is as it was, and every token from after it tells so.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ambry.blob import BlobState, join
from ambry.format.record import Record
from datanode.store.blob_store import BlobStore
from datanode.store.compaction.plan import plan
from datanode.store.index import FindToken
from datanode.store.index_file import FILE_NAMES, INDEX_NAME
from datanode.store.lineage import Seen
from datanode.store.retention import Retention
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import Backup, FakeFiles
from tests.support.pieces import all_of
from tests.support.samples import (
    SEGMENT_SIZE,
    append,
    blob_id,
    checkpoint,
    content,
    hold,
    open_replica,
    put_record,
    update_record,
)

states = st.builds(BlobState, st.integers(0, 2), st.booleans(), st.sampled_from([5, 50, (1 << 63) - 1]))
numbers = st.integers(1, 12)
sizes = st.sampled_from([0, 1, 300, 5_000, 40_000, 90_000])


WRITTEN = 1_700_000_000_000
IN_MEMORY = Path("/dev/shm")
IN_DOUBT = -1
"""Of a compaction: the clock is in doubt, and nothing is over."""
COMPACTION_STEPS = ("pwritev", "fsync", "rename", "sync_directory", "unlink", "", "")


class PowerCut(BaseException):
    pass


class Known(msgspec.Struct):
    """What the model knows of one blob: what must be there, and what may be."""

    sure: BlobState | None = None
    possible: list[BlobState] = msgspec.field(default_factory=list)
    payload: bytes | None = None
    present_for_sure: bool = False
    lsn: int = 0
    """Of its latest published change."""


class Remembered(msgspec.Struct):
    """A backup of the directory, and what the model knew then."""

    disk: Backup
    blobs: dict[int, Known]
    given: dict[int, int]
    retired: set[int]
    tokens: list[int]
    unsynced: list[int]
    came: dict[int, float]
    seen: list[FindToken]


class BlobStoreModel(RuleBasedStateMachine):
    steps: ClassVar[int] = 0
    index_is_simulated: ClassVar[bool] = False
    """Then a power cut may also take its last transactions back."""

    def __init__(self) -> None:
        super().__init__()
        # Only LMDB's files are real, and their syncs are not what is tested here.
        self.root = Path(tempfile.mkdtemp(prefix="ambry-model-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.disk = FakeFiles(self.root, wholly_simulated=self.index_is_simulated)
        self.disk.lose_transactions_max = 3
        self.blobs: dict[int, Known] = {}
        self.given: dict[int, int] = {}
        """LSN -> end of every record that was ever placed, lost ones included."""
        self.retired: set[int] = set()
        """Dead past retention when a compaction ran: it may or may not know them any more."""
        self.tokens: list[int] = [0]
        self.unsynced: list[int] = []
        self.clock = SettableClock(WRITTEN)
        self.came: dict[int, float] = {}
        """LSN -> when its record came, by the monotonic clock."""
        self.seen: list[FindToken] = []
        """What peers have that saw all of this log, at some moments of it."""
        self.lost: list[FindToken] = []
        """The same of what a power cut or a backup took back: the log never went there."""
        self.backup: Remembered | None = None
        self.openings = 0
        self.store: BlobStore = self._open()

    def _open(self) -> BlobStore:
        self.openings += 1  # each has its own random names
        return open_replica(self.disk, self.root / "r", clock=self.clock, seed=self.openings)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.root)

    # --- what the outside does ---

    def _append(self, records: list[tuple[int, Record]], sync: bool) -> None:
        records = [(number, record) for number, record in records if number not in self.retired]
        if not records:
            return
        lsns = append(self.store, *(record for _, record in records), sync=sync)
        for (number, record), lsn in zip(records, lsns, strict=True):
            assert all(lsn >= end or lsn + record.size <= start for start, end in self.given.items()), "LSN given twice"
            assert lsn >= max(self.tokens), "a peer that has seen it all would never ask for this"
            self.given[lsn] = lsn + record.size
            self.came[lsn] = self.clock.monotonic()
            known = self.blobs.setdefault(number, Known())
            if len(record.checks) or len(record.properties):
                known.payload = bytes(record.payload)
            known.possible.append(record.state)
            known.lsn = lsn
            self.unsynced.append(number)
        if sync:
            self._all_synced()
        self.tokens.append(self.store.end_lsn)
        self.seen.append(self.store.token)

    def _all_synced(self) -> None:
        for known in self.blobs.values():
            for state in known.possible:
                known.sure = state if known.sure is None else join(known.sure, state)
            known.possible.clear()
            known.present_for_sure = known.payload is not None
        self.unsynced.clear()

    @rule(seconds=st.sampled_from([1, 100, 5_000]), jump_ms=st.sampled_from([0, 0, -(10**9), 10**9, 10**11]))
    def time_passes(self, seconds: int, jump_ms: int) -> None:
        """The wall clock may be moved, or stand still; the store goes by neither."""
        self.clock.advance(seconds)
        self.clock.wall = max(0, self.clock.wall + jump_ms)

    @rule(number=numbers, size=sizes, sync=st.booleans())
    def put(self, number: int, size: int, sync: bool) -> None:
        known = self.blobs.get(number)
        if known is not None and known.payload is not None:
            size = len(known.payload)  # bytes under an id never change
        self._append([(number, put_record(blob_id(number), content(number, size)))], sync)

    @rule(number=numbers, state=states, sync=st.booleans())
    def update(self, number: int, state: BlobState, sync: bool) -> None:
        self._append([(number, update_record(blob_id(number), state))], sync)

    @rule(first=numbers, count=st.integers(2, 6), state=states)
    def batch(self, first: int, count: int, state: BlobState) -> None:
        records: list[tuple[int, Record]] = []
        for number in range(first, first + count):
            known = self.blobs.get(number)
            size = len(known.payload) if known is not None and known.payload is not None else 20_000
            records.append((number, put_record(blob_id(number), content(number, size))))
            records.append((number, update_record(blob_id(number), state)))
        self._append(records, True)

    @rule(number=numbers, data=st.data())
    def read_range(self, number: int, data: st.DataObject) -> None:
        known = self.blobs.get(number)
        entry = self.store.lookup(blob_id(number))
        if known is None or known.payload is None or entry is None or not entry.present:
            return
        first = data.draw(st.integers(0, len(known.payload)))
        end = data.draw(st.integers(first, len(known.payload)))
        payload = self.store.read(entry, first, end, cached_only=False)
        assert payload is not None
        got = bytes(payload.data)
        assert got == known.payload[payload.start : payload.start + len(got)]
        assert first == end or (payload.start <= first and payload.start + len(got) >= end)

    @rule(data=st.data(), limit=st.integers(1, 5))
    def changes_since_any_token(self, data: st.DataObject, limit: int) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        found: dict[bytes, int] = {}
        at = token
        while entries := self.store.changes_since(at, limit):
            for entry in entries:
                assert entry.id not in found, "a blob stands once"
                assert entry.lsn >= at
                found[entry.id] = at = entry.lsn
            at += 1
        for number, known in self.blobs.items():
            if known.lsn >= token and self.store.lookup(blob_id(number)) is not None:
                assert blob_id(number) in found, f"blob {number} changed at {known.lsn}, after {token}"

    # --- what the inside does ---

    @rule()
    def make_checkpoint(self) -> None:
        checkpoint(self.store)
        self._all_synced()

    @rule(number=numbers, state=states)
    def append_during_a_checkpoint(self, number: int, state: BlobState) -> None:
        pending = self.store.begin_checkpoint(clean=False, tokens={})
        self._append([(number, update_record(blob_id(number), state))], True)
        self.store.write_checkpoint(pending)
        self.changed_blobs_are_listed()
        self.store.end_checkpoint(pending)

    @rule()
    def stop_and_start(self) -> None:
        checkpoint(self.store, clean=True)
        self._all_synced()
        self.store.close()
        self.store = self._open()
        assert self.store.opened.replayed == 0

    @rule(seed=st.integers(0, 10_000), stopped_before_an_append=st.booleans())
    def power_cut(self, seed: int, stopped_before_an_append: bool) -> None:
        self.disk.crash(random.Random(seed))
        self._restart()
        if stopped_before_an_append:
            self.stop_and_start()

    @rule()
    def kill(self) -> None:
        self.disk.kill()
        self._restart()
        for number in self.unsynced:
            assert self.store.lookup(blob_id(number)) is not None, "a kill loses nothing that was written"

    @rule(seed=st.integers(0, 10_000), during=st.sampled_from(["pwritev", "fdatasync", "allocate", "rename"]))
    def power_cut_during_a_put(self, seed: int, during: str) -> None:
        class Off(BaseException):
            pass

        def off(call: str, _path: Path) -> None:
            if call == during:
                raise Off

        self.disk.before = off
        record = put_record(blob_id(90), content(90, 30_000))
        with suppress(Off):
            append(self.store, record)
        self.disk.before = lambda _call, _path: None
        self.disk.crash(random.Random(seed))
        self._restart()

    @rule()
    def back_up(self) -> None:
        state = (self.blobs, self.given, self.retired, self.tokens, self.unsynced, self.came, self.seen)
        self.backup = Remembered(self.disk.backup(), *copy.deepcopy(state))

    @precondition(lambda self: self.backup is not None)
    @rule()
    def put_back(self) -> None:
        assert self.backup is not None
        self.store.close()
        self.disk.put_back(self.backup.disk)
        then = copy.deepcopy(self.backup)
        # What a power cut took since is in the backup, and so in the log again.
        self.lost = [token for token in (*self.lost, *self.seen) if token not in then.seen]
        self.blobs, self.given, self.retired, self.tokens = then.blobs, then.given, then.retired, then.tokens
        self.unsynced, self.came, self.seen = then.unsynced, then.came, then.seen
        self.store = self._open()
        self._take_over()

    @precondition(lambda self: len(self.blobs) > 2)
    @rule()
    def lose_the_index(self) -> None:
        checkpoint(self.store, clean=True)
        self._all_synced()
        self.store.close()
        if self.index_is_simulated:
            self.disk.remove(self.root / "r" / INDEX_NAME / FILE_NAMES[0])
        else:
            shutil.rmtree(self.root / "r" / INDEX_NAME)
        self.store = self._open()
        assert self.store.opened.rebuilt

    @precondition(lambda self: self.store.segment_count() > 2)
    @rule(
        late=st.sampled_from([9, 20, 40, IN_DOUBT]),
        horizon=st.sampled_from([0, 1 << 60]),
        covered=st.sampled_from([True, True, False]),
        during=st.sampled_from(COMPACTION_STEPS),
        switched=st.integers(0, 5),
        seed=st.integers(0, 10_000),
    )
    def compact(self, late: int, horizon: int, covered: bool, during: str, switched: int, seed: int) -> None:
        if covered:
            self.make_checkpoint()
        now_ms = 0 if late == IN_DOUBT else WRITTEN + late
        kept = Retention(now_ms=now_ms, deleted_ms=10, tombstone_ms=30, horizon_lsn=horizon)
        for number, known in list(self.blobs.items()):
            entry = self.store.lookup(blob_id(number))
            if entry is not None and not known.possible and kept.bytes_dead(entry):
                del self.blobs[number]
                self.retired.add(number)
        if during:
            self.disk.before = lambda call, _path: self._cut(call == during)
        try:
            self._compact(kept, switched if not during else -1)
        except PowerCut:
            self.disk.before = lambda _call, _path: None
            self.disk.crash(random.Random(seed))
            self._restart()
        finally:
            self.disk.before = lambda _call, _path: None

    @staticmethod
    def _cut(now: bool) -> None:
        if now:
            raise PowerCut

    def _compact(self, kept: Retention, switched: int) -> None:
        compaction = self.store.compaction
        usages = all_of(compaction.usages(self.store.overlay(), kept))
        numbers = plan(usages, free_bytes=1 << 40, output_bytes_max=SEGMENT_SIZE, dead_share_min=0.05)
        if not numbers:
            return
        inputs, output = compaction.plan_output(numbers)
        copied = all_of(compaction.copier(kept).run(inputs, output))
        self.acknowledged_blobs_read_back()
        assert compaction.may_switch(copied, kept)
        compaction.put_in_place(copied)
        compaction.begin_switch(copied)
        here = hold(self.store, copied)
        assert compaction.switch_dropped(copied.dropped, kept, here) == []
        compaction.switch_forgotten(copied.forgotten, here)
        compaction.switch_moved(copied, copied.moved[:switched] if switched >= 0 else copied.moved, here)
        self.acknowledged_blobs_read_back()
        self._cut(0 <= switched < len(copied.moved))
        compaction.switch_moved(copied, copied.moved, here)
        self.make_checkpoint()
        compaction.delete_files(compaction.retire(numbers))

    def _restart(self) -> None:
        self.store.close()
        self.store = self._open()
        self._take_over()

    def _take_over(self) -> None:
        end_lsn = self.store.end_lsn
        self.lost += [token for token in self.seen if token.lsn > end_lsn]
        self.seen = [token for token in self.seen if token.lsn <= end_lsn]
        # What was not synced is there or not: take over what became of it.
        for number, known in self.blobs.items():
            entry = self.store.lookup(blob_id(number))
            if entry is None:
                assert known.sure is None, f"acknowledged blob {number} is lost"
                continue
            self._plausible(number, known, entry.state)
            known.sure, known.lsn = entry.state, entry.lsn
            known.possible.clear()
            known.present_for_sure = entry.present
            if not entry.present:
                known.payload = None  # its put was not synced, and is lost
        self.blobs = {number: known for number, known in self.blobs.items() if known.sure is not None}
        self.unsynced.clear()
        checkpoint(self.store)

    def _plausible(self, number: int, known: Known, state: BlobState) -> None:
        """`state` is the join of all that is sure and of some of what is possible."""
        low = known.sure or BlobState()
        assert join(low, state) == state, f"blob {number} went back from {low} to {state}"
        high = low
        for possible in known.possible:
            high = join(high, possible)
        assert join(high, state) == high, f"blob {number} has {state}, which nobody wrote"

    # --- what always holds ---

    @initialize()
    def begin(self) -> None:
        assert self.store.end_lsn == 0

    @invariant()
    def acknowledged_blobs_read_back(self) -> None:
        for number, known in self.blobs.items():
            entry = self.store.lookup(blob_id(number))
            if known.sure is None and entry is None:
                continue
            assert entry is not None, f"blob {number} is lost"
            expected = known.sure or BlobState()
            for state in known.possible:
                expected = join(expected, state)
            assert entry.state == expected
            if known.present_for_sure:
                assert entry.present
                payload = self.store.read(entry, 0, entry.payload_size, cached_only=False)
                assert payload is not None
                assert bytes(payload.data) == known.payload

    @invariant()
    def nothing_is_older_than_it_is(self) -> None:
        for seconds in (1, 100, 6_000):
            over_lsn = self.store.age.older_than(seconds)
            latest = self.clock.monotonic() - seconds
            assert all(came <= latest for lsn, came in self.came.items() if lsn < over_lsn)

    @invariant()
    def the_dead_stay_dead(self) -> None:
        BlobStoreModel.steps += 1
        for number in self.retired:
            entry = self.store.lookup(blob_id(number))
            assert entry is None or entry.state.deleted or entry.state.expired(WRITTEN), f"blob {number} came back"

    @invariant()
    def peers_know_whether_this_is_the_log_they_saw(self) -> None:
        """Also when LSNs were given again after a backup was put back."""
        assert {self.store.judge(token) for token in self.seen[-20:]} <= {Seen.HERE}
        assert {self.store.judge(token) for token in self.lost[-20:]} <= {Seen.BEYOND}

    @invariant()
    def changed_blobs_are_listed(self) -> None:
        listed = self.store.changes_since(0, 10_000)
        assert [entry.lsn for entry in listed] == sorted({entry.lsn for entry in listed})
        ids = {entry.id for entry in listed}
        assert len(ids) == len(listed)
        for number in self.blobs:
            if self.store.lookup(blob_id(number)) is not None:
                assert blob_id(number) in ids


class ForgetfulIndexModel(BlobStoreModel):
    """On a disk that lies about the syncs of the index, and of nothing else."""

    index_is_simulated = True


def run(model: type[BlobStoreModel], *, examples: int, steps: int, derandomize: bool) -> None:
    BlobStoreModel.steps = 0
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=derandomize,
            database=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
    print(f"{BlobStoreModel.steps} steps in {examples} histories")


def test_any_history_agrees_with_a_dictionary() -> None:
    run(BlobStoreModel, examples=250, steps=50, derandomize=True)
    assert BlobStoreModel.steps >= 10_000


def test_so_it_does_where_power_cuts_take_transactions_of_the_index_back() -> None:
    run(ForgetfulIndexModel, examples=20, steps=50, derandomize=True)


@pytest.mark.fault
@pytest.mark.parametrize("model", [BlobStoreModel, ForgetfulIndexModel])
def test_many_long_histories_agree_with_a_dictionary(model: type[BlobStoreModel]) -> None:
    run(model, examples=200 * int(os.environ.get("AMBRY_FAULT_ROUNDS", "10")), steps=100, derandomize=False)
