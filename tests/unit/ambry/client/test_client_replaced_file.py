"""Owner and mode of what is written over, by a download and by a file of the user's own."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ambry.client.part_file import write_file
from ambry.client.replaced_file import gather_for, replaced_file, take_owner
from ambry.ids import BlobId
from ambry.ml.files import written, written_directory, written_path
from tests.support.samples import blob_id

KILLED = """
import os, signal, sys
from pathlib import Path
from ambry.ml.files import written_path
with written_path(Path(sys.argv[1])) as part:
    part.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_whose_owner_cannot_be_had_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As one of 65534 in a container without root (EINVAL), or of a file system in user space: nothing was written there."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("chown", "fchown", "chmod", "fchmod"):
        monkeypatch.setattr(os, name, refused)
    path, other = tmp_path / "x", tmp_path / "made"
    path.write_bytes(b"before")
    other.mkdir()
    write_file(path, BlobId(blob_id(1)), b"over", overwrite=True)
    assert path.read_bytes() == b"over"
    with written(path) as file:
        file.write(b"again")
    with written_directory(other) as part:
        (part / "y").touch()
    assert path.read_bytes() == b"again" and sorted(tmp_path.iterdir()) == [other, path]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_what_is_killed_while_it_writes_over_a_file_of_another_user_goes_with_the_next_one(tmp_path: Path) -> None:
    """It was that user's by then, and stayed."""
    path = tmp_path / "x"
    path.touch(mode=0o640)
    os.chown(path, 12345, 12346)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 2
    with written_path(path) as part:
        part.write_bytes(b"whole")
        assert part.stat().st_mode & 0o777 == 0o600, "its group is another one meanwhile"
    [found] = tmp_path.iterdir()
    assert (found.stat().st_uid, found.stat().st_gid, found.stat().st_mode & 0o777) == (12345, 12346, 0o640)


def test_what_is_no_file_has_no_owner_to_keep(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("x")
    assert [replaced_file(tmp_path / name) for name in ("gone", "link", ".")] == [None] * 3
    (tmp_path / "x").touch(mode=0o444)
    part = tmp_path / "part"
    part.touch()
    there = replaced_file(tmp_path / "x")
    assert there is not None
    gather_for(part, there)
    assert part.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("has_group", [True, False])
@pytest.mark.parametrize(("mode", "without_group"), [(0o664, 0o644), (0o660, 0o600), (0o2750, 0o700), (0o604, 0o604)])
def test_what_a_group_may_do_goes_to_that_group_or_to_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, without_group: int, has_group: bool
) -> None:
    """Where the owner may not be changed the group stayed ours too, which could write then what another one was meant to."""
    path = tmp_path / "x"
    path.touch(mode=0o600)
    ours = path.stat().st_gid
    there = os.stat_result(
        (stat.S_IFREG | mode, 1, 1, 1, os.geteuid() + 1, ours if has_group else ours + 1, 0, 0, 0, 0)
    )
    tried: list[tuple[int, int]] = []

    def refused(_: object, uid: int, gid: int) -> None:
        tried.append((uid, gid))
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chown", refused)
    take_owner(path, there)
    assert path.stat().st_mode & 0o7777 == (mode & 0o777 if has_group else without_group)
    assert tried == [(there.st_uid, there.st_gid), (-1, there.st_gid)]
