"""`ambry tree`, `du`, `find`, and those that read and remove, against a frontend with a metadata store."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import ambry
from ambry import AmbryClient
from ambry.cli.folders import FolderNode, lines_of, totals_of
from ambry.cli.main import cli
from tests.support.named_frontend import named_frontend
from tests.support.wrong_clocks import DAYS, set_wrong

PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(PATHS, st.integers(0, 9), max_size=12))
def test_sums_and_trees_tell_all_names_once(names: dict[str, int]) -> None:
    root = FolderNode()
    for path, size in names.items():
        root.add(path, size)
    assert (root.size, root.count) == (sum(names.values()), len(names))
    assert len([line for line in lines_of(root, None) if "(" in line]) == len(names)
    totals = totals_of(names.items(), 9)
    assert totals[""] == (root.size, root.count)
    for folder, (size, count) in totals.items():
        inside = [each for path, each in names.items() if path.startswith(folder)]
        assert (size, count) == (sum(inside), len(inside))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture(autouse=True)
def team(url: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with names of a test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("AMBRY_ENDPOINTS", url)
    monkeypatch.setenv("PYTHONPATH", str(Path(ambry.__file__).parents[1]))
    team = str(request.node.name).partition("[")[0]
    with AmbryClient.from_env() as client:
        for path, size in (("a/x.bin", 1_000), ("a/b/y.txt", 20), ("z.bin", 3), ("a/b/short", 5)):
            client.put(bytes(range(48, 58)) * (size // 10) + b"z" * (size % 10), name=f"{team}/{path}", ttl=86_400)
        client.put(b"", name=f"{team}-beside")
    return team


def run(*args: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, args, input=stdin, prog_name="ambry")


def said(*args: str) -> str:
    done = run(*args)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("command", ["tree", "du", "find"])
def test_a_folder_that_is_not_there_is_no_empty_one(team: str, command: str) -> None:
    """A folder that was misspelt was one with nothing in it, exit code 0."""
    for folder in (f"{team}-typo", f"{team}-typo/", f"ambry://default/default/{team}/a/typo"):
        done = run(command, folder)
        assert done.exit_code == 3 and "there is no name" in done.stderr, folder


def test_a_tree(team: str) -> None:
    assert said("tree", team).splitlines() == [
        team,
        "├── a/",
        "│   ├── b/",
        "│   │   ├── short  (5 bytes)",
        "│   │   └── y.txt  (20 bytes)",
        "│   └── x.bin  (1.0 kB)",
        "└── z.bin  (3 bytes)",
        "4 names, 1.0 kB",
    ]
    assert "├── a/  (3 names, 1.0 kB)" in said("tree", f"ambry://default/default/{team}/", "-L", "1")
    assert json.loads(said("tree", team, "--json"))["folders"]["a"]["size"] == 1_025


def test_sums_by_folder(team: str) -> None:
    assert [line.split() for line in said("du", team, "-d", "2").splitlines()] == [
        ["SIZE", "NAMES", "FOLDER"],
        ["1028", "4", "(all)"],
        ["1025", "3", "a/"],
        ["25", "2", "a/b/"],
    ]


AGES = [
    (["--newer", "1h", "--name", "z*"], ["z.bin"]),
    (["--older", "1h"], []),
    (["--expires-in", "2d", "--name", "short"], ["a/b/short"]),
    (["--expires-in", "2h"], []),
]


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--name", "*.bin"], ["a/x.bin", "z.bin"]),
        (["--name", "a/**"], ["a/b/short", "a/b/y.txt", "a/x.bin"]),
        (["--larger", "5", "--smaller", "1K"], ["a/b/y.txt", "a/x.bin"]),
        *AGES,
    ],
)
def test_find(team: str, args: list[str], found: list[str]) -> None:
    assert said("find", team, *args).split() == [f"{team}/{each}" for each in found]


@pytest.mark.parametrize("days", DAYS)
@pytest.mark.parametrize(("args", "found"), AGES)
def test_ages_are_by_the_time_of_the_store(
    team: str, monkeypatch: pytest.MonkeyPatch, args: list[str], found: list[str], days: int
) -> None:
    """What is found is what the next command deletes: with a clock days ahead, `--older 30d` found what is new."""
    set_wrong(monkeypatch, days)
    assert said("find", team, *args).split() == [f"{team}/{each}" for each in found]


def test_ids_can_be_piped_on(team: str) -> None:
    blobs = said("find", team, "--name", "*.bin", "--output", "id").split()
    assert blobs == [said("name", "resolve", f"{team}/{each}").strip() for each in ("a/x.bin", "z.bin")]
    assert said("ls", f"{team}/z", "--output", "id").strip() == blobs[1]
    assert said("stat", *blobs, "--output", "id").split() == blobs


def test_the_first_and_the_last_bytes(team: str) -> None:
    assert said("head", "-c", "5", f"{team}/a/x.bin") == "01234"
    assert said("tail", "-c", "3", f"{team}/a/x.bin", f"{team}/z.bin") == "789zzz"
    assert said("head", "-c", "9", f"{team}-beside") == said("tail", "-c", "1K", f"{team}-beside") == ""
    assert said("cat", f"{team}/z.bin", f"{team}/a/b/short") == "zzzzzzzz"
    assert "1000" in said("head", f"{team}/a/x.bin"), "without -c it shows what the blob is, as stat does"
    assert run("tail", f"{team}/z.bin").exit_code == 2
    assert said("head", "-c", "0", f"{team}/z.bin") == said("tail", "-c", "0", f"{team}/z.bin") == ""
    assert run("head", "-c", "0", f"{team}/none").exit_code == 3
    for command in (["cat"], ["head", "-c", "3"], ["tail", "-c", "3"]):
        done = run(*command, f"{team}/none", f"{team}/z.bin")
        assert (done.exit_code, done.stdout[:3]) == (3, "zzz"), "what fails keeps none of the others"
        assert done.stderr.startswith(f"ambry: {team}/none: ")
    done = run("stat", f"{team}/z.bin", f"{team}/none", f"{team}/a/x.bin", "--json")
    assert done.exit_code == 3 and len(done.stdout.splitlines()) == 2 and f"{team}/none" in done.stderr


def test_a_name_that_is_a_folder_too_is_told_with_it(team: str) -> None:
    with AmbryClient.from_env() as client:
        client.put(b"itself", name=f"{team}/a")
    tree = said("tree", f"{team}/a").splitlines()
    assert tree[0] == f"{team}/a  (6 bytes)" and tree[-1] == "4 names, 1.0 kB"
    assert json.loads(said("tree", f"{team}/a", "--json"))["itself"] == 6
    assert said("du", f"{team}/a", "-d", "0").split()[3:] == ["1031", "4", "(all)"]
    assert said("find", f"{team}/a", "--smaller", "7").split() == [f"{team}/a", f"{team}/a/b/short"]
    assert said("find", f"{team}/a", "--name", "a").split() == [f"{team}/a"]
    assert said("find", f"{team}/a/", "--smaller", "7").split() == [f"{team}/a/b/short"], "a slash means what is below"


def left(team: str) -> list[str]:
    return [each.removeprefix(team) for each in said("ls", team).split()]


def test_rm_r_asks_and_takes_what_is_below_a_name_alone(team: str) -> None:
    with AmbryClient.from_env() as client:
        client.put(b"", name=f"{team}/a")
    refused = run("rm", "-r", f"{team}/a")
    assert refused.exit_code == 2 and "--yes does it: delete 4 blobs" in refused.stderr
    assert len(said("rm", "-r", f"{team}/a", "--dry-run").splitlines()) == 4
    assert len(left(team)) == 6
    said("rm", "-r", f"{team}/a", "--yes")
    assert left(team) == ["-beside", "/z.bin"]
    assert run("rm", "-r", f"{team}/a", "--yes").exit_code == 3
    assert run("rm", "-rf", f"{team}/a").exit_code == 0
    assert run("rm", "-r", "ambry://default", "--yes").exit_code == 2
    assert left(team) == ["-beside", "/z.bin"]


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 0)])
def test_rm_r_asks_on_a_terminal(team: str, answer: bytes, code: int) -> None:
    master, slave = pty.openpty()
    os.write(master, answer)
    command = [sys.executable, "-m", "ambry.cli.main", "rm", "-r", f"{team}/a"]
    done = subprocess.run(command, stdin=slave, capture_output=True, text=True, timeout=60)
    os.close(master)
    os.close(slave)
    assert done.returncode == code and "delete 3 blobs (1.0 kB), with the names below" in done.stderr
    assert len(left(team)) == (2 if code == 0 else 5)
