"""A file that is replaced whole, and is on the disk when that is done."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from ambry.client.changes import TokenFile
from ambry.client.sections import RememberedUpload


class SyncedFiles:
    """What was synced, by path, and what stood in each file then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[str, str]] = []
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._note)

    def _note(self, number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").readlink()
        told = re.sub(r"\.[0-9a-f]{32}\.new$", ".new", path.name)
        self.synced.append((told, "" if path.is_dir() else path.read_text("utf-8")))
        self._fsync(number)


def test_a_token_is_on_the_disk_before_it_replaces_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedFiles(monkeypatch)
    file = TokenFile(tmp_path / "token")
    assert file.read() is None
    for token in ("one", "two"):
        file.write(token)
        assert file.read() == token
    assert disk.synced == [
        ("token.new", "one\n"),
        (tmp_path.name, ""),
        ("token.new", "two\n"),
        (tmp_path.name, ""),
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["token"]


def test_an_upload_is_remembered_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SyncedFiles(monkeypatch)
    state = RememberedUpload(tmp_path / "film", "said")
    state.save("00" * 16, 8 << 20)
    assert [name for name, _ in disk.synced] == ["film.ambry-upload.new", tmp_path.name]
    assert state.path.exists()


def test_nothing_that_somebody_laid_beside_a_file_is_written_through_or_waited_at(tmp_path: Path) -> None:
    """`film.ambry-upload.new` could be known before, and was followed."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for laid in ("film.ambry-upload.new", "film.ambry-upload"):
        (tmp_path / laid).symlink_to(precious)
    state = RememberedUpload(tmp_path / "film", "said")
    assert state.load() is None
    state.save("00" * 16, 8 << 20)
    assert precious.read_text() == "precious" and not state.path.is_symlink() and state.load() is not None
    state.forget()
    os.mkfifo(state.path)
    assert state.load() is None, "a pipe that nobody writes to"


def test_what_could_not_be_remembered_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk kept film.ambry-upload.new."""

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    RememberedUpload(tmp_path / "film", "said").save("00" * 16, 8 << 20)
    assert list(tmp_path.iterdir()) == []


def test_what_another_user_laid_beside_a_file_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload of somebody else, with what that one said of its blob, would have become that of the file."""
    state = RememberedUpload(tmp_path / "film", "said")
    state.save("00" * 16, 8 << 20)
    assert state.load() is not None and state.path.stat().st_mode & 0o777 == 0o600
    owner = state.path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert state.load() is None
    monkeypatch.undo()
    os.link(state.path, tmp_path / "other")
    assert state.load() is None
