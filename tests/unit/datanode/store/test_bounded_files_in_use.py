"""What is in use, or has bytes that were not synced, keeps its descriptor."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ambry.errors import ReplicaUnavailable
from datanode.store.bounded_files import BoundedFiles
from datanode.store.files import Files, OsFiles
from tests.support.bounded import BOUND, SIZE, evict, fill, finish, held, path, read
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


# --- what is not closed for room ---


@pytest.mark.parametrize("write", ["pwritev", "allocate", "truncate"])
@pytest.mark.parametrize("sync", ["fdatasync", "fsync"])
def test_unsynced_bytes_keep_the_descriptor(disk: FakeFiles, files: BoundedFiles, write: str, sync: str) -> None:
    """A write-back that fails is told to descriptors that were open then, and to no other."""
    file = files.create(path(disk.root, 0))
    if write == "pwritev":
        file.pwritev([b"bytes"], 0)
    else:
        getattr(file, write)(100)
    evict(files, disk.root)
    assert file.file is not None
    getattr(file, sync)()
    evict(files, disk.root, first=950)
    assert file.file is None
    assert files.open_count == BOUND


def test_many_files_with_unsynced_bytes_go_beyond_the_bound_and_come_back(disk: FakeFiles, files: BoundedFiles) -> None:
    made = [files.create(path(disk.root, number)) for number in range(10)]
    for file in made:
        file.pwritev([b"x"], 0)
    fill_up = files.create(path(disk.root, 50))
    assert files.open_count >= 10
    for file in made:
        file.fdatasync()
    fill_up.close()
    files.create(path(disk.root, 51))
    assert files.open_count == BOUND


def test_a_sync_that_failed_keeps_the_descriptor(disk: FakeFiles, files: BoundedFiles) -> None:
    file = files.create(path(disk.root, 0))
    file.pwritev([b"bytes"], 0)
    disk.fail("fdatasync", errno.EIO, name="000")
    with pytest.raises(OSError, match="Input/output"):
        file.fdatasync()
    evict(files, disk.root)
    assert file.file is not None


def test_a_write_behind_the_begin_of_a_sync_keeps_the_descriptor(disk: FakeFiles, files: BoundedFiles) -> None:
    file = files.create(path(disk.root, 0))
    file.pwritev([b"first"], 0)
    with held(disk, "fdatasync", "000", file.fdatasync) as (hold, future):
        file.pwritev([b"second"], 5)
        finish(hold, future)
    evict(files, disk.root)
    assert file.file is not None, "whether the sync covers the second is not known"
    file.fdatasync()
    evict(files, disk.root, first=950)
    assert file.file is None


def test_a_sync_in_the_middle_of_a_write_does_not_cover_it(disk: FakeFiles, files: BoundedFiles) -> None:
    file = files.create(path(disk.root, 0))
    with held(disk, "pwritev", "000", lambda: file.pwritev([b"late"], 0)) as (hold, future):
        file.fdatasync()
        finish(hold, future)
    disk.sync_directory(disk.root)
    assert disk.durable_content(path(disk.root, 0)) == b""
    evict(files, disk.root)
    assert file.file is not None


def test_a_file_in_use_is_not_closed_for_room(disk: FakeFiles, files: BoundedFiles) -> None:
    file, *_ = fill(files, disk.root, 1)
    with held(disk, "pread", "000", lambda: read(file)) as (hold, future):
        evict(files, disk.root)
        assert file.file is not None
        assert finish(hold, future) == content(0, SIZE)
    evict(files, disk.root, first=950)
    assert file.file is None


# --- closing ---


def test_a_close_waits_for_the_call_that_uses_the_file(disk: FakeFiles, files: BoundedFiles) -> None:
    """A descriptor closed under a read would be somebody else's file a moment later."""
    file, *_ = fill(files, disk.root, 1)
    inner = file.file
    assert inner is not None
    with held(disk, "pread", "000", lambda: read(file)) as (hold, future):
        file.close()
        assert file.file is inner, "still open for its reader"
        with pytest.raises(ReplicaUnavailable, match="closed"):
            read(file)
        assert files.open_count == 0
        assert finish(hold, future) == content(0, SIZE)
    assert file.file is None
    with pytest.raises(OSError, match="not open any more"):
        inner.size()


def test_a_close_while_it_is_being_opened_again_closes_what_was_opened(disk: FakeFiles, files: BoundedFiles) -> None:
    file, *_ = fill(files, disk.root, 1)
    others = evict(files, disk.root)
    with held(disk, "open", "000", lambda: read(file)) as (hold, future):
        file.close()
        assert finish(hold, future) == content(0, SIZE)
    assert file.file is None
    for other in others:
        other.close()
    assert files.open_count == 0


def test_the_last_of_several_users_closes_what_was_closed_meanwhile(disk: FakeFiles, files: BoundedFiles) -> None:
    file, *_ = fill(files, disk.root, 1)
    first, second = files.take(file), files.take(file)
    assert first is second
    file.close()
    files.give_back(file)
    assert second.size() == SIZE
    files.give_back(file)
    with pytest.raises(OSError, match="not open any more"):
        second.size()


def test_two_that_open_it_again_at_once_share_one_descriptor(tmp_path: Path) -> None:
    disk = FakeFiles(tmp_path)
    files = BoundedFiles(disk, open_max=BOUND)
    file, *_ = fill(files, tmp_path, 1)
    evict(files, tmp_path)
    with held(disk, "open", "000", lambda: read(file)) as (hold, future):
        assert read(file) == content(0, SIZE)
        kept = file.file
        assert finish(hold, future) == content(0, SIZE)
    assert file.file is kept
    assert files.open_count == BOUND
    assert file.users == 0


def test_a_file_that_is_closed_is_not_used(any_files: Files, tmp_path: Path) -> None:
    files = BoundedFiles(any_files, open_max=BOUND)
    file, *_ = fill(files, tmp_path, 1)
    file.close()
    file.close()
    for use in (file.size, file.fsync, file.fdatasync, file.drop_cache, lambda: read(file), lambda: file.truncate(1)):
        with pytest.raises(ReplicaUnavailable, match="000 was closed"):
            use()
    assert files.open_count == 0
    assert files._by_path == {}
