"""A file that is replaced whole, and is on the disk when that is done."""

from __future__ import annotations

import errno
import os
import re
import socket
from functools import partial
from pathlib import Path

import pytest

from ambry.client.changes import TokenFile
from ambry.client.sections import FoundUpload, RememberedUpload
from ambry.client.state_file import TEXT_BYTES_MAX, read_bytes, read_text, replace_text
from ambry.streams.state import StateFile


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


def test_what_is_too_large_is_refused_and_not_cut(tmp_path: Path) -> None:
    """The first 64 KiB were taken for all of it."""
    path = tmp_path / "state"
    replace_text(path, " " * TEXT_BYTES_MAX)
    assert read_bytes(path) == b" " * TEXT_BYTES_MAX
    replace_text(path, " " * TEXT_BYTES_MAX + "x")
    for read in (read_bytes, read_text):
        with pytest.raises(
            OSError, match="it has more than 65536 bytes, so ambry did not write it; name another"
        ) as raised:
            read(path)
        assert raised.value.filename == str(path)


@pytest.mark.parametrize("there", ["pipe", "socket", "directory", "link", "link to a device", "link to nothing"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, there: str) -> None:
    """`ambry changes --state /dev/null` made a file of it, for all of the machine."""
    path, precious = tmp_path / "token", tmp_path / "precious"
    precious.write_text("precious")
    with socket.socket(socket.AF_UNIX) as bound:
        match there:
            case "pipe":
                os.mkfifo(path)
            case "socket":
                bound.bind(str(path))
            case "directory":
                path.mkdir()
            case _:
                path.symlink_to({"link": "precious", "link to a device": "/dev/null"}.get(there, "nowhere"))
        before = path.lstat()
        states = StateFile(path)
        for attempt in (
            partial(replace_text, path, "text"),
            TokenFile(path).read,
            partial(TokenFile(path).write, "token"),
            states.locked().__enter__,
        ):
            with pytest.raises(OSError, match="which no file of ours takes the place of; name a file") as told:
                attempt()
            assert told.value.filename == str(path)
        assert path.lstat().st_ino == before.st_ino and precious.read_text() == "precious"
    assert {each.name for each in tmp_path.iterdir()} == {"token", "precious"}


def held(file: Path) -> RememberedUpload:
    state = RememberedUpload(file, "said")
    state.hold()
    return state


def test_an_upload_is_remembered_by_the_one_that_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SyncedFiles(monkeypatch)
    state, other = held(tmp_path / "film"), held(tmp_path / "film")
    state.save("00" * 16, 8 << 20)
    assert [name for name, _ in disk.synced] == ["film.ambry-upload", tmp_path.name]
    other.save("11" * 16, 8 << 20)
    other.forget()
    assert other.load() is None and state.load() == FoundUpload("00" * 16, 8 << 20)
    other.release()
    state.release()
    again = held(tmp_path / "film")
    assert again.load() == FoundUpload("00" * 16, 8 << 20)
    again.forget()
    again.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("laid", ["link", "second name", "pipe"])
def test_nothing_that_somebody_laid_beside_a_file_is_written_through_or_waited_at(tmp_path: Path, laid: str) -> None:
    """`film.ambry-upload.new` could be known before, and was followed."""
    precious, path = tmp_path / "precious", tmp_path / "film.ambry-upload"
    precious.write_text("precious")
    if laid == "link":
        path.symlink_to(precious)
    elif laid == "second name":
        path.hardlink_to(precious)
    else:
        os.mkfifo(path)
    state = held(tmp_path / "film")
    assert state.load() is None
    state.save("00" * 16, 8 << 20)
    state.release()
    assert precious.read_text() == "precious" and os.path.lexists(path)


def test_what_could_not_be_remembered_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk kept film.ambry-upload.new."""

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    state = held(tmp_path / "film")
    state.save("00" * 16, 8 << 20)
    state.release()
    assert list(tmp_path.iterdir()) == []


def test_what_another_user_laid_beside_a_file_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload of somebody else, with what that one said of its blob, would have become that of the file."""
    state = held(tmp_path / "film")
    state.save("00" * 16, 8 << 20)
    assert state.load() is not None and state.path.stat().st_mode & 0o777 == 0o600
    state.release()
    owner = state.path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert held(tmp_path / "film").load() is None
    monkeypatch.undo()
    os.link(state.path, tmp_path / "other")
    assert held(tmp_path / "film").load() is None
