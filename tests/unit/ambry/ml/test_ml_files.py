"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.ml.files import opened, written


def test_a_file_is_there_when_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with written(path) as file:
        file.write(b"abc")
        assert not path.exists()
    with opened(path) as file:
        assert file.read() == b"abc"
    assert list(tmp_path.iterdir()) == [path]


def test_what_failed_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), written(path) as file:
        file.write(b"abc")
        raise RuntimeError
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"before"]


def test_urls_are_of_fsspec() -> None:
    with written("memory://x/y") as file:
        file.write(b"abc")
    with opened("memory://x/y") as file:
        assert file.read() == b"abc"
