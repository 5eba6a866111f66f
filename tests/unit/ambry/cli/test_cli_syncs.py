"""`ambry sync` and `ambry verify`, against frontends with a metadata store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ambry import AmbryClient
from tests.support.content import content
from tests.support.named_frontend import LosingLink
from tests.support.whole_commands import run, said

ROOT = "ambry://default/default/"


@pytest.fixture(autouse=True)
def home(request: pytest.FixtureRequest, urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("AMBRY_ENDPOINTS", urls[0])
    return f"{ROOT}{request.node.name.partition('[')[0]}"


def steps(*args: str) -> list[tuple[str, str]]:
    return sorted((each["action"], each["target"]) for each in map(json.loads, said(*args, "--json").splitlines()))


def write(root: str, **found: bytes) -> None:
    for path, data in found.items():
        file = Path(root, path.replace("__", "/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def files(root: str) -> dict[str, bytes]:
    return {str(each.relative_to(root)): each.read_bytes() for each in sorted(Path(root).rglob("*")) if each.is_file()}


def test_both_ways_by_digest_and_what_is_alike_is_left(home: str, urls: tuple[str, str]) -> None:
    big = content(5, 17_000_001)
    write("f", x=b"1", sub__y=b"2", big=big)
    assert steps("sync", "f", home) == [("copied", f"{home}/{each}") for each in ("big", "sub/y", "x")]
    Path("f/x").touch()
    assert steps("sync", "f", home) == [], "times do not matter; a large file is compared by its parts"
    write("f", x=b"9", new=b"n")
    assert steps("sync", "f", home) == [("copied", f"{home}/{each}") for each in ("new", "x")]
    assert len(steps("sync", home, "g")) == 4 and files("g") == files("f")
    assert steps("sync", home + "/", "g/") == []
    said("sync", home, home, "--to-endpoint", urls[1])
    with AmbryClient(urls[1]) as other:
        assert other.get_bytes(home + "/big") == big
    assert steps("sync", home, home, "--to-endpoint", urls[1], "--exclude", "big") == []


def test_nothing_is_deleted_unless_asked_for(home: str) -> None:
    write("f", x=b"1", y=b"2")
    said("sync", "f", home)
    Path("f/y").unlink()
    assert steps("sync", "f", home) == []
    assert steps("sync", "f", home, "--delete", "--dry-run") == [("delete", "y")]
    assert steps("sync", "f", home, "--delete") == [("deleted", "y")]
    write("g", x=b"1", a__b=b"3")
    said("sync", home, "g", "--delete")
    assert files("g") == {"x": b"1"} and not Path("g/a").exists()
    write("g", keep=b"k", z=b"z")
    said("sync", home, "g", "--delete", "--exclude", "keep")
    assert files("g") == {"x": b"1", "keep": b"k"}, "what is excluded is not deleted either"


def test_a_file_takes_the_place_of_a_folder_and_the_other_way(home: str) -> None:
    write("f", a__b=b"1", c=b"2")
    said("sync", "f", home)
    write("g", a=b"file", c__d=b"file")
    said("sync", home, "g", "--delete")
    assert files("g") == files("f")


def test_an_empty_source_deletes_nothing_without_being_told_so_twice(home: str) -> None:
    write("f", x=b"1")
    said("sync", "f", home)
    Path("empty").mkdir()
    done = run("sync", "empty", home, "--delete")
    assert done.exit_code == 2 and "with --yes it does" in done.stderr
    assert run("sync", "missing", home, "--delete").exit_code == 1
    assert run("sync", home + "-missing", "f", "--delete", "--yes").exit_code == 3, "a mistyped name is no empty folder"
    assert files("f") == {"x": b"1"}
    assert steps("sync", "empty", home, "--delete", "--yes") == [("deleted", "x")]


def test_nothing_is_deleted_where_not_all_was_copied(home: str, urls: tuple[str, str]) -> None:
    write("f", x=b"1", y=b"2")
    said("sync", "f", home)
    write("g", x=b"1", old=b"3")
    Path("g/y").mkdir()
    write("g", y__z=b"in the way")
    Path("g/y").chmod(0o755)
    with LosingLink(urls[0]) as link:
        link.alter = lambda data: data.replace(b"\r\n\r\n2", b"\r\n\r\n3")  # Of y the bytes come damaged.
        done = run("sync", home, "g", "--delete", "--endpoint", link.url)
    assert done.exit_code == 6
    assert "would have been deleted, and stayed: not all was copied" in done.stderr
    assert "old" in files("g")


def test_files_of_broken_transfers_are_no_part_of_a_folder(home: str) -> None:
    write("f", x=b"1")
    blob = "AQAAAQAAAAEAAAABAAAAAwGiHdujIHY_lfSzsuSwbOaKY0Py"
    for name in (f"x.{blob}.part", f"x.{blob}.{'0' * 32}.part", "big.ambry-upload"):
        Path("f", name).write_bytes(b"")
    assert steps("sync", "f", home) == [("copied", f"{home}/x")]


def test_what_is_left_out_for_its_name_is_told_both_ways(home: str) -> None:
    """A file that was called so was left out without a word, and `verify` said that all was the same."""
    write("f", x=b"1")
    Path("f", "notes.ambry-upload").write_bytes(b"mine")
    for command in (("cp", "-r", "f/", home + "/"), ("sync", "f", home), ("verify", "f", home)):
        done = run(*command)
        assert done.exit_code == 0 and "f/notes.ambry-upload: it is called as what downloads" in done.stderr, command
    said("cp", "f/notes.ambry-upload", home + "/")
    for command in (("cp", "-r", home + "/", "g"), ("sync", home, "g")):
        done = run(*command)
        assert done.exit_code == 1 and "notes.ambry-upload: no file here can be called so" in done.stderr, command
    assert files("g") == {"x": b"1"}


def test_what_stands_in_the_way_and_is_no_file_is_not_written_to(home: str) -> None:
    """A pipe below the folder was waited at, and a link to a device written through."""
    write("f", x=b"1", y=b"2")
    said("sync", "f", home)
    Path("g").mkdir()
    Path("g/x").symlink_to("/dev/null")
    for command in (("sync", home, "g"), ("cp", "-r", f"{home}/", "g"), ("cp", f"{home}/x", "g/")):
        done = run(*command)
        assert done.exit_code == 2 and "g/x is a device or a pipe" in done.stderr, command
        assert Path("g/x").is_symlink()
    assert Path("g/y").read_bytes() == b"2", "the others are there"


@pytest.mark.parametrize("args", [["f", "g"], ["-", "ambry://a/b/c"], ["ambry://a/b/*", "f"]])
def test_sides_that_are_no_folders_are_refused(args: list[str]) -> None:
    assert run("sync", *args).exit_code == 2


def test_verify_tells_what_differs_and_what_is_missing(home: str) -> None:
    write("f", x=b"11", y=b"2", big=content(6, 17_000_001))
    said("sync", "f", home)
    assert said("verify", "f", home) == said("verify", "f", home, "--read") == ""
    said("verify", "f/big", home + "/big")
    write("f", x=b"12", z=b"3")
    done = run("verify", "f", home)
    assert (done.exit_code, done.stdout) == (6, "differs  x\nmissing  z\n")
    Path("f/x").unlink()
    assert run("verify", "f", home).exit_code == 3
    assert run("verify", "f/y", home + "/big").exit_code == 6
    assert run("verify", "f", "g").exit_code == 2
    told = [json.loads(line) for line in run("verify", "f", home, "--json").stdout.splitlines()]
    assert [(each["path"], each["verdict"]) for each in told] == [("big", "same"), ("y", "same"), ("z", "missing")]


def test_a_large_blob_whose_parts_nobody_knows_is_read(home: str) -> None:
    data = content(7, 5_000_000)
    write(".", model=data)
    with AmbryClient.from_env() as client, client.start_upload(name=home) as upload:
        upload.complete([upload.write_part(1, data[:1_000_000]), upload.write_part(2, data[1_000_000:])])
    said("verify", "model", home)
    write(".", model=data[:-1] + b"?")
    assert run("verify", "model", home).exit_code == 6
