"""A directory that cannot be had ends the start: a node without any replica went on, and only its log said why."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from ambry.errors import ConfigInvalid
from datanode import data_directory
from datanode.disk import Disk
from datanode.store.files import OsFiles


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(threads=1, clock=SystemClock())
    yield made
    made.close()


class Refusing(OsFiles):
    """A file system that refuses new directories."""

    def __init__(self, number: int) -> None:
        self._number = number

    def make_directory(self, path: Path) -> None:
        raise OSError(self._number, "the reason", str(path))


async def test_it_is_made_with_its_parents_and_may_be_there(tmp_path: Path, disk: Disk) -> None:
    for _ in range(2):
        await data_directory.make(OsFiles(), disk, tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b").is_dir()


async def test_what_stands_in_its_way_is_named_with_what_to_do(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigInvalid, match=r"node\.data_dir: .*/file is no directory .*: it is a file; correct the path"
    ):
        await data_directory.make(OsFiles(), disk, tmp_path / "file")
    with pytest.raises(ConfigInvalid, match="not a directory; correct the path"):
        await data_directory.make(OsFiles(), disk, tmp_path / "file" / "below")
    for number in (errno.EROFS, errno.EACCES, errno.EIO):
        with pytest.raises(ConfigInvalid, match="the reason; correct the path, mend the rights, or mount the disk"):
            await data_directory.make(Refusing(number), disk, tmp_path / "new")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ENOSPC])
async def test_a_lack_that_passes_does_not_end_the_start(tmp_path: Path, disk: Disk, number: int) -> None:
    await data_directory.make(Refusing(number), disk, tmp_path / "new")
