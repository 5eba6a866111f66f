"""More files than descriptors: each is there when it is used, and never another one in its place."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ambry.errors import ReplicaUnavailable
from datanode.store.bounded_files import BoundedFiles
from datanode.store.files import Files, OsFiles
from tests.support.bounded import BOUND, SIZE, WAIT_S, descriptors, evict, fill, path, read
from tests.support.fake_files import FakeFiles
from tests.support.samples import content


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
def files(disk: FakeFiles) -> BoundedFiles:
    return BoundedFiles(disk, open_max=BOUND)


@pytest.fixture(params=["os", "fake"])
def any_files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return OsFiles() if request.param == "os" else FakeFiles(tmp_path)


# --- the bound ---


def test_more_files_than_descriptors_are_all_there(any_files: Files, tmp_path: Path) -> None:
    files = BoundedFiles(any_files, open_max=BOUND)
    made = fill(files, tmp_path, 20)
    assert files.open_count == BOUND
    for _ in range(2):
        for number, file in enumerate(made):
            assert read(file) == content(number, SIZE)
            assert file.size() == SIZE
            assert files.open_count == BOUND
    for file in made:
        file.close()
    assert files.open_count == 0


def test_the_process_holds_no_more_descriptors_than_that(tmp_path: Path) -> None:
    files = BoundedFiles(OsFiles(), open_max=BOUND)
    made = fill(files, tmp_path, 20)
    made += [files.open(path(tmp_path, number)) for number in range(20)]
    assert descriptors(tmp_path) == files.open_count == BOUND
    random.Random(1).shuffle(made)
    for file in made:
        read(file)
        assert descriptors(tmp_path) == BOUND
    for file in made:
        file.close()
    assert descriptors(tmp_path) == 0


def test_a_file_is_opened_again_when_it_is_used_and_not_before(disk: FakeFiles, files: BoundedFiles) -> None:
    file, *_ = fill(files, disk.root, 1)
    evict(files, disk.root)
    disk.calls.clear()
    assert read(file) == content(0, SIZE)
    assert read(file) == content(0, SIZE)
    assert [call for call, name in disk.calls if name == "000"] == ["open", "pread", "pread"]


def test_the_one_used_longest_ago_makes_room(disk: FakeFiles, files: BoundedFiles) -> None:
    first, second, third = fill(files, disk.root, BOUND)
    read(first)
    read(second)
    files.create(path(disk.root, 90))
    disk.calls.clear()
    for file in (first, second):
        read(file)
    assert ("open", "000") not in disk.calls
    assert ("open", "001") not in disk.calls
    read(third)
    assert ("open", "002") in disk.calls


@pytest.mark.parametrize(
    "call", ["size", "allocate", "truncate", "fsync", "fdatasync", "drop_cache", "will_need", "pwritev"]
)
def test_every_call_works_on_a_file_that_was_closed_for_room(any_files: Files, tmp_path: Path, call: str) -> None:
    files = BoundedFiles(any_files, open_max=BOUND)
    file, *_ = fill(files, tmp_path, 1)
    evict(files, tmp_path)
    assert file.file is None
    if call == "size":
        assert file.size() == SIZE
    elif call == "allocate":
        file.allocate(SIZE + 10)
        assert file.size() == SIZE + 10
    elif call == "truncate":
        file.truncate(10)
        assert read(file) == content(0, SIZE)[:10]
    elif call == "will_need":
        file.will_need(0, SIZE)
        assert read(file) == content(0, SIZE)
    elif call == "pwritev":
        file.pwritev([b"new"], 0)
        assert read(file) == b"new" + content(0, SIZE)[3:]
    else:
        getattr(file, call)()
        assert read(file) == content(0, SIZE)


def test_a_read_that_must_not_wait_does_not_open(disk: FakeFiles, files: BoundedFiles) -> None:
    file, *_ = fill(files, disk.root, 1)
    buffer = bytearray(SIZE)
    assert file.pread_cached(buffer, 0) == SIZE
    assert buffer == content(0, SIZE)
    assert file.is_cached(0, SIZE)
    evict(files, disk.root)
    disk.calls.clear()
    assert file.pread_cached(buffer, 0) == -1
    assert not file.is_cached(0, SIZE)
    assert disk.calls == []
    read(file)
    assert file.pread_cached(buffer, 0) == SIZE


# --- names ---


@pytest.mark.parametrize("evicted", [False, True])
def test_an_unlinked_file_stays_readable(any_files: Files, tmp_path: Path, evicted: bool) -> None:
    files = BoundedFiles(any_files, open_max=BOUND)
    file, *_ = fill(files, tmp_path, 1)
    if evicted:
        evict(files, tmp_path)
        assert file.file is None
    files.unlink(path(tmp_path, 0))
    assert not files.exists(path(tmp_path, 0))
    evict(files, tmp_path, first=950)
    assert read(file) == content(0, SIZE)
    file.close()
    with pytest.raises(ReplicaUnavailable, match="closed"):
        read(file)


def test_every_handle_of_an_unlinked_file_stays_readable(any_files: Files, tmp_path: Path) -> None:
    files = BoundedFiles(any_files, open_max=BOUND)
    fill(files, tmp_path, 1)[0].close()
    handles = [files.open(path(tmp_path, 0)) for _ in range(6)]
    files.unlink(path(tmp_path, 0))
    evict(files, tmp_path)
    # A new file of that name is another file.
    files.create(path(tmp_path, 0)).pwritev([b"other"], 0)
    assert [read(file) for file in handles] == [content(0, SIZE)] * 6
    for file in handles:
        file.close()


def test_a_renamed_file_is_opened_under_its_new_name(any_files: Files, tmp_path: Path) -> None:
    files = BoundedFiles(any_files, open_max=BOUND)
    file, *_ = fill(files, tmp_path, 1)
    files.rename(path(tmp_path, 0), path(tmp_path, 1))
    files.create(path(tmp_path, 0)).pwritev([b"another one"], 0)
    evict(files, tmp_path)
    assert file.file is None
    assert read(file) == content(0, SIZE)
    files.rename(path(tmp_path, 1), path(tmp_path, 2))
    evict(files, tmp_path, first=950)
    assert read(file) == content(0, SIZE)
    files.unlink(path(tmp_path, 2))
    evict(files, tmp_path, first=960)
    assert read(file) == content(0, SIZE)


def test_a_rename_that_fails_changes_nothing(disk: FakeFiles, files: BoundedFiles) -> None:
    file, *_ = fill(files, disk.root, 1)
    disk.fail("rename", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        files.rename(path(disk.root, 0), path(disk.root, 1))
    evict(files, disk.root)
    assert read(file) == content(0, SIZE)


@pytest.mark.parametrize("call", ["unlink", "open"])
def test_an_unlink_that_fails_leaves_the_file(disk: FakeFiles, files: BoundedFiles, call: str) -> None:
    file, *_ = fill(files, disk.root, 1)
    evict(files, disk.root)
    disk.fail(call, errno.EIO, name="000")
    with pytest.raises(OSError, match="Input/output"):
        files.unlink(path(disk.root, 0))
    disk.mend()
    assert file.users == 0
    assert read(file) == content(0, SIZE)
    files.unlink(path(disk.root, 0))
    assert read(file) == content(0, SIZE)


def test_an_unlink_that_fails_half_way_gives_back_what_it_took(disk: FakeFiles, files: BoundedFiles) -> None:
    fill(files, disk.root, 1)[0].close()
    handles = [files.open(path(disk.root, 0)) for _ in range(6)]
    evict(files, disk.root)
    disk.fail("open", errno.EMFILE, at=2)
    with pytest.raises(OSError, match="Too many"):
        files.unlink(path(disk.root, 0))
    disk.mend()
    assert [file.users for file in handles] == [0] * 6


# --- failures ---


def test_an_open_that_fails_leaves_the_counts_right(disk: FakeFiles, files: BoundedFiles) -> None:
    file, *_ = fill(files, disk.root, 1)
    evict(files, disk.root)
    disk.fail("open", errno.EMFILE, for_ever=True)
    for _ in range(3):
        with pytest.raises(OSError) as caught:
            read(file)
        assert caught.value.errno == errno.EMFILE
    with pytest.raises(OSError, match="Too many"):
        files.open(path(disk.root, 0))
    assert (files.open_count, file.users) == (BOUND, 0)
    disk.mend()
    assert read(file) == content(0, SIZE)
    evict(files, disk.root, first=950)
    assert (files.open_count, file.file) == (BOUND, None)


@pytest.mark.parametrize(
    "call", ["pread", "pwritev", "fsync", "fdatasync", "size", "truncate", "allocate", "drop_cache"]
)
def test_a_call_that_fails_gives_the_file_back(disk: FakeFiles, files: BoundedFiles, call: str) -> None:
    file, *_ = fill(files, disk.root, 1)
    uses: dict[str, Callable[[], object]] = {
        "pread": lambda: read(file),
        "pwritev": lambda: file.pwritev([b"x"], 0),
        "truncate": lambda: file.truncate(5),
        "allocate": lambda: file.allocate(5),
    }
    disk.fail(call, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        uses.get(call, getattr(file, call))()
    assert file.users == 0
    file.close()
    assert file.file is None


def test_a_file_that_cannot_be_created_is_not_counted(disk: FakeFiles, files: BoundedFiles) -> None:
    fill(files, disk.root, 1)
    with pytest.raises(FileExistsError):
        files.create(path(disk.root, 0))
    with pytest.raises(FileNotFoundError):
        files.open(path(disk.root, 1))
    assert files.open_count == 1


# --- all at once ---


@pytest.mark.parametrize("seed", range(3))
def test_many_threads_never_read_a_foreign_byte(tmp_path: Path, seed: int) -> None:
    """Descriptor numbers are given again at once, so one closed under a reader would read the wrong file."""
    files = BoundedFiles(OsFiles(), open_max=4)
    made = fill(files, tmp_path, 40)
    expected = [content(number, SIZE) for number in range(40)]
    start = threading.Barrier(8)

    def hammer(which: int) -> int:
        rng = random.Random(1_000 * seed + which)
        start.wait(WAIT_S)
        for turn in range(600):
            number = rng.randrange(40)
            offset = rng.randrange(SIZE)
            if turn % 50 == which and number % 8 == which:
                made[number].pwritev([expected[number][offset : offset + 9]], offset)
                made[number].fdatasync()
            buffer = bytearray(rng.randint(1, SIZE - offset))
            if rng.random() < 0.3 and made[number].pread_cached(buffer, offset) == -1:
                continue
            if rng.random() < 0.5:
                made[number].pread(buffer, offset)
                assert buffer == expected[number][offset : offset + len(buffer)]
        return which

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(hammer, range(8))) == list(range(8))
    assert [file.users for file in made] == [0] * 40
    for number, file in enumerate(made):
        assert read(file) == expected[number]
    assert descriptors(tmp_path) == files.open_count <= 4
    for file in made:
        file.close()
    assert descriptors(tmp_path) == 0
