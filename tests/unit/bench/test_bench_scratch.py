from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.child import BenchFailed
from tests.bench.scratch import scratch


def test_a_directory_that_was_missing_goes_again(tmp_path: Path) -> None:
    """`--dir` of a run made it, and left it."""
    with scratch(tmp_path / "a" / "b", needed_bytes=0) as directory:
        (directory / "data").write_bytes(b"x")
        assert directory.parent == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(BenchFailed, match="name another directory with --dir"),
        scratch(tmp_path / "a", needed_bytes=1 << 62),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_or_came_meanwhile_stays(tmp_path: Path) -> None:
    with scratch(tmp_path, needed_bytes=0):
        pass
    with scratch(tmp_path / "a", needed_bytes=0):
        (tmp_path / "a" / "figures.json").write_bytes(b"{}")
    assert (tmp_path / "a" / "figures.json").exists()
