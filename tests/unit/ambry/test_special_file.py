"""What a path leads to: files, and what no file may take the place of."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ambry import InvalidRequest
from ambry.client.part_file import PartFile
from ambry.ids import BlobId, IdKind
from ambry.special_file import check_place, is_file_there, is_special, own_descriptor

ID = BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=bytes(16))


def test_what_is_special(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "file").touch()
    found = {each: is_special(tmp_path / each) for each in ("pipe", "link", "file", ".", "missing")}
    assert found == {"pipe": True, "link": True, "file": False, ".": False, "missing": False}


def test_a_file_of_a_directory_is_a_file_or_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "lost").symlink_to("nothing")
    assert [is_file_there(tmp_path / each) for each in ("file", "link", "missing")] == [True, True, False]
    for each in ("pipe", "lost", "."):
        with pytest.raises(InvalidRequest, match="is no file; put a file there, or take it away"):
            is_file_there(tmp_path / each)


def test_what_no_file_can_take_the_place_of_is_refused_with_what_to_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for free in ("file", "missing"):
        check_place(tmp_path / free, instead="do another thing")
    with pytest.raises(
        InvalidRequest, match="/pipe is a device or a pipe, which no file may replace; do another thing"
    ):
        check_place(tmp_path / "pipe", instead="do another thing")
    with pytest.raises(IsADirectoryError) as refused:
        check_place(str(tmp_path / "link"), instead="do another thing")
    assert (refused.value.errno, refused.value.filename) == (errno.EISDIR, f"{tmp_path}/link")


def test_links_to_what_is_open_lead_to_its_descriptor(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("/proc/self/fd/1")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert [own_descriptor(tmp_path / each) for each in ("one", "two", "loop", "file", "missing")] == [
        1,
        1,
        None,
        None,
        None,
    ]
    assert own_descriptor("/dev/fd/7") == own_descriptor(f"/proc/{os.getpid()}/fd/7") == 7
    assert own_descriptor("/proc/1/fd/7") is None, "that is another process's"


def test_a_folder_that_takes_no_file_is_named_and_not_a_name_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was `out.ID.3cef....part: Permission denied`."""

    def refused(*asked: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(asked[0]))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError) as told:
        PartFile(tmp_path / "out", ID, overwrite=False, unique="u")
    assert told.value.filename == str(tmp_path)


@pytest.mark.parametrize("overwrite", [True, False])
def test_no_download_takes_the_place_of_a_link_to_what_is_open(tmp_path: Path, overwrite: bool) -> None:
    """/dev/stdout became a file, for every process of the machine."""
    with (tmp_path / "log").open("wb") as log:
        link = tmp_path / "link"
        link.symlink_to(f"/proc/self/fd/{log.fileno()}")
        with pytest.raises(InvalidRequest, match="which no file may replace"):
            PartFile(link, ID, overwrite=overwrite, unique="u")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "log"]
