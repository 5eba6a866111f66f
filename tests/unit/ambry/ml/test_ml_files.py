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


def test_what_failed_leaves_nothing_at_a_url(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/x"
    with pytest.raises(RuntimeError), written(url) as file:
        file.write(b"abc" * 1_000_000)
        raise RuntimeError
    assert not (tmp_path / "x").exists()
    with written(url) as file:
        file.write(b"whole")
    with opened(url) as file:
        assert file.read() == b"whole"


@pytest.mark.parametrize("size", [3, 30_000_000])
def test_what_failed_leaves_nothing_in_the_store(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setenv("AMBRY_ENDPOINTS", url)
    place = f"ambry://default/default/{name}/half.avro"
    with pytest.raises(RuntimeError), written(place) as file:
        file.write(bytes(size))
        raise RuntimeError
    with pytest.raises(FileNotFoundError), opened(place) as file:
        file.read()
    with written(place) as file:
        file.write(b"whole")
    with opened(place) as file:
        assert file.read() == b"whole"
