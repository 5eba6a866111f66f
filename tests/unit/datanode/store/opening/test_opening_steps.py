"""Opening a replica after every kind of end."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from ambry.blob import BlobState
from ambry.errors import DataCorrupt, StoreMismatch
from ambry.format.segment import HEADER_SIZE
from datanode.store.blob_store import BlobStore
from datanode.store.index import FindToken
from datanode.store.opening import steps as opening
from datanode.store.opening.replay import Replay
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    ALIVE,
    DELETED,
    SEGMENT_SIZE,
    append,
    blob_id,
    checkpoint,
    content,
    open_replica,
    put_record,
    read_all,
    stop_cleanly,
    update_record,
)

TOKENS = {"peer": FindToken(b"p" * 16, 4096)}


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "r"


def segment(place: Path, number: int) -> Path:
    return place / f"{number:08d}.segment"


def fill(store: BlobStore, count: int, *, first: int = 1, size: int = 3000) -> None:
    for number in range(first, first + count):
        append(store, put_record(blob_id(number), content(number, size)))


def expect(store: BlobStore, count: int, *, first: int = 1, size: int = 3000) -> None:
    for number in range(first, first + count):
        assert read_all(store, blob_id(number)) == content(number, size), number


def serving(store: BlobStore) -> BlobStore:
    """As if it had caught up with its peers."""
    store.serving = True
    return store


def killed(disk: FakeFiles, store: BlobStore) -> None:
    disk.kill()
    store.close()


def new_and_serving(disk: FakeFiles, place: Path, count: int = 5, size: int = 3000) -> BlobStore:
    """A replica with some blobs, checkpointed as serving, and some more behind the checkpoint."""
    store = serving(open_replica(disk, place))
    fill(store, count, size=size)
    checkpoint(store, tokens=TOKENS)
    return store


# --- the ordinary ends ---


def test_a_new_replica_has_no_authority(disk: FakeFiles, place: Path) -> None:
    store = open_replica(disk, place)
    assert not store.serving
    assert store.opened.rebuilt is False
    assert (store.end_lsn, store.segment_count()) == (0, 0)
    assert not store.checkpoint.clean


def test_after_a_clean_stop_appends_go_on_in_the_same_segment(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place)
    end = store.end_lsn
    incarnation = store.incarnation
    stop_cleanly(store, tokens=TOKENS)
    disk.calls.clear()
    store = open_replica(disk, place)
    assert ("pread", "00000001.segment") in disk.calls  # its header
    assert (store.opened.replayed, store.opened.serving, store.serving) == (0, True, True)
    assert (store.end_lsn, store.incarnation) == (end, incarnation)
    assert store.checkpoint.tokens == TOKENS
    assert not store.checkpoint.clean, "it must say so before the first append"
    assert append(store, put_record(blob_id(9), b"next")) == [end]
    expect(store, 5)
    assert store.segment_count() == 1


def test_after_a_kill_everything_is_replayed_and_appends_go_into_a_new_segment(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place)
    fill(store, 3, first=6)
    append(store, update_record(blob_id(2), DELETED))
    end = store.end_lsn
    killed(disk, store)
    store = open_replica(disk, place)
    assert (store.opened.replayed, store.opened.gaps, store.opened.cut_bytes) == (4, 0, 0)
    assert store.serving
    assert store.checkpoint.tokens == TOKENS
    expect(store, 8)
    entry = store.lookup(blob_id(2))
    assert entry is not None
    assert entry.state == DELETED
    (lsn,) = append(store, put_record(blob_id(9), b"next"))
    assert lsn == SEGMENT_SIZE + HEADER_SIZE
    assert lsn > end


def test_a_clean_stop_after_an_unclean_one_does_not_bring_lsns_back(disk: FakeFiles, place: Path) -> None:
    """Records of class `memory` that peers had seen were lost in a power cut; the replica came up, was stopped cleanly before
    any append, and then went on in the old segment: with LSNs below the tokens of its peers, who never asked for them."""
    store = new_and_serving(disk, place)
    append(store, put_record(blob_id(8), content(8, 3000)), sync=False)
    seen_by_peers = store.end_lsn

    class Lost(random.Random):
        def choice(self, seq: object) -> str:  # type: ignore[override]
            return "dropped"

    disk.crash(Lost(1))
    store.close()
    store = open_replica(disk, place)
    assert store.lookup(blob_id(8)) is None
    for _ in range(3):
        stop_cleanly(store)
        store = open_replica(disk, place)
        assert store.serving
    (lsn,) = append(store, put_record(blob_id(9), b"next"))
    assert lsn >= seen_by_peers
    assert [entry.id for entry in store.changes_since(seen_by_peers, 10)] == [blob_id(9)]
    end = store.end_lsn
    stop_cleanly(store)
    store = open_replica(disk, place)
    assert append(store, put_record(blob_id(10), b"x")) == [end], "after an append all is as usual"


def test_a_kill_before_the_first_checkpoint_loses_nothing(disk: FakeFiles, place: Path) -> None:
    store = open_replica(disk, place)
    fill(store, 40)
    killed(disk, store)
    store = open_replica(disk, place)
    assert store.segment_count() > 1
    expect(store, 40)


def test_opening_and_being_killed_again_and_again_changes_nothing(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place)
    fill(store, 3, first=6)
    for _ in range(4):
        killed(disk, store)
        store = open_replica(disk, place)
        assert store.serving
        assert store.checkpoint.tokens == TOKENS
        expect(store, 8)


@pytest.mark.parametrize("seed", range(30))
def test_a_power_cut_loses_nothing_that_was_synced(disk: FakeFiles, place: Path, seed: int) -> None:
    store = new_and_serving(disk, place, count=12, size=5000)
    fill(store, 15, first=13, size=5000)
    append(store, put_record(blob_id(50), content(50, 5000)), sync=False)
    append(store, put_record(blob_id(51), content(51, 5000)), sync=False)
    end = store.end_lsn
    disk.crash(random.Random(seed))
    store.close()
    store = open_replica(disk, place)
    expect(store, 27, size=5000)
    for number in (50, 51):
        if store.lookup(blob_id(number)) is not None:
            assert read_all(store, blob_id(number)) == content(number, 5000)
    (lsn,) = append(store, put_record(blob_id(60), b"x"))
    assert lsn >= end


@pytest.mark.parametrize("seed", range(5))
def test_a_replica_on_a_disk_that_is_simulated_whole_lives_through_power_cuts(tmp_path: Path, seed: int) -> None:
    """Its index too is kept by the fake: no file of it is real."""
    rng = random.Random(seed)
    disk = FakeFiles(tmp_path, wholly_simulated=True)
    place = tmp_path / "partition-00000007"
    store = new_and_serving(disk, place, count=12, size=5000)
    for count in range(12, 30, 6):
        fill(store, 6, first=count + 1, size=5000)
        if rng.random() < 0.5:
            checkpoint(store, tokens=TOKENS)
        disk.crash(rng)
        store.close()
        store = open_replica(disk, place)
        expect(store, count + 6, size=5000)
    store.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_new_replica_is_not_lost_in_a_power_cut_with_its_directory(tmp_path: Path, seed: int) -> None:
    """The name of the replica's own directory was never synced."""
    disk = FakeFiles(tmp_path)
    store = open_replica(disk, tmp_path / "r")
    fill(store, 2)
    disk.crash(random.Random(seed))
    store.close()
    store = open_replica(disk, tmp_path / "r")
    expect(store, 2)


# --- the index lost or damaged ---


def listing(store: BlobStore) -> list[tuple[bytes, int, BlobState, bool]]:
    return [(item.id, item.lsn, item.state, item.present) for item in store.changes_since(0, 10_000)]


def test_a_deleted_index_is_rebuilt_with_the_same_content(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=40)
    append(store, update_record(blob_id(3), DELETED))
    append(store, update_record(blob_id(77), BlobState(0, True, 5)))
    before = listing(store)
    stop_cleanly(store)
    shutil.rmtree(place / "index")
    store = open_replica(disk, place)
    assert listing(store) == before
    assert store.opened.rebuilt
    assert not store.serving
    assert store.checkpoint.tokens == {}
    expect(store, 40)


def test_a_rebuild_on_demand_gives_the_same_content(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=10)
    before = listing(store)
    stop_cleanly(store)
    store = open_replica(disk, place, rebuild=True)
    assert listing(store) == before
    assert store.opened.rebuilt
    assert not store.serving


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 5000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut_to_half(path: Path) -> None:
    """A page that is missing behind the end of a mapped file used to kill the whole process, at every start."""
    os.truncate(path, path.stat().st_size // 2)


def cut_by_a_byte(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def rot_meta(path: Path) -> None:
    rot(path, b"meta", b"checkpoint")


def rot_entry(path: Path) -> None:
    rot(path, b"entries", blob_id(3)[16:32])


def rot(path: Path, name: bytes, key: bytes) -> None:
    env = lmdb.open(str(path.parent), map_size=1 << 20, max_dbs=4)
    with env.begin(write=True) as txn:
        database = env.open_db(name, txn=txn)
        value = bytearray(txn.get(key, db=database) or b"")
        value[0] ^= 0x55
        txn.put(key, bytes(value), db=database)
    env.close()


@pytest.mark.parametrize("damage", [garbage, empty, zeros, cut_to_half, cut_by_a_byte, rot_meta])
def test_a_damaged_index_is_rebuilt(disk: FakeFiles, place: Path, damage: Callable[[Path], None]) -> None:
    store = new_and_serving(disk, place, count=10)
    before = listing(store)
    stop_cleanly(store)
    damage(place / "index" / "data.mdb")
    store = open_replica(disk, place)
    assert listing(store) == before
    assert not store.serving


def test_a_rotten_entry_that_replay_meets_makes_the_index_be_rebuilt(disk: FakeFiles, place: Path) -> None:
    """It used to keep the replica, and with it the whole node, from starting for ever."""
    store = new_and_serving(disk, place, count=10)
    append(store, update_record(blob_id(3), DELETED))
    before = listing(store)
    killed(disk, store)
    rot_entry(place / "index" / "data.mdb")
    store = open_replica(disk, place)
    assert listing(store) == before
    assert store.opened.rebuilt
    assert not store.serving
    with pytest.raises(StoreMismatch):
        open_replica(disk, place)  # and it still holds its lock


def test_an_index_of_another_incarnation_is_rebuilt(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=10)
    old = store.incarnation
    stop_cleanly(store)
    disk.remove(place / "identity.json")
    store = open_replica(disk, place, seed=99)
    assert store.incarnation != old
    assert not store.serving
    expect(store, 10)


# --- the log damaged ---


def test_a_log_shorter_than_its_index_costs_the_authority_and_the_tokens(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=10)
    entry = store.lookup(blob_id(9))
    assert entry is not None
    stop_cleanly(store, tokens=TOKENS)
    disk.cut(segment(place, 1), entry.offset)
    store = open_replica(disk, place)
    assert not store.serving
    assert store.checkpoint.tokens == {}
    assert store.lookup(blob_id(9)) is None
    expect(store, 8)


@pytest.mark.parametrize("starts", [1, 3])
def test_a_removed_segment_does_not_bring_its_lsns_back(disk: FakeFiles, place: Path, starts: int) -> None:
    """The next records got the LSNs of the lost ones, below the tokens of the peers."""
    store = new_and_serving(disk, place, count=40)
    seen_by_peers = store.end_lsn
    last = store.segment_count()
    stop_cleanly(store, tokens=TOKENS)
    disk.remove(segment(place, last))
    for _ in range(starts):
        store = open_replica(disk, place)
        assert not store.serving
        assert store.checkpoint.tokens == {}
        stop_cleanly(store)
    store = open_replica(disk, place)
    (lsn,) = append(store, put_record(blob_id(99), b"x"))
    assert lsn >= seen_by_peers
    expect(store, 5)


def test_all_segments_removed_is_no_authority(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=5)
    end = store.end_lsn
    stop_cleanly(store)
    disk.remove(segment(place, 1))
    store = open_replica(disk, place)
    assert not store.serving
    assert store.lookup(blob_id(1)) is None
    assert append(store, put_record(blob_id(1), b"x"))[0] >= end


@pytest.mark.parametrize("removed", [(1, 2, 3), (2, 3), (3,)])
def test_segments_removed_with_the_index_do_not_bring_their_lsns_back(
    disk: FakeFiles, place: Path, removed: tuple[int, ...]
) -> None:
    """The identity alone was left to tell. The log began anew under its old name, and what it took in then lay behind the
    cursors of the peers, which knew the epoch: acknowledged blobs never left it."""
    store = new_and_serving(disk, place, count=5)
    for number in (6, 7):
        killed(disk, store)
        store = open_replica(disk, place)
        append(store, put_record(blob_id(number), content(number, 3000)))
    stop_cleanly(store)
    store = open_replica(disk, place)
    seen_by_peers = store.token
    stop_cleanly(store)
    for number in removed:
        disk.remove(segment(place, number))
    shutil.rmtree(place / "index")
    store = open_replica(disk, place)
    assert not store.serving
    assert append(store, put_record(blob_id(9), b"x"))[0] >= seen_by_peers.lsn


def torn(disk: FakeFiles, place: Path, keep: int) -> tuple[BlobStore, int]:
    """A replica whose last record was written only to byte `keep`."""
    store = new_and_serving(disk, place, count=3)
    record = put_record(blob_id(4), content(4, 3000))
    append(store, record)
    entry = store.lookup(blob_id(4))
    assert entry is not None
    killed(disk, store)
    disk.overwrite(segment(place, 1), entry.offset + keep, bytes(record.size - keep))
    return open_replica(disk, place), entry.offset


@pytest.mark.parametrize("keep", [1, 4, 79, 80, 100, 1000, 2999])
def test_a_torn_tail_is_cut_and_kept_in_quarantine(disk: FakeFiles, place: Path, keep: int) -> None:
    store, offset = torn(disk, place, keep)
    assert store.lookup(blob_id(4)) is None
    expect(store, 3)
    assert store.opened.gaps == 1
    assert 0 < store.opened.cut_bytes <= keep
    assert not store.serving
    assert store.checkpoint.tokens == TOKENS, "they never cover what came after the checkpoint"
    (name,) = disk.list_directory(place / "quarantine")
    assert name == f"00000001.segment.{offset}"
    assert len(disk.durable_content(place / "quarantine" / name)) == store.opened.cut_bytes
    assert len(disk.content(segment(place, 1))) == offset
    assert append(store, put_record(blob_id(5), b"x"))[0] >= SEGMENT_SIZE


def test_a_tail_of_zeros_is_no_loss(disk: FakeFiles, place: Path) -> None:
    store, _ = torn(disk, place, 0)
    assert store.lookup(blob_id(4)) is None
    assert store.serving
    assert store.opened.gaps == 0
    assert not disk.exists(place / "quarantine")


def test_a_crash_while_a_tail_is_cut_is_repeated_on_the_next_start(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=3)
    record = put_record(blob_id(4), content(4, 3000))
    append(store, record)
    entry = store.lookup(blob_id(4))
    assert entry is not None
    killed(disk, store)
    disk.overwrite(segment(place, 1), entry.offset + 1000, bytes(500))
    tail = disk.content(segment(place, 1))[entry.offset :].rstrip(b"\0")
    for call in ("create", "pwritev", "fsync", "rename", "truncate"):
        disk.fail(call, errno.EIO, name="quarantine" if call != "truncate" else "segment")
        with pytest.raises(OSError):
            open_replica(disk, place)
        disk.kill()
    disk.mend()
    store = open_replica(disk, place)
    expect(store, 3)
    assert not store.serving
    # An interrupted copy used to be taken for a whole one, and the tail cut off without it.
    (name,) = disk.list_directory(place / "quarantine")
    assert disk.durable_content(place / "quarantine" / name) == tail


def test_damage_in_the_middle_hides_one_blob_and_costs_the_authority(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=2)
    fill(store, 4, first=3)
    entry = store.lookup(blob_id(4))
    assert entry is not None
    killed(disk, store)
    disk.flip(segment(place, 1), entry.offset + 200)
    store = open_replica(disk, place)
    assert (store.opened.replayed, store.opened.gaps) == (3, 1)
    assert store.lookup(blob_id(4)) is None
    assert not store.serving
    assert store.checkpoint.tokens == {}
    expect(store, 3)
    expect(store, 2, first=5)


def test_a_damaged_segment_header_hides_its_segment_only(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=60)
    count = store.segment_count()
    assert count >= 3
    end = store.end_lsn
    stop_cleanly(store, tokens=TOKENS)
    disk.flip(segment(place, 2), 20)
    store = open_replica(disk, place)
    assert not store.serving
    assert store.checkpoint.tokens == {}
    expect(store, 5)
    expect(store, 5, first=56)
    lost = store.lookup(blob_id(25))
    assert lost is not None
    assert not lost.present, "its state is known, its bytes are fetched from a peer"
    assert lost.state == ALIVE
    assert append(store, put_record(blob_id(99), b"x"))[0] >= end


def test_the_last_segment_with_a_damaged_header_keeps_its_lsns(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place, count=40)
    end, last = store.end_lsn, store.segment_count()
    killed(disk, store)
    disk.flip(segment(place, last), 20)
    for _ in range(2):
        store = open_replica(disk, place)
        stop_cleanly(store)
    store = open_replica(disk, place)
    assert append(store, put_record(blob_id(99), b"x"))[0] >= end
    expect(store, 5)


def test_a_segment_that_was_never_finished_is_cleared_away(disk: FakeFiles, place: Path) -> None:
    """A file without a header used to count as a damaged segment: no authority and no tokens, at every start."""
    store = new_and_serving(disk, place)

    def kill(call: str, path: Path) -> None:
        if call == "allocate" and path.name.startswith("00000002"):
            raise KeyboardInterrupt

    disk.before = kill
    with pytest.raises(KeyboardInterrupt):
        fill(store, 40, first=6)
    disk.before = lambda _call, _path: None
    killed(disk, store)
    store = open_replica(disk, place)
    assert store.serving
    assert store.checkpoint.tokens == TOKENS
    assert [name for name in disk.list_directory(place) if "tmp" in name] == []
    fill(store, 40, first=6)
    expect(store, 45)


# --- refusals ---


def test_a_second_opening_is_refused(disk: FakeFiles, place: Path) -> None:
    store = open_replica(disk, place)
    with pytest.raises(StoreMismatch, match="in use by another process"):
        open_replica(disk, place)
    store.close()
    open_replica(disk, place).close()


@pytest.mark.parametrize(("cluster", "partition"), [("other", 7), ("test", 8)])
def test_a_directory_of_another_cluster_or_partition_is_refused(
    disk: FakeFiles, place: Path, cluster: str, partition: int
) -> None:
    open_replica(disk, place).close()
    with pytest.raises(StoreMismatch):
        open_replica(disk, place, cluster=cluster, partition=partition)
    open_replica(disk, place).close()  # the refusal left no lock behind


@pytest.mark.parametrize("partition", [7, 8])
def test_a_segment_of_another_replica_is_set_aside_and_ours_stay(
    disk: FakeFiles, tmp_path: Path, partition: int
) -> None:
    """It covered LSNs of ours, which were deleted, or kept the whole node from starting."""
    mine, other = open_replica(disk, tmp_path / "r"), open_replica(disk, tmp_path / "s", partition=partition, seed=2)
    for number in range(1, 50):
        append(mine, put_record(blob_id(number), content(number, 3000)))
        append(other, put_record(blob_id(number + 100, partition=partition), b"x"))
    mine.serving = True
    stop_cleanly(mine)
    stop_cleanly(other)
    disk.rename(segment(tmp_path / "s", 1), segment(tmp_path / "r", 9))
    store = open_replica(disk, tmp_path / "r")
    assert store.set_aside == ["set-aside/00000009.segment.1"]
    assert store.serving, "nothing of ours is missing"
    for number in range(1, 50):
        assert read_all(store, blob_id(number)) == content(number, 3000)
    assert store.lookup(blob_id(101, partition=partition)) is None
    store.close()


def test_a_log_that_is_older_than_its_identity_stays_ours(disk: FakeFiles, tmp_path: Path) -> None:
    """Its identity was deleted: the next start makes another, and those after it must not take the segments for foreign."""
    store = open_replica(disk, tmp_path / "r")
    append(store, put_record(blob_id(1), content(1, 3000)))
    stop_cleanly(store)
    disk.remove(tmp_path / "r" / "identity.json")
    for seed in (2, 3):
        store = open_replica(disk, tmp_path / "r", seed=seed)
        assert (store.set_aside, read_all(store, blob_id(1))) == ([], content(1, 3000))
        stop_cleanly(store)


def test_a_damaged_identity_is_refused_and_leaves_no_lock(disk: FakeFiles, place: Path) -> None:
    open_replica(disk, place).close()
    disk.flip(place / "identity.json", 30)
    for _ in range(2):
        with pytest.raises(DataCorrupt, match="identity"):
            open_replica(disk, place)
    disk.flip(place / "identity.json", 30)
    open_replica(disk, place).close()


def test_what_a_failed_sync_lost_is_not_believed_because_the_page_cache_shows_it(disk: FakeFiles, place: Path) -> None:
    """Records read back after a kill may be in the page cache only, and after a failed sync they never get to the disk."""
    store = open_replica(disk, place)
    append(store, put_record(blob_id(1), content(1, 3000), state=ALIVE), sync=False)
    killed(disk, store)
    disk.fail("fdatasync", errno.EIO)
    with pytest.raises(OSError):
        open_replica(disk, place)
    disk.mend()
    disk.kill()
    store = open_replica(disk, place)
    assert store.opened.replayed == 0
    assert store.lookup(blob_id(1)) is None


def test_an_opening_that_fails_can_be_repeated(disk: FakeFiles, place: Path) -> None:
    store = new_and_serving(disk, place)
    fill(store, 30, first=6)
    killed(disk, store)
    for call in ("open", "pread", "fdatasync", "list_directory", "size"):
        disk.fail(call, errno.EIO)
        with pytest.raises(OSError):
            open_replica(disk, place)
    store = open_replica(disk, place)
    expect(store, 35)
    assert store.serving


@pytest.mark.parametrize("pages", [0, 1, 2, 4])
def test_a_cut_index_file_is_rebuilt(disk: FakeFiles, place: Path, pages: int) -> None:
    """Reading it behind its end would be SIGBUS."""
    store = new_and_serving(disk, place)
    stop_cleanly(store)
    with (place / "index" / "data.mdb").open("r+b") as stream:
        stream.truncate(pages * 4096)
    store = open_replica(disk, place)
    assert store.opened.rebuilt
    expect(store, 5)


def test_a_long_replay_goes_on_where_a_crash_left_it(
    disk: FakeFiles, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "PROGRESS_RECORDS", 5)
    store = open_replica(disk, place)
    fill(store, 60, size=6000)
    assert store.segment_count() > 4
    killed(disk, store)
    disk.fail("open", errno.EIO, at=10_000)
    real = Replay.run
    seen: list[int] = []

    def replay(self: Replay, *args: object, **kwargs: object) -> None:
        if len(seen) == 3:
            raise OSError(errno.EIO, "crash")
        seen.append(1)
        real(self, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Replay, "run", replay)
        with pytest.raises(OSError, match="crash"):
            open_replica(disk, place)
    disk.kill()
    store = open_replica(disk, place)
    assert 0 < store.opened.replayed < 60, "it went on from the progress checkpoint"
    expect(store, 60, size=6000)
    assert len(store.changes_since(0, 1000)) == 60
