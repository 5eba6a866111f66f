"""The fake disk loses what a real one may lose.

What both do alike stands in tests/conformance/test_fake_files_conformance.py.
"""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from datanode.store.files import OsFiles, read_whole
from tests.support.fake_files import FakeFiles


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


def test_synced_bytes_under_a_synced_name_survive_every_crash(disk: FakeFiles, tmp_path: Path) -> None:
    for seed in range(50):
        path = tmp_path / f"a{seed}"
        file = disk.create(path)
        file.pwritev([b"kept" * 1000], 0)
        file.fdatasync()
        disk.sync_directory(tmp_path)
        disk.crash(random.Random(seed))
        assert read_whole(disk, path) == b"kept" * 1000


def test_a_crash_keeps_drops_tears_and_zeroes_what_was_not_synced(tmp_path: Path) -> None:
    old, new = b"o" * 2048, b"n" * 2048
    seen = set()
    for seed in range(200):
        disk = FakeFiles(tmp_path)
        file = disk.create(tmp_path / "a")
        file.pwritev([old], 0)
        file.fsync()
        disk.sync_directory(tmp_path)
        file.pwritev([new], 0)
        disk.crash(random.Random(seed))
        data = read_whole(disk, tmp_path / "a")
        sectors = tuple(data[start : start + 512] for start in range(0, 2048, 512))
        assert all(sector in (old[:512], new[:512], bytes(512)) for sector in sectors)
        seen.add(sectors)
    o, n, z = old[:512], new[:512], bytes(512)
    assert {(o, o, o, o), (n, n, n, n), (z, z, z, z), (n, o, o, o), (o, o, n, n)} <= seen


def test_later_writes_may_survive_where_earlier_ones_do_not(tmp_path: Path) -> None:
    seen = set()
    for seed in range(200):
        disk = FakeFiles(tmp_path)
        file = disk.create(tmp_path / "a")
        file.allocate(1024)
        file.fsync()
        disk.sync_directory(tmp_path)
        file.pwritev([b"1" * 512], 0)
        file.pwritev([b"2" * 512], 512)
        disk.crash(random.Random(seed))
        data = read_whole(disk, tmp_path / "a")
        seen.add((data[:1], data[512:513]))
    assert {(b"\0", b"2"), (b"1", b"\0"), (b"1", b"2"), (b"\0", b"\0")} <= seen


def test_a_name_that_was_not_synced_may_be_gone(tmp_path: Path) -> None:
    outcomes = set()
    for seed in range(50):
        disk = FakeFiles(tmp_path)
        disk.make_directory(tmp_path / "d")
        disk.sync_directory(tmp_path)
        for name in ("a", "b"):
            file = disk.create(tmp_path / "d" / name)
            file.pwritev([b"x"], 0)
            file.fsync()
        disk.rename(tmp_path / "d" / "b", tmp_path / "d" / "c")
        disk.crash(random.Random(seed))
        outcomes.add(tuple(disk.list_directory(tmp_path / "d")))
    assert outcomes == {(), ("a",), ("a", "b"), ("a", "c")}


def test_an_unlink_that_was_not_synced_may_come_back(tmp_path: Path) -> None:
    outcomes = set()
    for seed in range(50):
        disk = FakeFiles(tmp_path)
        disk.create(tmp_path / "a").close()
        disk.sync_directory(tmp_path)
        disk.unlink(tmp_path / "a")
        disk.crash(random.Random(seed))
        outcomes.add(disk.exists(tmp_path / "a"))
    assert outcomes == {True, False}


def test_a_directory_that_was_not_synced_takes_its_files_with_it(tmp_path: Path) -> None:
    outcomes = set()
    for seed in range(50):
        disk = FakeFiles(tmp_path)
        disk.make_directory(tmp_path / "d")
        file = disk.create(tmp_path / "d" / "a")
        file.fsync()
        disk.sync_directory(tmp_path / "d")
        disk.crash(random.Random(seed))
        outcomes.add(disk.exists(tmp_path / "d" / "a"))
    assert outcomes == {True, False}


def test_a_crash_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def run(seed: int) -> bytes:
        disk = FakeFiles(tmp_path)
        file = disk.create(tmp_path / "a")
        disk.sync_directory(tmp_path)
        file.pwritev([random.Random(0).randbytes(10_000)], 0)
        disk.crash(random.Random(seed))
        return read_whole(disk, tmp_path / "a")

    assert [run(seed) for seed in range(20)] == [run(seed) for seed in range(20)]


def test_open_files_are_dead_after_a_crash_and_locks_are_free(disk: FakeFiles, tmp_path: Path) -> None:
    file = disk.create(tmp_path / "a")
    disk.lock(tmp_path / "lock")
    disk.crash(random.Random(1))
    with pytest.raises(OSError, match="not open"):
        file.fdatasync()
    disk.lock(tmp_path / "lock")


@pytest.mark.parametrize(
    "call", ["pwritev", "fdatasync", "fsync", "allocate", "truncate", "rename", "unlink", "sync_directory"]
)
def test_any_call_fails_once_or_for_ever(disk: FakeFiles, tmp_path: Path, call: str) -> None:
    file = disk.create(tmp_path / "a")

    def run() -> None:
        if call == "rename":
            disk.rename(tmp_path / "a", tmp_path / "a")
        elif call == "unlink":
            disk.unlink(tmp_path / "a")
            disk.create(tmp_path / "a")
        elif call == "sync_directory":
            disk.sync_directory(tmp_path)
        elif call == "pwritev":
            file.pwritev([b"abcd"], 0)
        elif call in ("allocate", "truncate"):
            getattr(file, call)(10)
        else:
            getattr(file, call)()

    disk.fail(call, errno.EIO, at=2)
    run()
    with pytest.raises(OSError) as caught:
        run()
    assert caught.value.errno == errno.EIO
    run()
    disk.fail(call, errno.ENOSPC, for_ever=True)
    for _ in range(3):
        with pytest.raises(OSError):
            run()
    disk.mend()
    run()


def test_a_failed_sync_loses_its_bytes_and_the_next_one_lies(disk: FakeFiles, tmp_path: Path) -> None:
    file = disk.create(tmp_path / "a")
    file.fsync()
    disk.sync_directory(tmp_path)
    file.pwritev([b"lost"], 0)
    disk.fail("fdatasync", errno.EIO)
    with pytest.raises(OSError):
        file.fdatasync()
    file.fdatasync()  # no error, and not there
    assert read_whole(disk, tmp_path / "a") == b"lost"
    assert disk.durable_content(tmp_path / "a") == b""


def test_a_full_disk_refuses_to_allocate(disk: FakeFiles, tmp_path: Path) -> None:
    disk.free = 100
    file = disk.create(tmp_path / "a")
    file.allocate(60)
    assert disk.free_bytes(tmp_path) == 40
    with pytest.raises(OSError) as caught:
        disk.create(tmp_path / "b").allocate(41)
    assert caught.value.errno == errno.ENOSPC
    disk.unlink(tmp_path / "a")
    assert disk.free_bytes(tmp_path) == 100


def test_a_killed_process_loses_nothing_that_it_wrote(disk: FakeFiles, tmp_path: Path) -> None:
    disk.create(tmp_path / "a").pwritev([b"abc"], 0)
    disk.kill()
    assert read_whole(disk, tmp_path / "a") == b"abc"


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_knows_no_holes_has_all_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def lseek(_fd: int, _offset: int, _whence: int) -> int:
        raise OSError(reason, "not here")

    file = OsFiles().create(tmp_path / "f")
    file.allocate(1 << 20)
    monkeypatch.setattr("os.lseek", lseek)
    assert file.next_data(4_096) == 4_096
    file.close()


def test_a_disk_that_fails_to_tell_its_holes_is_no_end_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lseek(_fd: int, _offset: int, _whence: int) -> int:
        raise OSError(errno.EIO, "the disk")

    file = OsFiles().create(tmp_path / "f")
    monkeypatch.setattr("os.lseek", lseek)
    with pytest.raises(OSError, match="the disk"):
        file.next_data(0)
    file.close()
