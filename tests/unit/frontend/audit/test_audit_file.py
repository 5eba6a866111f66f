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


@pytest.mark.parametrize("failing", ["a", "a.1", "a.2"])
def test_one_that_cannot_turn_over_loses_no_older_file_however_often_it_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Each try moved the older ones on: after five that failed at the last step two of three were gone."""
    path = tmp_path / "a"
    file = AuditFile(path, rotate_bytes=4, keep=3)
    for number in range(4):
        file.write(b"%d\n\n\n" % number, sync=True)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name == failing:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    for _ in range(5):
        with pytest.raises(OSError, match="Permission"):
            file.write(b"4\n\n\n", sync=False)
    kept = sorted(each.read_bytes()[:1] for each in tmp_path.iterdir())
    assert kept in ([b"0", b"1", b"2", b"3"], [b"1", b"2", b"3"]), "the oldest alone is to go"
    monkeypatch.undo()
    file.write(b"4\n\n\n", sync=True)
    file.close()
    assert [(tmp_path / name).read_bytes()[:1] for name in ("a", "a.1", "a.2", "a.3")] == [b"4", b"3", b"2", b"1"]


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
