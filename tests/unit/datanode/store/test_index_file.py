"""The file of an index: what LMDB would take without a word, or die of, is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import lmdb
import pytest

from ambry.errors import IndexCorrupt
from datanode.store.index import Index
from datanode.store.index_file import FILE_NAMES, META_BYTES, open_index
from tests.support.samples import PARTITION


def made(directory: Path) -> Path:
    env = open_index(directory).env
    with env.begin(write=True) as txn:
        for number in range(2_000):
            txn.put(number.to_bytes(8, "big"), bytes(100))
    env.close()
    return directory / FILE_NAMES[0]


@pytest.mark.parametrize("size", [0, 1, META_BYTES - 1, META_BYTES, META_BYTES + 4096, 100_000])
def test_a_file_that_was_cut_is_refused_wherever_it_was_cut(tmp_path: Path, size: int) -> None:
    path = made(tmp_path)
    assert path.stat().st_size > 100_000
    with path.open("r+b") as file:
        file.truncate(size)
    with pytest.raises((IndexCorrupt, lmdb.Error)):
        open_index(tmp_path)


def test_a_refused_file_may_be_opened_again_by_this_process(tmp_path: Path) -> None:
    path = made(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100_000])
    with pytest.raises(IndexCorrupt):
        open_index(tmp_path)
    path.write_bytes(whole)
    open_index(tmp_path).env.close()


def test_a_page_that_the_disk_cannot_read_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through LMDB's map it is a SIGBUS, at every start."""
    path = made(tmp_path)
    opened = Path.open

    def rotten(self: Path, *arguments: Any, **named: Any) -> Any:
        file = opened(self, *arguments, **named)
        if self == path:
            file.close()
            return Rotten(opened(self, *arguments, **named))
        return file

    monkeypatch.setattr(Path, "open", rotten)
    with pytest.raises(OSError, match="Input/output error"):
        open_index(tmp_path)
    with pytest.raises(IndexCorrupt, match="Input/output error"):
        Index(tmp_path, PARTITION)  # so it is rebuilt from the log


class Rotten:
    """A file whose second piece cannot be read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._pieces = 0

    def __enter__(self) -> Rotten:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def readinto(self, buffer: bytearray) -> int:
        self._pieces += 1
        if self._pieces == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return int(self._file.readinto(buffer))
