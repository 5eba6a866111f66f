"""The files of a model below a directory of one's own: what is in the way, what is left, and what is nobody else's business."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import models
from ambry.ml.models import placing

FILES = {"a.txt": b"1", "sub/b.txt": b"2", "sub/deep/c.txt": b"3"}


def names_in(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def fails_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[str]:
    """Let one of the gets of files fail; which were asked for."""
    get_file, asked = AmbryClient.get_file, list[str]()

    def cut(self: AmbryClient, ref: Any, path: Any, **options: Any) -> Any:
        asked.append(str(path))
        if len(asked) == number:
            raise error
        return get_file(self, ref, path, **options)

    monkeypatch.setattr(AmbryClient, "get_file", cut)
    return asked


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda out: (out / "sub").write_bytes(b""), r"sub: there already, and no directory; move it away"),
        (lambda out: (out / "sub").symlink_to(out / "nowhere"), r"sub: there already, and no directory; move it away"),
        (lambda out: (out / "sub/deep/c.txt").mkdir(parents=True), r"c\.txt: there already, and a directory; move it"),
        (
            lambda out: [(out / "a.txt").write_bytes(b"x"), (out / "sub").write_bytes(b"")],
            r"a\.txt: there already, with other bytes; .*sub: there already, and no directory; move them away",
        ),
    ],
)
def test_what_is_in_the_way_is_told_before_anything_is_fetched(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, words: str
) -> None:
    """A file where a directory belongs was a bare `File exists`, when the other parts had come and stayed as hidden files."""
    models.publish(client, name, dict(FILES))
    found = models.open(client, name)
    make(tmp_path)
    before, asked = names_in(tmp_path), fails_at(monkeypatch, 0, KeyboardInterrupt())
    with pytest.raises(FileExistsError, match=words):
        found.download(tmp_path)
    assert (names_in(tmp_path), asked) == (before, [])


def test_a_directory_is_none_that_leads_nowhere_nor_a_device_nor_below_a_file(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    """`File exists`, of what nobody sees there, with nothing on what to do."""
    models.publish(client, name, dict(FILES))
    found = models.open(client, name)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "link", tmp_path / "file/x", Path(os.devnull)):
        with pytest.raises(FileExistsError, match=r"there already, and no directory; .* name another directory"):
            found.download(directory)
    assert names_in(tmp_path) == ["file", "link"]


def test_what_is_complete_is_complete_where_nothing_may_be_written(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only file system it failed at removing what was not there. What lacks a part is told before it is fetched."""
    models.publish(client, name, dict(FILES))
    found = models.open(client, name)
    found.download(tmp_path)
    before = names_in(tmp_path)

    def read_only(self: Path, *said: Any, **options: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    for method in ("unlink", "mkdir", "rmdir", "replace"):
        monkeypatch.setattr(Path, method, read_only)
    assert [path.read_bytes() for path in found.download(tmp_path)] == [b"1", b"2", b"3"]
    monkeypatch.undo()
    (tmp_path / "sub/b.txt").unlink()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "sub" and access(path, mode))
    asked = fails_at(monkeypatch, 0, KeyboardInterrupt())
    with pytest.raises(PermissionError, match=r"nothing can be written into it; name another directory .*/sub'"):
        found.download(tmp_path)
    assert (names_in(tmp_path), asked) == ([each for each in before if each != "sub/b.txt"], [])


@pytest.mark.parametrize("first_ends", ["killed", "in an error"])
def test_what_an_interrupted_download_left_goes_with_the_next_one(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_ends: str
) -> None:
    """Of another version it stayed for ever, beside one that was told as a success."""
    made = [models.publish(client, name, FILES | {"a.txt": each}) for each in (b"x", b"y")]
    one, two = (models.open(client, each.place) for each in made)
    fails_at(monkeypatch, 3, OSError("cut"))
    with pytest.raises(OSError, match="cut"):
        one.download(tmp_path)
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    assert len(list(left.iterdir())) == 2, "to go on from"
    if first_ends == "killed":
        part = one.manifest.parts[2]
        (left / f".ambry-{part.sha256}.{part.id}.part").write_bytes(b"half")
    two.download(tmp_path)
    assert names_in(tmp_path) == ["a.txt", "sub", "sub/b.txt", "sub/deep", "sub/deep/c.txt"]


def test_nothing_is_left_where_nothing_came(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.publish(client, name, dict(FILES))
    found = models.open(client, name)
    fails_at(monkeypatch, 1, OSError("away"))
    with pytest.raises(OSError, match="away"):
        found.download(tmp_path)
    assert names_in(tmp_path) == []


def test_what_another_model_gathers_meanwhile_stays(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models may go into one directory, as long as their files are others."""
    models.publish(client, name, {"a.txt": b"1", "b.txt": b"2"})
    models.publish(client, f"{name}-other", {"c.txt": b"3"})
    one, other = models.open(client, name), models.open(client, f"{name}-other")
    get_file, calls = AmbryClient.get_file, count()

    def meanwhile(self: AmbryClient, *said: Any, **options: Any) -> Any:
        answer = get_file(self, *said, **options)
        if next(calls) == 0:
            other.download(tmp_path)
        return answer

    monkeypatch.setattr(AmbryClient, "get_file", meanwhile)
    one.download(tmp_path)
    assert (names_in(tmp_path), next(calls)) == (["a.txt", "b.txt", "c.txt"], 3)


@pytest.mark.parametrize("content", [b"precious", b""])
def test_a_lock_with_something_in_it_is_somebodys_own(
    client: AmbryClient, name: str, tmp_path: Path, content: bytes
) -> None:
    """It was removed. An empty one is what a killed download left."""
    models.publish(client, name, {"a.txt": b"1"})
    (tmp_path / ".ambry-lock").write_bytes(content)
    models.open(client, name).download(tmp_path)
    assert names_in(tmp_path) == ([".ambry-lock", "a.txt"] if content else ["a.txt"])


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_no_part_has_its_name_where_one_of_them_cannot_get_it(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Half a model stood there under its names, which may read as a smaller whole one. What came is gone on with."""
    models.publish(client, name, dict(FILES))
    found = models.open(client, name)
    named, calls = placing._named, count()

    def fails(gathered: Path, target: Path) -> bool:
        if next(calls) == 2:
            raise error
        return named(gathered, target)

    monkeypatch.setattr(placing, "_named", fails)
    with pytest.raises(type(error)):
        found.download(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".ambry-")] == []
    asked = fails_at(monkeypatch, 0, KeyboardInterrupt())
    found.download(tmp_path)
    assert (names_in(tmp_path), asked) == (["a.txt", "sub", "sub/b.txt", "sub/deep", "sub/deep/c.txt"], [])


@pytest.mark.parametrize("place", [(os, "link"), (Path, "unlink")])
def test_no_part_has_its_name_where_an_interrupt_came_when_it_had_just_got_it(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    """The one that was being named kept its name: it was noted when all was done with it."""
    models.publish(client, name, dict(FILES))
    found = models.open(client, name)
    owner, call = place
    done, calls = getattr(owner, call), count()

    def interrupted(path: Any, *said: Any, **options: Any) -> None:
        done(path, *said, **options)
        if found.manifest.parts[1].sha256 in str(path):
            next(calls)
            raise KeyboardInterrupt

    monkeypatch.setattr(owner, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        found.download(tmp_path)
    monkeypatch.undo()
    assert next(calls) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".ambry-")] == []
    asked = fails_at(monkeypatch, 0, KeyboardInterrupt())
    found.download(tmp_path)
    assert (names_in(tmp_path), asked) == (["a.txt", "sub", "sub/b.txt", "sub/deep", "sub/deep/c.txt"], [])


def test_no_part_has_its_name_where_another_user_has_one_with_other_bytes_by_then(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused, and those that had been named before stayed: half a model beside a file of another one."""
    models.publish(client, name, dict(FILES))
    named, calls = placing._named, count()

    def taken(gathered: Path, target: Path) -> bool:
        if next(calls) == 1:
            target.write_bytes(b"theirs")
        return named(gathered, target)

    monkeypatch.setattr(placing, "_named", taken)
    with pytest.raises(FileExistsError, match=r"b\.txt: there already, with other bytes"):
        models.open(client, name).download(tmp_path)
    assert names_in(tmp_path) == ["sub", "sub/b.txt", "sub/deep"]
    assert (tmp_path / "sub/b.txt").read_bytes() == b"theirs"


def of_another_user(left: Path) -> None:
    left.parent.chmod(0o1777)
    left.mkdir()
    left.chmod(0o777)
    os.chown(left, 12_345, -1)


def elsewhere(left: Path) -> None:
    target = left.with_name("elsewhere")
    target.mkdir()
    left.symlink_to(target)


@pytest.mark.parametrize("make", [of_another_user, elsewhere])
def test_nothing_gathers_where_others_may_write(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    """Whose a directory is replaces files in it, behind the comparison too: they were given names of the model."""
    if make is of_another_user and os.geteuid():
        pytest.skip("root gives directories away")
    models.publish(client, name, dict(FILES))
    found = models.open(client, name)
    make(left := tmp_path / f".ambry-{found.manifest.digest}")
    asked = fails_at(monkeypatch, 0, KeyboardInterrupt())
    found.download(tmp_path)
    assert len(asked) == 3 and {str(Path(each).parent) for each in asked} == {f"{left}_"}
    assert [path for path in names_in(tmp_path) if left.name not in path and path != "elsewhere"] == [
        *("a.txt", "sub", "sub/b.txt", "sub/deep", "sub/deep/c.txt")
    ]
    assert not Path(f"{left}_").exists()


def test_a_directory_of_another_file_system_is_gathered_in_by_itself(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    """Nothing is renamed from one file system to another one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if Path(elsewhere).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("one file system for all")
        models.publish(client, name, dict(FILES))
        (tmp_path / "sub").symlink_to(elsewhere)
        models.open(client, name).download(tmp_path)
        assert names_in(Path(elsewhere)) == ["b.txt", "deep", "deep/c.txt"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "sub"]


@pytest.mark.parametrize("call", ["_in_the_way", "_missing"])
def test_of_two_users_none_is_told_that_a_mix_of_two_models_is_theirs(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The lock of one is not the other's to open, and nobody waited: files were replaced, and both were told success."""
    for each, files in ((name, {"a": b"1", "b": b"2"}), (f"{name}-other", {"a": b"one", "b": b"two"})):
        models.publish(client, each, files)
    ours, theirs = models.open(client, name), models.open(client, f"{name}-other")
    looked, begun, calls = getattr(placing, call), list[bool](), count()

    def meanwhile(*said: Any) -> Any:
        found = looked(*said)
        if (
            next(calls) == 1 and not begun
        ):  # Once more when all is there: each has looked, and neither has named a file.
            begun.append(True)
            theirs.download(tmp_path)
        return found

    monkeypatch.setattr(placing, "locked_by", lambda path: nullcontext())
    monkeypatch.setattr(placing, call, meanwhile)
    with pytest.raises(FileExistsError, match="there already, with other bytes"):
        ours.download(tmp_path)
    assert begun and [(tmp_path / each).read_bytes() for each in "ab"] == [b"one", b"two"]


def test_a_full_disk_names_the_part_in_its_own_place(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told of `.ambry-<SHA-256>/.ambry-<SHA-256>.<id>.part`."""
    models.publish(client, name, {"a.txt": b"same", "b.txt": b"same"})
    found = models.open(client, name)

    def full(_: AmbryClient, ref: Any, path: Path, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{path}.id.part")

    monkeypatch.setattr(AmbryClient, "get_file", full)
    gathering = placing._gathering(found.manifest, tmp_path / "out")
    assert str(gathering["b.txt"]).startswith(str(gathering["a.txt"]))
    for path in ("a.txt", "b.txt"):
        monkeypatch.setattr(placing, "_missing", lambda parts, directory, path=path: [found.manifest.part(path)])
        with pytest.raises(OSError, match="No space left") as caught:
            found.download(tmp_path / "out")
        assert caught.value.filename == str(tmp_path / "out" / path)

    def closed(part: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))

    monkeypatch.setattr(placing, "shared_part", closed)
    with pytest.raises(OSError, match="No space left") as caught:
        found.download(tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")
