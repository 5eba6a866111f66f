"""Archives as a node gets them: damaged, hostile, or larger than its disk."""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ambry.ml.training import unpacking
from ambry.ml.training.unpacking import NodeFailed, unpack


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside-of-it"])
def test_an_archive_that_writes_beside_its_tree_is_refused(tmp_path: Path, path: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(path, "x")
    with pytest.raises(NodeFailed, match="lies outside of it"):
        unpack(tmp_path / "bad.zip", tmp_path / "tree")
    assert not (tmp_path / "outside").exists()


def packed(*entries: tuple[str, bytes, int]) -> bytearray:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            about = zipfile.ZipInfo(name)
            about.external_attr, about.compress_type, about.create_system = mode << 16, zipfile.ZIP_DEFLATED, 3
            archive.writestr(about, content)
    return bytearray(into.getvalue())


def changed(*at: tuple[int, int], central: tuple[tuple[int, int], ...] = ()) -> bytes:
    data = packed(("train.py", b"print(1)" * 20, 0o100644))
    directory = data.rfind(b"PK\1\2")
    for place, value in (*at, *((directory + place, value) for place, value in central)):
        data[place] = value
    return bytes(data)


LINK = 0o120777


@pytest.mark.parametrize(
    ("archive", "told"),
    [
        (b"no archive at all", "cannot be unpacked"),
        (b"", "cannot be unpacked"),
        (changed((14, 1), (15, 1), central=((16, 1), (17, 1))), "cannot be unpacked"),
        (changed((6, 1), central=((8, 1),)), "cannot be unpacked"),
        (changed((8, 97), central=((10, 97),)), "in a compression that is not deflate"),
        (changed((8, 14), central=((10, 14),)), "in a compression that is not deflate"),
        (bytes(packed(("link", b"a\0b", LINK))), "cannot be unpacked"),
        (bytes(packed(("link", b"a" * 5000, LINK))), "has the link 'link' of 5,000 bytes"),
        (bytes(packed(("a", b"/tmp", LINK), ("a/b", b"/etc", LINK))), "."),
    ],
    ids=["text", "empty", "checksum", "encrypted", "method", "lzma", "link", "long link", "below a link"],
)
def test_an_archive_that_is_damaged_is_told(tmp_path: Path, archive: bytes, told: str) -> None:
    (tmp_path / "bad.zip").write_bytes(archive)
    with pytest.raises((NodeFailed, FileExistsError), match=told):
        unpack(tmp_path / "bad.zip", tmp_path / "tree")


def test_more_than_the_disk_has_room_for_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.zip").write_bytes(packed(("zeros", bytes(100_000), 0o100644)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=99_999))
    with pytest.raises(NodeFailed, match=r"1 entries of 100,000 bytes.* has 99,999 bytes free"):
        unpack(tmp_path / "large.zip", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_links_keep_the_bytes_of_their_targets(tmp_path: Path) -> None:
    (tmp_path / "fine.zip").write_bytes(packed(("link", b"/usr/bin/\xff\xfe", LINK)))
    unpack(tmp_path / "fine.zip", tmp_path / "tree")
    assert os.fsencode((tmp_path / "tree/link").readlink()) == b"/usr/bin/\xff\xfe"


def test_wheels_that_do_not_end_to_install_end_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers of the node waited without end for the one that held the tree."""
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(unpacking, "INSTALL_TIMEOUT_S", 0.2)
    (tmp_path / "tree").mkdir()
    with pytest.raises(NodeFailed, match=f"were not installed in {tmp_path} within 0 s: see whether its disk answers"):
        unpacking.install_wheels(tmp_path / "tree")
