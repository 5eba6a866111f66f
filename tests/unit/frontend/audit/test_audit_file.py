from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from frontend.audit.file import AuditFile


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def test_a_file_turns_over_between_lines_and_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = AuditFile(path, rotate_bytes=30, keep=2)
    for number in range(10):
        file.write(b"line %d\n" % number * 2, sync=number % 2 == 0)
    file.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    kept = [line for name in ("a.jsonl.2", "a.jsonl.1", "a.jsonl") for line in lines_of(tmp_path / name)]
    assert kept == [b"line %d" % number for number in range(10 - len(kept) // 2, 10) for _ in range(2)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_goes_on_behind_what_stands_there(tmp_path: Path) -> None:
    for _ in range(2):
        file = AuditFile(tmp_path / "a", rotate_bytes=1000, keep=1)
        file.begin()
        file.write(b"x\n", sync=True)
        file.close()
    assert lines_of(tmp_path / "a") == [b"x", b"x"]


def test_a_line_that_a_kill_cut_off_takes_no_other_along(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"whole\n{cut")
    file = AuditFile(tmp_path / "a", rotate_bytes=1000, keep=1)
    file.begin()
    file.write(b"next\n", sync=True)
    file.close()
    assert lines_of(tmp_path / "a") == [b"whole", b"{cut", b"next"]


def test_one_that_others_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "a", rotate_bytes=1000, keep=1)
    file.write(b"1\n", sync=False)
    (tmp_path / "a").rename(tmp_path / "b")
    file.write(b"2\n", sync=False)
    file.close()
    assert (lines_of(tmp_path / "a"), lines_of(tmp_path / "b")) == ([b"2"], [b"1"])


def test_a_disk_that_is_full_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = AuditFile(tmp_path / "a", rotate_bytes=1000, keep=1)
    file.write(b"first\n", sync=False)
    write = os.write
    full = [False]

    def short(number: int, data: Any) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        full[0] = True
        return write(number, bytes(data)[:3])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        file.write(b"second\n", sync=False)
    monkeypatch.setattr(os, "write", write)
    assert lines_of(tmp_path / "a") == [b"first"]
    file.write(b"third\n", sync=True)
    file.close()
    assert lines_of(tmp_path / "a") == [b"first", b"third"]
