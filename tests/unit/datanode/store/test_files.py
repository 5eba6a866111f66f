"""The file layer: the real one and the fake one keep the same contract; and the fake one loses what it may lose."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from datanode.store.files import IOV_MAX, Files, OsFiles, read_whole, write_atomically
from tests.support.fake_files import FakeFiles

Make = Callable[[Path], Files]


def make_os(_root: Path) -> Files:
    return OsFiles()


@pytest.fixture(params=[make_os, FakeFiles], ids=["os", "fake"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    make: Make = request.param
    return make(tmp_path)


def pread(files: Files, path: Path, offset: int, size: int) -> bytes:
    file = files.open(path)
    buffer = bytearray(size)
    count = file.pread(buffer, offset)
    file.close()
    return bytes(buffer[:count])


# --- the contract ---


def test_what_was_written_is_read(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"abc", memoryview(b"def"), bytearray(b"g")], 5)
    file.pwritev([b"XY"], 6)
    buffer = bytearray(4)
    assert file.pread(buffer, 5) == 4
    assert bytes(buffer) == b"aXYd"
    assert file.pread(memoryview(buffer)[:2], 0) == 2
    assert bytes(buffer) == b"\0\0Yd"
    assert file.size() == 12
    file.fdatasync()
    file.fsync()
    file.close()
    assert read_whole(files, tmp_path / "a") == b"\0\0\0\0\0aXYdefg"


def test_a_read_is_short_only_at_the_end(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"0123456789"], 0)
    buffer = bytearray(8)
    assert file.pread(buffer, 6) == 4
    assert file.pread(buffer, 10) == 0
    assert file.pread(buffer, 99) == 0
    assert file.pread_cached(buffer, 6) == -1
    assert file.pread_cached(buffer, 1) in (8, -1)


def test_a_write_may_have_more_buffers_than_the_kernel_takes(files: Files, tmp_path: Path) -> None:
    parts = [bytes([number % 251]) * (number % 7) for number in range(2 * IOV_MAX + 5)]
    file = files.create(tmp_path / "a")
    file.pwritev(parts, 3)
    assert pread(files, tmp_path / "a", 3, 1 << 20) == b"".join(parts)


def test_allocated_room_reads_as_zeros_and_keeps_what_is_there(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"abc"], 0)
    file.allocate(100)
    assert file.size() == 100
    assert pread(files, tmp_path / "a", 0, 200) == b"abc" + bytes(97)
    file.allocate(10)
    assert file.size() == 100


def test_a_file_is_cut_and_made_longer(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"abcdef"], 0)
    file.truncate(2)
    assert read_whole(files, tmp_path / "a") == b"ab"
    file.truncate(4)
    assert read_whole(files, tmp_path / "a") == b"ab\0\0"


def test_a_file_is_created_once(files: Files, tmp_path: Path) -> None:
    files.create(tmp_path / "a").close()
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "a")


def test_what_is_not_there_is_not_found(files: Files, tmp_path: Path) -> None:
    assert not files.exists(tmp_path / "a")
    for call in (files.open, files.unlink, files.list_directory, files.sync_directory):
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        files.rename(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        files.create(tmp_path / "none" / "a")


def test_names(files: Files, tmp_path: Path) -> None:
    files.make_directory(tmp_path / "d" / "e")
    files.make_directory(tmp_path / "d" / "e")
    for name in ("b", "a"):
        files.create(tmp_path / "d" / name).close()
    assert files.list_directory(tmp_path / "d") == ["a", "b", "e"]
    files.rename(tmp_path / "d" / "a", tmp_path / "d" / "b")
    assert files.list_directory(tmp_path / "d") == ["b", "e"]
    files.sync_directory(tmp_path / "d")
    files.unlink(tmp_path / "d" / "b")
    assert files.list_directory(tmp_path / "d") == ["e"]
    assert files.exists(tmp_path / "d" / "e")
    assert files.free_bytes(tmp_path) > 0


def test_a_lock_is_held_once(files: Files, tmp_path: Path) -> None:
    held = files.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        files.lock(tmp_path / "lock")
    held.release()
    files.lock(tmp_path / "lock").release()


def test_an_open_file_outlives_its_name(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"abc"], 0)
    files.unlink(tmp_path / "a")
    assert file.pread(bytearray(3), 0) == 3


def test_a_small_file_is_replaced_whole(files: Files, tmp_path: Path) -> None:
    write_atomically(files, tmp_path / "a", b"a longer first text")
    write_atomically(files, tmp_path / "a", b"second")
    assert read_whole(files, tmp_path / "a") == b"second"
    files.create(tmp_path / "a.tmp").close()  # left behind by a crash
    write_atomically(files, tmp_path / "a", b"third")
    assert read_whole(files, tmp_path / "a") == b"third"
    assert files.list_directory(tmp_path) == ["a"]


# --- the fake disk itself ---


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
