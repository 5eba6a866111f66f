from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambry.checksum import digest
from ambry.cli.local_files import has_digest, make_room, matching, prune, remove, scan
from ambry.rest.values import digest_text
from tests.support.content import content


def test_a_folder_is_read_without_following_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").write_bytes(b"x")
    root = tmp_path / "f"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/c").write_bytes(b"123")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "file").symlink_to(tmp_path / "elsewhere/x")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"\xff")).write_bytes(b"")
    found, blocked = scan(str(root))
    assert [(each.path, each.size, each.what) for each in found] == [
        ("a/b/c", 3, str(root / "a/b/c")),
        ("file", 1, str(root / "file")),
    ]
    told = ["dangling", "link", "loop", "pipe", os.fsdecode(b"\xff")]
    assert sorted(each.path for each in blocked) == [str(root / each) for each in told]
    with pytest.raises(FileNotFoundError):
        scan(str(root / "not there"))


def test_room_is_made_below_the_root_and_never_through_a_link(tmp_path: Path) -> None:
    assert make_room(str(tmp_path / "new"), "a/b/c") == tmp_path / "new/a/b/c"
    (tmp_path / "new/a/out").symlink_to("/tmp")
    with pytest.raises(NotADirectoryError, match="a link, which is not followed"):
        make_room(str(tmp_path / "new"), "a/out/x")
    (tmp_path / "new/file").touch()
    with pytest.raises(FileExistsError):
        make_room(str(tmp_path / "new"), "file/x")


def test_what_is_removed_takes_empty_folders_along_but_not_the_root(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    (tmp_path / "a/d").touch()
    remove(str(tmp_path), "a/b/c")
    assert not (tmp_path / "a/b").exists() and (tmp_path / "a/d").exists()
    remove(str(tmp_path), "a/d")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "x/file").touch()
    prune(str(tmp_path / "x"))
    assert [each.name for each in (tmp_path / "x").iterdir()] == ["file"]


@pytest.mark.parametrize("part_size", [1 << 20, 3 << 20, 8 << 20])
def test_the_digest_of_parts_is_made_again_for_the_sizes_that_they_can_have_had(tmp_path: Path, part_size: int) -> None:
    data = content(8, 17_000_001)
    (tmp_path / "f").write_bytes(data)
    parts = [digest(data[start : start + part_size]) for start in range(0, len(data), part_size)]
    etag = f'"{digest_text(digest(b"".join(parts)), len(parts))}"'
    assert has_digest(str(tmp_path / "f"), len(data), "", etag) is True
    (tmp_path / "f").write_bytes(data[:-1] + b"?")
    assert has_digest(str(tmp_path / "f"), len(data), "", etag) is None, "it may have had other parts: nobody knows"
    assert has_digest(str(tmp_path / "f"), len(data), digest(data).hex(), "") is False
    assert has_digest(str(tmp_path / "f"), len(data), "", "") is None


def test_a_pattern_of_a_shell_that_does_not_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.bin", "a.bin", "c[1].txt"):
        Path(name).touch()
    assert matching("*.bin") == ["a.bin", "b.bin"]
    assert matching("c[1].txt") == ["c[1].txt"], "a file of this name is meant first"
    assert matching("*.none") == ["*.none"]
