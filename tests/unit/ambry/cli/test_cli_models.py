"""`ambry model`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

from tests.support.whole_commands import run, said, told

pytestmark = pytest.mark.usefixtures("here")

_numbers = count()


@pytest.fixture
def name(here: Path) -> str:
    (here / "model").mkdir()
    (here / "model/weights.bin").write_bytes(b"weights")
    (here / "model/config.json").write_text("{}")
    return f"fraud-{next(_numbers)}"


def test_a_model_is_published_promoted_fetched_and_rolled_back(here: Path, name: str) -> None:
    assert said("model", "publish", name, "model", "--metric", "auc=0.9", "--code", "git:1") == "1.0.0\n"
    (here / "model/weights.bin").write_bytes(b"better weights")
    second = told("model", "publish", name, "model", "--metric", "auc=0.95", "--parent", name, "--note", "größer",
        "--framework", "torch=2.13.0", "--framework", "numpy=2.4")  # fmt: skip
    assert second["version"] == "1.1.0" and len(second["sha256"]) == 64
    said("model", "promote", f"{name}@1.0.0", "--expect", "none", "-q")
    moved = told("model", "promote", f"{name}@1.1.0", "--who", "ann", "--why", "better on the holdout")
    assert (moved["version"], moved["who"]) == ("1.1.0", "ann")
    again = run("model", "promote", name, "--newest", "--why", "once more", "--json")
    assert json.loads(again.stdout) == moved and "points to 1.1.0 already" in again.stderr
    shown = told("model", "show", f"{name}@champion")
    assert (shown["model"], shown["parts"]) == (f"{name}@1.1.0", {"config.json": 2, "weights.bin": 14})
    assert shown["framework"] == {"numpy": "2.4", "torch": "2.13.0"}
    assert (shown["metrics"], shown["parent"], shown["note"]) == ({"auc": 0.95}, f"{name}@1.0.0", "größer")
    said("model", "get", f"{name}@champion", "-o", "serving")
    assert (here / "serving/weights.bin").read_bytes() == b"better weights"
    said("model", "get", f"{name}@champion", "-o", "serving")
    (here / "serving/config.json").unlink()
    done = run("model", "get", f"{name}@1.0.0", "-o", "serving")
    assert done.exit_code == 1 and (here / "serving/weights.bin").read_bytes() == b"better weights"
    assert "there already, with other bytes; move it away" in done.stderr and "--overwrite" not in done.stderr
    assert not (here / "serving/config.json").exists()
    assert told("model", "rollback", name, "--why", "false alarms")["version"] == "1.0.0"
    assert [line.split()[0] for line in said("model", "history", name).splitlines()[1:]] == ["1.0.0", "1.1.0", "1.0.0"]
    assert [line.split()[2:] for line in said("model", "ls", name).splitlines()] == [
        ["ALIASES", "auc"],
        ["champion", "0.9"],
        ["0.95"],
    ]
    lines = [json.loads(line) for line in said("model", "lineage", name, "--json").splitlines()]
    assert [(line["model"], line["code"]) for line in lines] == [(f"{name}@1.1.0", ""), (f"{name}@1.0.0", "git:1")]


def test_an_older_version_is_named_by_its_digest(here: Path, name: str) -> None:
    """It was compared with the newest one, and refused."""
    first = told("model", "publish", name, "model")
    (here / "model/config.json").write_text('{"a": 1}')
    said("model", "publish", name, "model")
    place = f"{name}@sha256:{first['sha256']}"
    assert told("model", "show", place)["model"] == f"{name}@1.0.0"
    assert told("model", "promote", place)["version"] == "1.0.0"
    gone = run("model", "show", f"{name}@sha256:{'0' * 64}")
    assert gone.exit_code == 3 and f"none of the 2 versions of {name} has the SHA-256 0" in gone.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["{}"], "say --newest"),
        (["{}@1.0.0", "--newest"], "leave out --newest"),
        (["{}@champion", "--newest"], "already"),
    ],
)
def test_nothing_is_promoted_that_nobody_named(name: str, args: list[str], words: str) -> None:
    """`ambry model promote NAME` let whatever was newest serve, without a word."""
    said("model", "publish", name, "model")
    done = run("model", "promote", *(arg.format(name) for arg in args))
    assert done.exit_code == 2 and words in done.stderr, done.output
    assert run("model", "history", name).exit_code == 3


def test_what_is_published_once_is_not_published_again(here: Path, name: str) -> None:
    assert [said("model", "publish", name, "model", "--once") for _ in range(2)] == ["1.0.0\n", "1.0.0\n"]
    assert "version 1.0.0 is this very model; no other one" in run("model", "publish", name, "model", "--once").stderr
    again = run("model", "publish", name, "model")
    assert (again.stdout, again.exit_code) == ("1.1.0\n", 0)
    assert "version 1.0.0 is this very model too; --once gives that one" in again.stderr


def test_a_model_that_runs_code_says_so(here: Path, name: str) -> None:
    (here / "m.pkl").write_bytes(b"x")
    done = run("model", "publish", name, "m.pkl")
    assert (done.exit_code, done.stdout) == (0, "1.0.0\n")
    assert "loaded with trust alone (trust=True, --trust): a pickle runs code" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--metric", "auc=high"], "'high' is not a number"),
        (["--metric", "auc=nan"], "finite number"),
        (["--kind", "magic"], "a model is safetensors"),
        (["--feature", "age"], "is not the URN of a feature"),
    ],
)
def test_what_is_not_right_is_told_and_nothing_is_published(name: str, args: list[str], words: str) -> None:
    done = run("model", "publish", name, "model", *args)
    assert (done.exit_code, done.stdout) == (2, "") and words in done.stderr
    assert run("model", "ls", name).exit_code == 3


def test_what_is_not_there_is_told(name: str) -> None:
    assert run("model", "show", name).exit_code == 3
    assert run("model", "publish", name, "model", "--parent", "none").exit_code == 3
    assert run("model", "promote", f"{name}@1.0.0").exit_code == 3


def test_models_of_the_container_are_listed(here: Path, name: str) -> None:
    made = told("model", "publish", name, "model")
    done = said("model", "ls", "--json")
    assert {"model": name, "version": "1.0.0", "id": made["id"]}.items() <= next(
        each for each in map(json.loads, done.splitlines()) if each["model"] == name
    ).items()
    assert name in said("model", "ls")
