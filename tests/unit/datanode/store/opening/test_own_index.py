"""A replica that lost its index and a part of its log counts as put back, and no crash makes it forget that."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from datanode.store.blob_store import BlobStore
from datanode.store.opening import steps
from datanode.store.segment import segment_name
from tests.support.fake_files import FakeFiles
from tests.support.samples import append, blob_id, checkpoint, content, open_replica, put_record

Damage = Callable[[FakeFiles, Path], None]
CALLS_MAX = 400


class PowerCut(BaseException):
    """Not even `except Exception` sees it."""


def filled(root: Path) -> tuple[FakeFiles, Path]:
    """A replica of several segments on a disk that is simulated whole, cleanly stopped."""
    disk = FakeFiles(root, wholly_simulated=True)
    place = root / "r"
    store = open_replica(disk, place)
    for number in range(1, 60):
        append(store, put_record(blob_id(number), content(number, 3000)))
    assert store.segment_count() > 2
    store.serving = True
    checkpoint(store, clean=True)
    store.close()
    return disk, place


def lose_index(disk: FakeFiles, place: Path) -> None:
    for name in disk.list_directory(place / "index"):
        disk.remove(place / "index" / name)


def index_and_a_segment(disk: FakeFiles, place: Path) -> None:
    lose_index(disk, place)
    disk.remove(place / segment_name(2))


def index_and_some_records(disk: FakeFiles, place: Path) -> None:
    lose_index(disk, place)
    disk.flip(place / segment_name(1), 20_000)


def index_and_a_torn_end(disk: FakeFiles, place: Path) -> None:
    lose_index(disk, place)
    names = [name for name in disk.list_directory(place) if name.endswith(".segment")]
    disk.flip(place / names[-1], len(disk.content(place / names[-1]).rstrip(b"\0")) - 100)


def the_end_of_the_log(disk: FakeFiles, place: Path) -> None:
    """The index that is there covers it, and is given up."""
    names = [name for name in disk.list_directory(place) if name.endswith(".segment")]
    disk.remove(place / names[-1])


def the_identity(disk: FakeFiles, place: Path) -> None:
    disk.remove(place / "identity.json")


ALL = [index_and_a_segment, index_and_some_records, index_and_a_torn_end, the_end_of_the_log, the_identity]


@pytest.mark.parametrize("damage", ALL)
def test_whoever_may_have_lost_deletes_counts_as_put_back(tmp_path: Path, damage: Damage) -> None:
    disk, place = filled(tmp_path)
    damage(disk, place)
    store = open_replica(disk, place, seed=2)
    assert store.put_back
    assert not store.serving
    store.close()
    store = open_replica(disk, place, seed=3)
    assert store.put_back, "a clean index and a log without gaps do not end it"
    store.close()


@pytest.mark.parametrize("damage", ALL)
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_no_crash_of_the_opening_makes_it_forgotten(
    tmp_path: Path, damage: Damage, power: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "PROGRESS_RECORDS", 10)
    disk, place = filled(tmp_path)
    damage(disk, place)
    backup = disk.backup()
    for crash_at in range(CALLS_MAX):
        disk.put_back(backup)
        calls = 0

        def cut(_call: str, _path: Path, crash_at: int = crash_at) -> None:
            nonlocal calls
            calls += 1
            if calls > crash_at:
                raise PowerCut

        disk.before = cut
        try:
            open_replica(disk, place, seed=2)
        except PowerCut:
            pass
        else:
            break
        finally:
            disk.before = lambda _call, _path: None
        disk.crash(random.Random(crash_at)) if power else disk.kill()
        store = open_replica(disk, place, seed=3)
        assert store.put_back, f"forgotten after a crash at call {crash_at}"
        store.close()
    else:
        pytest.fail(f"an opening has more than {CALLS_MAX} calls")


def whole(_disk: FakeFiles, _place: Path) -> None: ...


def a_segment(disk: FakeFiles, place: Path) -> None:
    """The index knows the state of all that was in it."""
    disk.remove(place / segment_name(2))


@pytest.mark.parametrize("damage", [whole, lose_index, a_segment])
def test_whoever_still_has_every_delete_does_not(tmp_path: Path, damage: Damage) -> None:
    disk, place = filled(tmp_path)
    damage(disk, place)
    store: BlobStore = open_replica(disk, place, seed=2)
    assert not store.put_back
    store.close()


def test_a_replica_that_is_killed_at_its_first_opening_does_not(tmp_path: Path) -> None:
    disk = FakeFiles(tmp_path)
    open_replica(disk, tmp_path / "r")
    disk.kill()
    shutil.rmtree(tmp_path / "r" / "index")
    assert not open_replica(disk, tmp_path / "r").put_back
