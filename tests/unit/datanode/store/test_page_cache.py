"""What of a real file is in the page cache."""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path

import pytest

from datanode.store.page_cache import is_cached

PAGE = mmap.PAGESIZE
SIZE = 40 * PAGE + 5


def written(path: Path) -> int:
    made = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(made, bytes(SIZE), 0)
    return made


def let_go(fd: int) -> None:
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead


@pytest.fixture
def fd(tmp_path: Path) -> int:
    return written(tmp_path / "file")


@pytest.fixture
def lets_go(tmp_path: Path) -> None:
    """Skips where files are kept in memory. Asked of another file: a read that must not wait brings in what it did not find."""
    other = written(tmp_path / "other")
    let_go(other)
    with contextlib.suppress(BlockingIOError):
        if os.preadv(other, [bytearray(SIZE)], 0, os.RWF_NOWAIT) == SIZE:
            pytest.skip("this file system keeps it")
    os.close(other)


@pytest.mark.parametrize(
    ("offset", "size"), [(0, SIZE), (0, 1), (1, PAGE), (PAGE - 1, 2), (3 * PAGE, PAGE), (SIZE - 1, 1)]
)
def test_what_was_just_written_is_cached(fd: int, offset: int, size: int) -> None:
    assert is_cached(fd, offset, size)


@pytest.mark.usefixtures("lets_go")
def test_what_is_missing_is_noticed_and_not_brought_in(fd: int) -> None:
    let_go(fd)
    os.pread(fd, 16 * PAGE, 0)
    assert is_cached(fd, 0, 16 * PAGE)
    for _ in range(2):
        assert not is_cached(fd, 0, SIZE)
        assert not is_cached(fd, 30 * PAGE + 7, 1)
    os.pread(fd, SIZE, 0)
    assert is_cached(fd, 0, SIZE)


def test_nothing_is_cached_behind_the_end_or_of_no_file(fd: int) -> None:
    assert not is_cached(fd, 0, SIZE + PAGE)
    os.close(fd)
    assert not is_cached(fd, 0, 1)
