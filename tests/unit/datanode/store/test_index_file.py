"""The file of an index: what LMDB would take without a word, or die of, is refused."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from ambry.errors import IndexCorrupt
from datanode.store.index_file import FILE_NAMES, META_BYTES, open_index


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
