"""`ambry cp` and `ambry mv`, against frontends with a metadata store."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ambry
from ambry import AmbryClient, AmbryError, NameRef, Unavailable, UpdateConflict
from ambry.cli.display import Display
from ambry.cli.main import cli
from ambry.cli.transfers import AcrossStep, Mover
from ambry.fs import AmbryFileSystem
from tests.support.content import content

ROOT = "ambry://default/default/"


@pytest.fixture(autouse=True)
def home(request: pytest.FixtureRequest, urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of names of its own for each test; the current directory is empty."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("AMBRY_ENDPOINTS", urls[0])
    monkeypatch.setenv("PYTHONPATH", str(Path(ambry.__file__).parents[1]))
    return f"{ROOT}{request.node.name.partition('[')[0]}/"


def run(*args: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, args, input=stdin, prog_name="ambry")


def said(*args: str, stdin: bytes | None = None) -> str:
    done = run(*args, stdin=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


def names(home: str) -> list[str]:
    with AmbryClient.from_env() as client:
        return [entry.name.removeprefix(home.removeprefix(ROOT)) for entry in client.list(home)]


def files(root: str = ".") -> dict[str, bytes]:
    return {str(each.relative_to(root)): each.read_bytes() for each in sorted(Path(root).rglob("*")) if each.is_file()}


def make(**found: bytes) -> None:
    for path, data in found.items():
        path = path.replace("__", "/").replace("_dot_", ".")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)


def test_a_file_goes_up_under_a_name_or_into_a_folder_and_comes_down(home: str) -> None:
    make(a_dot_json=b"{}", b=b"bytes")
    said("cp", "a.json", home + "one")
    blobs = said("cp", "a.json", "b", home, "--output", "id").split()
    assert names(home) == ["a.json", "b", "one"]
    told = json.loads(said("head", home + "one", "--json"))
    assert (told["content_type"], told["filename"]) == ("application/json", "a.json"), "the name says what it is"
    said("cp", home + "b", "copy")
    said("cp", home + "b", blobs[0], "down/")
    assert files() == {"a.json": b"{}", "b": b"bytes", "copy": b"bytes", "down/b": b"bytes", "down/a.json": b"{}"}
    assert run("cp", home + "b", home + "one", "copy").exit_code == 2, "one target takes one source"
    assert run("cp", "a.json", "./a.json", home).exit_code == 2, "both would become a.json"


def test_folders_go_whole_and_a_slash_behind_the_source_means_what_is_in_it(home: str) -> None:
    make(f__x=b"x", f__a__y=b"y", f__empty=b"")
    assert run("cp", "f", home).exit_code == 1 and names(home) == []
    said("cp", "-r", "f", home + "tree")
    said("cp", "-r", "f", home + "into/")
    said("cp", "-r", "f/", home + "contents/")
    tree = ["a/y", "empty", "x"]
    assert names(home) == [
        *(f"contents/{each}" for each in tree),
        *(f"into/f/{each}" for each in tree),
        *(f"tree/{each}" for each in tree),
    ]
    Path("there").mkdir()
    said("cp", "-r", home + "tree", "there")
    said("cp", "-r", home + "tree/", "flat")
    assert files("there/tree") == files("flat") == files("f")
    told = run("cp", home + "tree/", "q")
    assert told.exit_code == 2 and "-r copies all" in told.stderr


def test_a_pattern_is_matched_by_the_command(home: str) -> None:
    make(f__a_dot_bin=b"1", f__b_dot_bin=b"2", f__c_dot_txt=b"3", f__sub__d_dot_bin=b"4")
    said("cp", "f/*.bin", home)
    said("cp", "-r", "f/", home + "all/")
    assert names(home)[:1] == ["a.bin"]
    said("cp", home + "all/*.bin", "one/")
    said("cp", home + "all/**/*.bin", "two/")
    assert files("one") == {"a.bin": b"1", "b.bin": b"2"}
    assert files("two") == {"a.bin": b"1", "b.bin": b"2", "sub/d.bin": b"4"}
    none = run("cp", home + "all/*.parquet", "three/")
    assert none.exit_code == 3 and "no name fits" in none.stderr


def test_pipes(home: str) -> None:
    said("cp", "-", home + "piped", stdin=b"through a pipe")
    assert said("cp", home + "piped", "-") == "through a pipe"
    assert run("cp", "-", home, stdin=b"x").exit_code == 2, "what comes from a pipe has no name"
    assert run("cp", "-", "file", stdin=b"x").exit_code == 2


@pytest.mark.parametrize("size", [1_000, 17_000_001])
def test_from_one_cluster_to_another_with_what_is_said_of_the_blob(home: str, urls: tuple[str, str], size: int) -> None:
    data = content(3, size)
    make(model=data)
    said("cp", "model", home + "m", "--meta", "run=17", "--content-type", "model/x", "--ttl", "7d")
    said("cp", home + "m", home + "copy", "--to-endpoint", urls[1])
    with AmbryClient(urls[1]) as other:
        info = other.head(home + "copy")
        assert other.get_bytes(info.id) == data
    assert (dict(info.metadata), info.content_type, info.filename) == ({"run": "17"}, "model/x", "model")
    assert info.expires is not None and info.created is not None
    assert 6 < (info.expires - info.created).total_seconds() / 86_400 <= 7
    said("cp", home + "copy", "back", "--from-endpoint", urls[1])
    assert Path("back").read_bytes() == data


def test_what_is_there_is_written_over_or_left(home: str) -> None:
    make(a=b"new", b=b"old")
    said("cp", "b", home + "b")
    said("cp", "-n", "a", home + "b")
    assert said("cat", home + "b") == "old"
    said("cp", "a", home + "b")
    said("cp", "-n", home + "b", "b")
    assert Path("b").read_bytes() == b"old"
    said("cp", home + "b", "b")
    assert Path("b").read_bytes() == b"new"


def test_no_name_writes_outside_of_the_target(home: str, tmp_path: Path) -> None:
    with AmbryClient.from_env() as client:
        prefix = home.removeprefix(ROOT)
        for name in ("../../evil", "/abs", "a//b", "ok", "file", "file/below"):
            client.put(b"evil", name=NameRef(prefix + name))
    done = run("cp", "-r", home, "out")
    assert done.exit_code == 1 and done.stderr.count("no file here can be called so") == 4
    assert files() == {"out/file": b"evil", "out/ok": b"evil"}
    assert [each.name for each in tmp_path.iterdir()] == ["here"]


def test_nothing_is_written_through_a_link_below_the_target(home: str, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    make(f__a__x=b"new")
    said("cp", "-r", "f", home + "f")
    Path("out").mkdir()
    Path("out/a").symlink_to(tmp_path / "precious")
    done = run("cp", "-r", home + "f/", "out")
    assert done.exit_code == 1 and "out/a: a link, which is not followed" in done.stderr
    assert list((tmp_path / "precious").iterdir()) == []


def test_one_failure_keeps_none_of_the_others_and_is_told_with_its_name(home: str) -> None:
    make(a=b"a", b=b"b")
    os.mkfifo("f")
    Path("dir").mkdir()
    make(dir__x=b"x")
    os.mkfifo("dir/pipe")
    (Path("dir") / os.fsdecode(b"bad\xff")).write_bytes(b"")
    done = run("cp", "-r", "dir", "a", home)
    assert done.exit_code == 1 and names(home) == ["a", "dir/x"]
    assert "pipe: no file" in done.stderr and "its name is not UTF-8" in done.stderr


def test_a_pipe_or_a_device_as_target_stays_what_it_is(home: str) -> None:
    """`-o pipe --overwrite` put a file in its place."""
    make(a=b"through")
    said("cp", "a", home + "a")
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    said("cp", home + "a", "pipe")
    reader.join(60)
    assert got == [b"through"] and Path("pipe").is_fifo()
    said("cp", home + "a", "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_mv_renames_within_a_container_and_deletes_what_it_copied_elsewhere(home: str, urls: tuple[str, str]) -> None:
    make(f__a=b"a", f__sub__b=b"b")
    said("mv", "f", home + "f")
    assert not Path("f").exists() and names(home) == ["f/a", "f/sub/b"]
    blob = said("name", "resolve", home + "f/a").strip()
    said("mv", home + "f/a", home + "g")
    assert said("name", "resolve", home + "g").strip() == blob, "renamed: the same blob"
    said("mv", home + "f", "down")
    assert files() == {"down/sub/b": b"b"} and names(home) == ["g"]
    said("mv", home + "g", home + "g", "--to-endpoint", urls[1])
    assert names(home) == []
    with AmbryClient(urls[1]) as other:
        assert other.get_bytes(home + "g") == b"a"
    dry = run("mv", "down", home, "--dry-run")
    assert dry.exit_code == 0 and "move  down/sub/b" in dry.stdout and files() == {"down/sub/b": b"b"}


def test_mv_deletes_nothing_that_was_not_copied(home: str) -> None:
    make(a=b"a")
    assert run("mv", "a", "missing", home).exit_code == 1
    assert files() == {"a": b"a"}
    assert run("mv", "a", home + "a", "--endpoint", "http://127.0.0.1:1").exit_code == 5
    assert files() == {"a": b"a"}
    said("cp", "a", home + "b")
    said("mv", "-n", "a", home + "b")
    assert files() == {"a": b"a"}, "what was left there was not moved"


@pytest.mark.parametrize("how", ["mv", "fs", "sync --delete", "rm -r"])
def test_what_another_one_put_since_it_was_looked_at_is_not_deleted(
    home: str, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The name was compared, and then deleted with what stood there by then."""
    make(f__b=b"b")
    with AmbryClient.from_env() as client:
        client.put(b"mine", name=home + "f/a")

    def late(method: Any) -> Any:
        def delete(client: AmbryClient, *args: Any, **said: Any) -> Any:
            with AmbryClient.from_env() as another:
                another.put(b"theirs", name=home + "f/a")
            return method(client, *args, **said)

        return delete

    for method in ("delete", "delete_many"):
        monkeypatch.setattr(AmbryClient, method, late(getattr(AmbryClient, method)))
    if how == "fs":
        files = AmbryFileSystem(endpoints=[urls[0]], skip_instance_cache=True)
        files.client.create_container("default", "elsewhere")
        with pytest.raises(UpdateConflict, match="it stays, beside its copy"):
            files.mv(home + "f/a", "ambry://default/elsewhere/a")
    else:
        args = {
            "mv": ("mv", home + "f", home + "f", "--to-endpoint", urls[1]),
            "sync --delete": ("sync", "f", home + "f", "--delete"),
            "rm -r": ("rm", "-r", home + "f", "--yes"),
        }[how]
        done = run(*args)
        assert done.exit_code == 1 and "points to another blob since it was" in done.stderr, done.output
    with AmbryClient.from_env() as client:
        assert client.get_bytes(home + "f/a") == b"theirs"


@pytest.mark.parametrize("size", [0, 5, 16 << 20, (16 << 20) + 5])
def test_a_pipe_goes_in_parts_which_can_be_sent_again(home: str, size: int) -> None:
    """It was one request, which nobody could repeat: what broke after hours had to begin anew."""
    body = content(5, size)
    told = json.loads(said("cp", "-", home + "x", "--meta", "a=b", "--output", "json", stdin=body))
    with AmbryClient.from_env() as client:
        assert told["id"] == str(client.resolve(home + "x")) and client.get_bytes(home + "x") == body
        info = client.head(home + "x")
        assert info.etag.rstrip('"').endswith("-2" if size == 16 << 20 else "-3") == (size > 8 << 20)
        assert dict(info.metadata) == {"a": "b"}
    assert run("put", "-", "--name", home + "x", "--if-match", '"other"', stdin=body).exit_code == 1
    assert run("put", "-", "--name", home + "x", "--if-absent", stdin=body).exit_code == 1
    assert run("cp", "-n", "-", home + "x", stdin=b"other").exit_code == 0
    with AmbryClient.from_env() as client:
        assert client.resolve(home + "x") == info.id
    put = said("put", "-", "--name", home + "x", "--if-match", info.etag, "--output", "id", stdin=body).strip()
    with AmbryClient.from_env() as client:
        assert str(client.resolve(home + "x")) == put != str(info.id)


def test_a_name_that_is_a_folder_too_goes_with_what_is_below_it(home: str) -> None:
    """What somebody put below a name changed what `mv` of the name moved, and the name itself stayed without a word."""
    with AmbryClient.from_env() as client:
        client.put(b"itself", name=home + "model")
        client.put(b"below", name=home + "model/cfg")
    said("cp", "-r", home + "model", home + "copy")
    said("cp", "-r", home + "model", home + "into/")
    said("cp", "-r", home + "model/", home + "contents")
    found = ["contents/cfg", "copy", "copy/cfg", "into/model", "into/model/cfg", "model", "model/cfg"]
    assert names(home) == found
    said("mv", home + "model", home + "old")
    assert names(home) == [*found[:-2], "old", "old/cfg"]
    with AmbryClient.from_env() as client:
        assert client.get_bytes(home + "old") == b"itself"
    down = run("cp", "-r", home + "old", "here")
    assert down.exit_code != 0 and "old: no file here can be called so: it is a folder of names too" in down.stderr
    assert files() == {"here/cfg": b"below"}
    moved = run("mv", home + "old", "there")
    assert moved.exit_code != 0 and names(home)[-1] == "old", "what was not copied is not deleted"
    synced = run("sync", home + "copy", "synced")
    assert synced.exit_code != 0 and "not below the folder that is synced" in synced.stderr
    assert said("sync", home + "copy/", "synced") == ""
    assert files("synced") == {"cfg": b"below"}


def test_errors_are_lines_above_the_bar_on_a_terminal(home: str, urls: tuple[str, str]) -> None:
    """They were written into the line of the bar, which was drawn again below it."""
    make(f__a=b"a" * 10, f__b=b"b" * 10)
    with AmbryClient.from_env() as client:
        client.create_container("default", "small", quota_bytes=5)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "ambry.cli.main", "cp", "-r", "f", "ambry://default/small/", "--parallel", "1"]
    done = subprocess.run(command, stderr=slave, timeout=120, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    told = os.read(master, 1 << 16).decode()
    os.close(master)
    assert done.returncode != 0 and "0 of 2 files" in told
    assert told.count("ambry: f/") == 2 and len(re.findall(r"(?:\n|\r|\x1b\[2K)ambry: f/", told)) == 2, told


def test_a_dry_run_and_json_tell_each_step(home: str) -> None:
    make(a=b"abc")
    assert said("cp", "a", home, "--dry-run") == f"copy  a  ->  {home}a\n" and names(home) == []
    told = json.loads(said("cp", "a", home, "--json"))
    assert (told["action"], told["source"], told["target"], told["size"]) == ("copied", "a", home + "a", 3)


@pytest.mark.parametrize(
    "args", [["a"], ["a", "b"], ["a", "ID"], ["ambry://default/default/x", "ambry://default/default/*"]]
)
def test_what_cannot_be_meant_is_a_usage_error(home: str, args: list[str]) -> None:
    make(a=b"a")
    blob = said("put", "a").strip()
    assert run("cp", *(blob if arg == "ID" else arg for arg in args)).exit_code == 2


def test_a_name_is_not_copied_to_itself(home: str, urls: tuple[str, str]) -> None:
    """It became another blob, which lived two seconds less."""
    make(a=b"a")
    said("cp", "a", home + "a")
    blob = said("name", "resolve", home + "a")
    for command in (["cp", home + "a", home + "a"], ["cp", home + "*", home], ["mv", home + "a", home]):
        done = run(*command)
        assert done.exit_code == 2 and f"{home}a is the source and the target" in done.stderr
    assert said("name", "resolve", home + "a") == blob
    said("cp", home + "a", home + "a", "--to-endpoint", urls[1])


def test_a_file_that_is_not_there_says_how_a_name_is_written(home: str) -> None:
    done = run("cp", "team/fraud", home + "x")
    assert done.exit_code == 1 and "a name of a store is written ambry://" in done.stderr


def test_an_interrupt_ends_it_and_leaves_no_half_file(home: str) -> None:
    make(big=content(4, 3_000_000))
    said("cp", "big", home + "big")
    os.mkfifo("pipe")
    command = subprocess.Popen(
        [sys.executable, "-m", "ambry.cli.main", "cp", home + "big", "pipe"], stderr=subprocess.PIPE
    )
    with Path("pipe").open("rb") as reader:
        reader.read(10)
        command.send_signal(2)
        _, errors = command.communicate(timeout=60)
    assert command.returncode == 130 and b"Traceback" not in errors


def test_what_is_tried_again_counts_once_where_both_sides_are_one_client(home: str) -> None:
    with AmbryClient.from_env() as client:
        told: list[AmbryError] = []
        client.on_retry = said_before = lambda error, delay_s, waited_s: told.append(error)
        counted: list[int] = []

        def during(step: Any, info: Any) -> None:
            if client.on_retry is not None:
                client.on_retry(Unavailable("busy"), 0.1, 0.1)

        client.put(b"x", name=f"{home}x")
        step = AcrossStep(client.resolve(f"{home}x"), "x", 1, NameRef(f"{home.removeprefix(ROOT)}y"))
        mover = Mover(reading=client, writing=client, quiet=True, after=during)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Display, "retried", lambda self: counted.append(1))
            assert mover.run([step]) == 0
        assert len(counted) == len(told) == 1 and client.on_retry is said_before
