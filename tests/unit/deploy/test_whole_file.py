"""A secret is there whole or not at all: an empty file in its place would be taken for it at every later start."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from deploy.whole_file import write_once


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
