"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.files import check_directory, opened, written, written_directory, written_path

LIMITED = """
import resource, signal, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, "")
try:
    exec(sys.argv[1])
except OSError as error:
    print(error.strerror, error.filename)
"""
"""A process whose files have 4 KiB at most, which fails as on a full disk."""
KILLED = """
import os, signal, sys
from pathlib import Path
from ambry.ml.files import written_directory, written_path
with {how}(Path("x")) as part:
    (part / "y" if part.is_dir() else part).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


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


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d/x")
    if there:
        (tmp_path / "d/x").write_bytes(b"before")
    with written(tmp_path / "link") as file:
        file.write(b"abc")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "d/x").read_bytes() == b"abc"
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["x"] and len(list(tmp_path.iterdir())) == 2


def test_a_url_that_cannot_be_written_is_told_without_what_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    place = "memory://user:PASSW@host/x.avro?sig=SEC%2FRET"

    def refused(*_: object, **__: object) -> None:
        raise ConnectionResetError("403, url='memory://host/x.avro?sig=SEC/RET'")

    with monkeypatch.context() as fails:
        fails.setattr(MemoryFileSystem, "exists", lambda *_: False)
        with pytest.raises(FileNotFoundError, match="make its directory") as missing, written(place) as file:
            file.write(b"abc")
    monkeypatch.setattr(MemoryFileSystem, "open", refused)
    with pytest.raises(OSError, match="cannot be written: 403") as denied, written(place):
        pass
    for error in (missing, denied):
        assert not any(secret in str(error.value) for secret in ("PASSW", "SEC", "RET")), error.value


def test_what_fails_beside_a_url_that_is_written_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was read meanwhile and is not there was told as one that is written, and another error lost its class."""
    place = "memory://host/x.avro?sig=SECRET"
    for error in (
        FileNotFoundError("https://src/x.avro"),
        ValueError("https://src/x.avro?page=2 has no rows"),
        OSError(28, "full"),
    ):
        with pytest.raises(type(error)) as failed, written(place) as file:
            file.write(b"abc")
            raise error
        assert failed.value is error
    from fsspec.implementations.memory import MemoryFile

    def refused(*_: object) -> None:
        raise ConnectionResetError("403, url='memory://host/x.avro?sig=SECRET'")

    monkeypatch.setattr(MemoryFile, "write", refused, raising=False)
    with pytest.raises(OSError, match="it cannot be written: 403") as denied, written(place) as file:
        file.write(b"abc")
    assert "SECRET" not in str(denied.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no rows"), OSError(28, "full"), SystemExit(3)])
@pytest.mark.parametrize("other", [NotImplementedError("discard"), OSError(13, "denied"), RuntimeError("gone")])
def test_what_fails_beside_a_url_is_told_also_where_nothing_can_be_discarded_there(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, other: Exception
) -> None:
    """An interruption, first of all, was an error of the URL, and not taken for one."""
    from fsspec.implementations.memory import MemoryFile

    def refused(_: object) -> None:
        raise other

    monkeypatch.setattr(MemoryFile, "discard", refused)
    with pytest.raises(type(error)) as failed, written("memory://host/x.avro?sig=SECRET") as file:
        file.write(b"abc")
        raise error
    assert failed.value is error


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


def test_a_directory_beside_which_nothing_can_be_made_is_refused_before_it_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was when the model was trained that was to be written there."""
    (tmp_path / "deep/made").mkdir(parents=True)
    for fine in (tmp_path / "deep/made", tmp_path / "new/made"):
        check_directory(fine)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "made"]
    with pytest.raises(OSError, match="the directory /sys/ambry/model gathers there") as refused:
        check_directory(Path("/sys/ambry/model"))
    assert refused.value.filename == "/sys"

    def denied(*, prefix: str, dir: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{dir}/{prefix}")

    monkeypatch.setattr("tempfile.mkdtemp", denied)
    with pytest.raises(PermissionError, match=r"Permission denied: the directory .*made gathers there") as refused:
        check_directory(tmp_path / "deep/made")
    assert refused.value.filename == str(tmp_path / "deep")


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("from ambry.ml.files import written\nwith written('x') as file: file.write(bytes(9000))", "x"),
        (
            "from ambry.ml.files import written_directory\n"
            "with written_directory(Path('x')) as made:\n (made / 'sub').mkdir()\n (made / 'sub/y').write_bytes(bytes(9000))",
            "x",
        ),
        *(
            (
                "import pyarrow as pa, random\nfrom ambry.ml.snapshots.files import write_file\n"
                "draw = random.Random(1)\n"
                "table = pa.table({'x': [draw.random() for _ in range(9000)]})\n"
                f"write_file(Path('x.{kind}'), table.schema, table.to_batches())",
                f"x.{kind}",
            )
            for kind in ("parquet", "arrow", "csv", "jsonl")
        ),
        (
            "from ambry.ml.features.checkout import _write\n_write(Path('x.csv'), 'y' * 9000)",
            "x.csv",
        ),
    ],
)
def test_of_a_full_disk_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, named: str
) -> None:
    """It was `No space left on device` alone."""
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-c", LIMITED, code], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"File too large {named}\n", done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["written_path", "written_directory"])
def test_what_a_killed_process_left_goes_when_the_same_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It stayed for ever, under a name that nobody sees."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED.format(how=how)], timeout=60, check=False)
    [left] = tmp_path.iterdir()
    # Of another file, and of other programs.
    others = [tmp_path / name for name in (".y.0123456789abcdef.part", ".x.part", ".x.0123456789abcdeg.part", "x.part")]
    for other in others:
        other.touch()
    write = written_path if how == "written_path" else written_directory
    with write(Path("x")) as part:
        assert not left.exists() and part.exists()
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "x"])


def test_of_two_who_write_the_same_none_spoils_the_other(tmp_path: Path) -> None:
    """The file of a snapshot and of a vocabulary gathered under one name."""
    with written_path(tmp_path / "x") as one:
        with written_path(tmp_path / "x") as other:
            assert one != other
            one.write_bytes(b"one")
            other.write_bytes(b"other")
        assert (tmp_path / "x").read_bytes() == b"other"
    assert (tmp_path / "x").read_bytes() == b"one" and len(list(tmp_path.iterdir())) == 1
    with written_directory(tmp_path / "made") as first:
        with written_directory(tmp_path / "made") as second:
            (second / "y").touch()
            assert first != second
        with pytest.raises(FileExistsError, match="made is not empty"), written_directory(tmp_path / "made"):
            pass
        assert first.is_dir()
        (tmp_path / "made/y").unlink()
    assert list((tmp_path / "made").iterdir()) == []


def test_a_path_that_cannot_be_a_file_is_refused_by_its_own_name(tmp_path: Path) -> None:
    """It was that of a part, with a random number in it; and /dev/null became a file."""
    with (
        pytest.raises(IsADirectoryError, match="it is a directory; name the file to write") as refused,
        written(tmp_path),
    ):
        pass
    assert refused.value.filename == str(tmp_path)
    for place in ("gone/x", "file/x"):
        (tmp_path / "file").touch()
        with pytest.raises(OSError) as failed, written_path(tmp_path / place):
            pass
        assert failed.value.filename == str(tmp_path / place)
    with pytest.raises(InvalidRequest, match="/dev/null is a device or a pipe"), written("/dev/null"):
        pass


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch(mode=0o600)
    with written(path) as file:
        file.write(b"abc")
    assert path.stat().st_mode & 0o777 == 0o600
    with written_path(path) as part:
        assert part.stat().st_mode & 0o777 == 0o600, "nobody reads meanwhile who may not read it then"
