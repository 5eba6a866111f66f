"""A secret is there whole or not at all: an empty file in its place would be taken for it at every later start."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from deploy.whole_file import replace, write_once


def test_a_full_disk_leaves_no_empty_secret_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "secret"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_once(path, "first")
    assert list(tmp_path.iterdir()) == []
    write_once(path, "second")
    assert path.read_text() == "second\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_once(path, "first")
    write_once(path, "second")
    assert path.read_text() == "first\n"


def test_a_file_that_takes_the_place_of_another_is_durable_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, bool]] = []
    path = tmp_path / "authority.crt"

    def note(number: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(number).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", note)
    replace(path, b"first", for_others=True)
    assert synced == [(False, False), (True, True)], "the bytes before they have the name, and then the name"
