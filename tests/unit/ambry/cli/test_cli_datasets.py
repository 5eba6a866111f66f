"""`ambry dataset` and `ambry alias`, against a frontend with a metadata store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ambry.cli.main import cli

pytestmark = pytest.mark.usefixtures("here")


def run(*args: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, args, input=stdin, prog_name="ambry")


def said(*args: str, stdin: bytes | None = None) -> str:
    done = run(*args, stdin=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*args: str) -> Any:
    return json.loads(said(*args, "--json"))


def refused(code: int, says: str, *args: str) -> None:
    """It fails in one line, with the request's id where a server said it."""
    done = run(*args, stdin=b"x")
    assert (done.exit_code, done.stdout) == (code, "") and done.stderr.count("\n") == 1, done.output
    assert says in done.stderr and "x-ambry" not in done.stderr


def test_a_model_is_published_promoted_and_rolled_back(here: Path) -> None:
    (here / "model.bin").write_bytes(b"1.2.9")
    said("dataset", "create", "fraud-model", "-q")
    assert said("dataset", "put", "fraud-model", "model.bin", "--version", "1.2.9", "--meta", "auc=0.96") == "1.2.9\n"
    (here / "model.bin").write_bytes(b"1.3.0")
    assert said("dataset", "put", "fraud-model", "model.bin", "--version", "MINOR") == "1.3.0\n"
    said("alias", "set", "fraud-model", "champion", "1.2.9", "--expect", "none", "-q")
    moved = told("alias", "set", "fraud-model", "champion", "1.3.0", "--who", "ann", "--why", "better on the holdout")
    assert (moved["version"], moved["who"], moved["why"]) == ("1.3.0", "ann", "better on the holdout")
    said("dataset", "get", "fraud-model", "@champion", "-o", "champion.bin", "-q")
    assert (here / "champion.bin").read_bytes() == b"1.3.0"
    assert said("dataset", "get", "fraud-model", "1.2.9", "-o", "-") == "1.2.9"
    assert told("alias", "rollback", "fraud-model", "champion", "--why", "false alarms")["version"] == "1.2.9"
    history = said("alias", "history", "fraud-model", "champion").splitlines()
    assert [line.split()[0] for line in history] == ["VERSION", "1.2.9", "1.3.0", "1.2.9"]
    assert history[1].endswith("champion  false alarms") and " ann " in history[2]
    assert told("dataset", "head", "fraud-model", "@champion")["metadata"] == {"auc": "0.96"}
    assert said("dataset", "show", "fraud-model").splitlines()[-1].split()[0] == "1.2.9"
    assert told("dataset", "show", "fraud-model")["aliases"] == {"champion": "1.2.9"}
    assert told("alias", "show", "fraud-model", "champion") == told("alias", "ls", "fraud-model")
    assert [line.split()[-1] for line in said("dataset", "versions", "fraud-model").splitlines()] == [
        "VERSION",
        "1.2.9",
        "1.3.0",
    ]

    refused(1, "points to 1.2.9", "alias", "set", "fraud-model", "champion", "1.3.0", "--expect", "1.3.0")
    refused(1, "champion points to 1.2.9", "dataset", "rm", "fraud-model", "1.2.9")
    refused(1, "1.3.0 is there, and a version is never", "dataset", "put", "fraud-model", "-", "--version", "1.3.0")
    refused(3, "no alias 'chmpion'", "dataset", "get", "fraud-model", "@chmpion", "-o", "x")
    refused(3, "never had an alias", "alias", "rollback", "fraud-model", "chmpion")
    refused(2, "and not 'seven'", "dataset", "get", "fraud-model", "seven", "-o", "x")
    refused(3, "no dataset 'fruad'", "dataset", "put", "fruad", "-")
    refused(2, "by its number", "alias", "set", "fraud-model", "champion", "LATEST")
    refused(1, "has versions", "dataset", "rm", "fraud-model")
    said("alias", "rm", "fraud-model", "champion")
    refused(4, "was deleted", "alias", "show", "fraud-model", "champion")
    said("dataset", "rm", "fraud-model", "1.2.9", "1.3.0")
    refused(4, "was deleted", "dataset", "head", "fraud-model", "1.3.0")
    said("dataset", "rm", "fraud-model")


def test_a_dataset_says_what_holds_for_it() -> None:
    made = told("dataset", "create", "features", "--schema", "monotonic", "--keep", "3", "--tag", "team=risk")
    assert (made["schema"], made["keep"], made["keep_for_seconds"], made["tags"]) == (
        "MONOTONIC",
        3,
        None,
        {"team": "risk"},
    )
    refused(1, "already", "dataset", "create", "features")
    changed = told("dataset", "retention", "features", "--keep", "all", "--keep-for", "90d")
    assert (changed["keep"], changed["keep_for_seconds"], changed["tags"]) == (None, 90 * 86_400, {"team": "risk"})
    assert told("dataset", "retention", "features") == changed
    assert told("dataset", "tag", "features", "a=b")["tags"] == {"a": "b", "team": "risk"}
    assert told("dataset", "tag", "features", "c=d", "--clear")["tags"] == {"c": "d"}
    assert told("dataset", "tag", "features")["tags"] == {"c": "d"}
    assert said("dataset", "ls").splitlines()[1].split() == ["MONOTONIC", "all", "90d", "features"]
    assert said("dataset", "put", "features", "-", "--output", "id", stdin=b"x").strip() != "1"
    assert said("dataset", "put", "features", "-", stdin=b"x") == "2\n"
    assert said("dataset", "ls", "--account", "ml", "--container", "models") == "SCHEMA  KEEP  KEEP FOR  NAME\n"
    for wrong in (("--keep", "0"), ("--keep", "many"), ("--keep-for", "long")):
        assert run("dataset", "retention", "features", *wrong).exit_code == 2
    assert run("dataset", "rm", "-f", "never").exit_code == 0 and run("dataset", "rm", "never").exit_code == 3
