"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.files import check_directory, opened, written, written_directory


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


@pytest.mark.parametrize("there", ["nothing", "empty", "link"])
def test_a_directory_is_there_when_it_was_filled(tmp_path: Path, there: str) -> None:
    place = tmp_path / "x" / "made"
    if there != "nothing":
        (tmp_path / "x/other").mkdir(parents=True, mode=0o700)
        place = tmp_path / "x/other"
    if there == "link":
        place = tmp_path / "x/made"
        place.symlink_to("other")
    with written_directory(place) as made:
        (made / "y").write_bytes(b"abc")
        assert not (place / "y").exists()
    assert (place / "y").read_bytes() == b"abc" and place.is_symlink() == (there == "link")
    assert there == "nothing" or place.stat().st_mode & 0o777 == 0o700
    assert not list((tmp_path / "x").glob(".*"))


def test_a_directory_that_failed_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written_directory(tmp_path / "x") as made:
        (made / "y").write_bytes(b"abc")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_no_directory_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileExistsError, match="x is not empty"), written_directory(tmp_path / "x") as made:
        (made / "y").write_bytes(b"ours")
        (tmp_path / "x").mkdir()
        (tmp_path / "x/y").write_bytes(b"theirs")
    assert [path.read_bytes() for path in (tmp_path / "x").iterdir()] == [b"theirs"]
    with pytest.raises(FileExistsError, match="y is no directory"), written_directory(tmp_path / "x/y"):
        pass
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InvalidRequest, match=r"^\. is the working directory"), written_directory(Path()):
        pass
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "mounted")
    with pytest.raises(InvalidRequest, match="is where a file system is mounted"):
        check_directory(tmp_path / "mounted")
