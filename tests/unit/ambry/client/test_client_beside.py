"""What uploads and downloads keep beside files is not taken for the user's own, nor anybody else's for ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambry import Unavailable
from ambry.client.beside import is_ours, is_own, tell_kept
from ambry.fs import AmbryFileSystem
from tests.support.named_frontend import named_frontend

BLOB = "AQAAAQAAAAEAAAABAAAAAAGiHx0LP3SkgonrBqKoZrQf3XLO"
HEX = "0f" * 16


@pytest.mark.parametrize(
    "name",
    [
        f"model.bin.{BLOB}.part",
        f"model.bin.{BLOB}.{HEX}.part",
        "model.bin.ambry-upload",
        f"model.bin.ambry-upload.{HEX}.new",
        "model.bin.ambry-upload.new",
        "a\nb.ambry-upload",
        ".rows.parquet.0123456789abcdef.part",
    ],
)
def test_what_is_kept_is_known_by_its_name(name: str) -> None:
    assert is_ours(name)


@pytest.mark.parametrize(
    "name", ["model.part", f"{BLOB}.part", "ambry-upload", "x.ambry-upload.txt", "x.new", ".x.part"]
)
def test_files_of_the_user_are_left_alone(name: str) -> None:
    assert not is_ours(name)


def test_what_others_laid_or_reach_is_not_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    assert is_own(file.stat())
    os.link(file, tmp_path / "link")
    assert not is_own(file.stat())
    (tmp_path / "link").unlink()
    assert not is_own(tmp_path.stat())
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert not is_own(file.stat())


def test_an_error_says_what_is_kept_whatever_it_is() -> None:
    ours, other = Unavailable("away"), KeyboardInterrupt()
    for error in (ours, other):
        tell_kept(error, "5 bytes are kept in x.part")
    assert ours.message == "away; 5 bytes are kept in x.part; the same call goes on from there, or remove it"
    assert other.__notes__ == ["5 bytes are kept in x.part; the same call goes on from there, or remove it"]


def test_a_folder_is_stored_by_url_without_what_is_kept_there(tmp_path: Path) -> None:
    """States and parts of transfers became blobs beside the files that they were of."""
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for name in ("a.bin", "a.bin.ambry-upload", "a.bin.ambry-upload.new", f"below/b.{BLOB}.part", "below/c"):
        (folder / name).write_bytes(b"x")
    with named_frontend(tmp_path / "metadata") as url:
        fs = AmbryFileSystem(endpoints=url, skip_instance_cache=True)
        with pytest.warns(UserWarning, match="it is called as what downloads and uploads keep") as told:
            fs.put(f"{folder}/", "default/default/p/", recursive=True)
        assert len(told) == 3
        assert fs.find("default/default/p") == ["default/default/p/a.bin", "default/default/p/below/c"]
        fs.put(str(folder / "a.bin.ambry-upload"), "default/default/q")
        assert fs.cat_file("default/default/q") == b"x", "what was named is stored"
        fs.client.close()
