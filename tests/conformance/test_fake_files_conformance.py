"""What the store relies on of files: of those of this machine, and of the disk in memory that its tests run on.

Whoever teaches the store to rely on more of a file system adds it here, so that the fake cannot answer what a real one would
not.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ambry.checksum import Buffer
from datanode.store.files import IOV_MAX, FileKind, Files, OsFiles, read_whole
from datanode.store.writing import WRITE_BYTES, write_all, write_atomically
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


@pytest.mark.parametrize(("offset", "size"), [(0, 4), (8, 100), (1 << 30, 1), (0, 0)])
def test_a_hint_changes_nothing_and_is_never_wrong(files: Files, tmp_path: Path, offset: int, size: int) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"0123456789"], 0)
    file.will_need(offset, size)
    file.close()
    file.will_need(offset, size)
    assert read_whole(files, tmp_path / "a") == b"0123456789"


def test_a_read_is_short_only_at_the_end(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"0123456789"], 0)
    buffer = bytearray(8)
    assert file.pread(buffer, 6) == 4
    assert file.pread(buffer, 10) == 0
    assert file.pread(buffer, 99) == 0
    assert file.pread_cached(buffer, 6) == -1
    assert file.pread_cached(buffer, 1) in (8, -1)


def test_what_is_cached_is_sent_from_the_file_as_far_as_the_socket_takes_it(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    content = random.Random(1).randbytes(300_000)
    write_all(file, [content], 0)
    assert file.is_cached(5_000, 290_000)
    assert not file.is_cached(295_000, 1 << 20)  # not all of it is there
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        got, offset = b"", 1
        while offset < len(content):
            with contextlib.suppress(BlockingIOError):
                offset += file.send(here.fileno(), offset, len(content) - offset)
            got += there.recv(1 << 20)
        while len(got) < len(content) - 1:
            got += there.recv(1 << 20)
        assert got == content[1:]
        assert file.send(here.fileno(), len(content), 5) == 0
        file.close()
        with pytest.raises(OSError):
            file.send(here.fileno(), 0, 1)
    assert not file.is_cached(0, 1)


def test_what_is_not_in_the_page_cache_is_told(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    write_all(file, [bytes(300_000)], 0)
    file.fdatasync()
    file.drop_cache()
    # Some file systems keep it all the same, and a read that may not wait may begin one of a disk that is done at once.
    if file.is_cached(0, 300_000):
        assert file.pread_cached(bytearray(300_000), 0) == 300_000
    if file.pread_cached(bytearray(300_000), 0) == 300_000:
        assert file.is_cached(0, 300_000)


def test_a_write_may_have_more_buffers_than_the_kernel_takes(files: Files, tmp_path: Path) -> None:
    parts = [bytes([number % 251]) * (number % 7) for number in range(2 * IOV_MAX + 5)]
    file = files.create(tmp_path / "a")
    write_all(file, parts, 3)
    assert pread(files, tmp_path / "a", 3, 1 << 20) == b"".join(parts)


def test_allocated_room_reads_as_zeros_and_keeps_what_is_there(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"abc"], 0)
    file.allocate(100)
    assert file.size() == 100
    assert pread(files, tmp_path / "a", 0, 200) == b"abc" + bytes(97)
    file.allocate(10)
    assert file.size() == 100


def test_room_that_was_never_written_is_passed_over(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "f")
    file.allocate(1 << 20)
    write_all(file, [b"x"], 600_000)
    file.fdatasync()
    file.drop_cache()
    found = file.next_data(8)
    assert 8 <= found <= 600_000, "a file system may not know"
    assert file.next_data(600_000) == 600_000
    assert 600_001 <= file.next_data(600_001) <= 1 << 20
    assert file.next_data(2 << 20) == 2 << 20
    file.close()


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


# --- names ---


def test_a_lock_leaves_its_file(files: Files, tmp_path: Path) -> None:
    files.lock(tmp_path / "lock").release()
    assert files.exists(tmp_path / "lock")
    assert files.list_directory(tmp_path) == ["lock"]
    with pytest.raises(FileNotFoundError):
        files.lock(tmp_path / "none" / "lock")


def test_a_renamed_file_is_the_one_it_was(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"new"], 0)
    old = files.create(tmp_path / "b")
    old.pwritev([b"replaced"], 0)
    files.rename(tmp_path / "a", tmp_path / "b")
    assert read_whole(files, tmp_path / "b") == b"new"
    file.pwritev([b"er"], 3)
    assert read_whole(files, tmp_path / "b") == b"newer"
    buffer = bytearray(8)
    assert old.pread(buffer, 0) == 8
    assert bytes(buffer) == b"replaced", "who has it open still sees it"


def test_a_file_is_renamed_only_into_a_directory_that_is_there(files: Files, tmp_path: Path) -> None:
    files.create(tmp_path / "a").close()
    with pytest.raises(FileNotFoundError):
        files.rename(tmp_path / "a", tmp_path / "none" / "a")
    assert files.list_directory(tmp_path) == ["a"]


def test_a_directory_is_no_file_and_a_file_no_directory(files: Files, tmp_path: Path) -> None:
    files.make_directory(tmp_path / "d")
    files.create(tmp_path / "a").close()
    with pytest.raises(IsADirectoryError):
        files.open(tmp_path / "d")
    with pytest.raises(OSError):
        files.unlink(tmp_path / "d")
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "d")
    with pytest.raises(FileExistsError):
        files.make_directory(tmp_path / "a")
    for call in (files.list_directory, files.sync_directory):
        with pytest.raises(NotADirectoryError):
            call(tmp_path / "a")
    assert files.list_directory(tmp_path) == ["a", "d"]


def test_room_is_asked_of_what_is_there(files: Files, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.free_bytes(tmp_path / "none")


# --- open files ---


def test_a_file_that_was_closed_does_nothing_any_more(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.close()
    calls: list[Callable[[], object]] = [
        lambda: file.pread(bytearray(1), 0),
        lambda: file.pread_cached(bytearray(1), 0),
        lambda: file.pwritev([b"x"], 0),
        file.fdatasync,
        file.fsync,
        lambda: file.allocate(10),
        lambda: file.truncate(1),
        file.size,
        file.close,
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert read_whole(files, tmp_path / "a") == b""


def test_two_who_opened_a_file_see_what_the_other_wrote(files: Files, tmp_path: Path) -> None:
    one = files.create(tmp_path / "a")
    two = files.open(tmp_path / "a")
    one.pwritev([b"abc"], 0)
    two.pwritev([b"X"], 1)
    buffer = bytearray(3)
    assert one.pread(buffer, 0) == 3
    assert bytes(buffer) == b"aXc"
    one.close()
    assert two.size() == 3


def test_a_write_beyond_the_end_leaves_zeros_between(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"x"], 5)
    file.pwritev([], 9)
    file.pwritev([b"", b""], 9)
    assert file.size() == 6
    assert read_whole(files, tmp_path / "a") == bytes(5) + b"x"


def test_what_was_written_is_there_when_the_cache_was_dropped(files: Files, tmp_path: Path) -> None:
    file = files.create(tmp_path / "a")
    file.pwritev([b"synced"], 0)
    file.fdatasync()
    file.pwritev([b"later"], 6)
    file.drop_cache()
    assert read_whole(files, tmp_path / "a") == b"syncedlater"


def test_what_stands_at_a_path_is_told_and_measured(files: Files, tmp_path: Path) -> None:
    write_atomically(files, tmp_path / "file", b"12345")
    files.make_directory(tmp_path / "directory")
    kinds = [files.kind(tmp_path / name) for name in ("file", "directory", "none")]
    assert kinds == [FileKind.FILE, FileKind.DIRECTORY, FileKind.NOTHING]
    assert files.size(tmp_path / "file") == 5
    assert files.changed_ms(tmp_path / "file") >= 0
    with pytest.raises(FileNotFoundError):
        files.changed_ms(tmp_path / "none")


def test_only_an_empty_directory_is_removed(files: Files, tmp_path: Path) -> None:
    files.make_directory(tmp_path / "directory")
    write_atomically(files, tmp_path / "directory" / "file", b"12345")
    with pytest.raises(OSError) as caught:
        files.remove_directory(tmp_path / "directory")
    assert caught.value.errno == errno.ENOTEMPTY
    files.unlink(tmp_path / "directory" / "file")
    files.remove_directory(tmp_path / "directory")
    assert files.kind(tmp_path / "directory") is FileKind.NOTHING


def test_a_large_write_goes_in_pieces_and_is_whole(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call for 4 MiB cost six times the processor time where the system had no memory in one piece of that size."""
    file = files.create(tmp_path / "a")
    sizes: list[int] = []
    pwritev = file.pwritev

    def note(buffers: Sequence[Buffer], offset: int) -> int:
        sizes.append(sum(map(len, buffers)))
        return pwritev(buffers, offset)

    monkeypatch.setattr(file, "pwritev", note)
    parts = [b"head" * 50, bytes(range(256)) * 5_000, b"", b"x" * 700, bytes(range(256)) * 1_000]
    write_all(file, parts, 3)
    assert pread(files, tmp_path / "a", 3, 1 << 22) == b"".join(parts)
    assert sizes[:-1] == [WRITE_BYTES] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= WRITE_BYTES
