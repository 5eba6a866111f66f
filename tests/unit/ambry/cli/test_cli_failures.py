"""Errors: a line for people, JSON for programs, an exit code for shells."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ambry import Unavailable
from ambry.cli.failures import describe
from ambry.cli.main import cli
from tests.support.stub_frontend import StubFrontend
from tests.support.whole_commands import run
from tools.man_page import commands_of


def test_where_json_is_asked_for_an_error_is_json_too(stub: StubFrontend) -> None:
    blob = stub.add(b"x")
    del stub.blobs[blob]
    for said in (["--json"], ["--output", "json"], ["--output=json"]):
        done = run("stat", blob, *said)
        told = json.loads(done.stderr)
        assert done.exit_code == told["exit_code"] == 3
        assert (told["error"], told["status"], told["retryable"]) == ("BlobNotFound", 404, False)
        assert told["endpoint"] == stub.url and told["request_id"] and blob in told["message"]
    plain = run("stat", blob)
    assert plain.stderr.startswith("ambry: ")
    assert json.loads(run("put", "--json", "a", "b").stderr.splitlines()[0])["subject"] == "a"


def test_a_usage_error_is_json_as_well(stub: StubFrontend) -> None:
    done = run("stat", "--json")
    assert json.loads(done.stderr) == {
        "error": "MissingParameter",
        "message": "Missing argument 'BLOB...'.",
        "exit_code": 2,
    }
    assert json.loads(run("stat", "--json", "--nonsense").stderr)["exit_code"] == 2
    assert run("stat", "--", "--json").stderr.startswith("ambry: "), "that is a name"


def test_what_was_done_is_json(stub: StubFrontend, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"bytes")
    blob = json.loads(run("put", "f", "--json").stdout)["id"]
    assert json.loads(run("get", blob, "-o", "g", "--json").stdout) == {"file": "g", "id": blob, "size": 5}
    assert json.loads(run("rm", blob, "--json").stdout) == {"action": "deleted", "blob": blob}
    assert json.loads(run("undelete", blob, "--json").stdout) == {"action": "undeleted", "blob": blob}


def test_every_command_has_json() -> None:
    """`ambry cat`, `cluster up`, `meta dump` and others had none, also for their errors."""
    lacking = [path for path, command in commands_of(cli, "ambry") if not has_json(command)]
    assert lacking == []


def has_json(command: click.Command) -> bool:
    return any("--json" in parameter.opts for parameter in command.params)


def test_what_prints_bytes_or_nothing_has_errors_in_json(stub: StubFrontend) -> None:
    blob = stub.add(b"bytes")
    assert run("cat", blob, "--json").stdout == "bytes"
    del stub.blobs[blob]
    for command in (["cat", blob], ["tail", "-c", "1", blob], ["open", blob], ["cache", "get", blob]):
        assert json.loads(run(*command, "--json").stderr)["exit_code"] == 3, command
    assert json.loads(run("cluster", "down", "--dir", "nowhere", "--json").stderr)["exit_code"] == 1


def test_json_and_output_json_are_one(stub: StubFrontend) -> None:
    """`ambry doctor --json` was no option."""
    said = [run("doctor", *how, "--dir", "nowhere") for how in (["--json"], ["--output", "json"])]
    assert said[0].output == said[1].output


def test_no_error_tells_what_opens_a_url_that_was_given(stub: StubFrontend) -> None:
    """click told it whole as a file that is not there, and JSON as the subject."""
    url = "https://u:WORD@store/x.parquet?sig=WORD#WORD"
    for command in (
        ["stat", url],
        ["put", url],
        ["model", "put", "m", url],
        ["cache", "get", url],
        ["ls", "a", url, "b"],
    ):
        for how in ([], ["--json"]):
            done = run(*command, *how)
            assert done.exit_code and "WORD" not in done.output + done.stderr, (command, done.stderr)
    assert describe(OSError(2, "gone", url)) == "https://store/x.parquet: gone"
    assert describe(Unavailable(f"no {url}")) == "no https://store/x.parquet"


def test_nothing_that_an_error_says_controls_the_terminal() -> None:
    for error in (Unavailable("a\x1b]0;x\x07\u202eb"), OSError(5, "a\u009b31mb"), ValueError("a\x1b[31mb")):
        assert describe(error).isprintable()
