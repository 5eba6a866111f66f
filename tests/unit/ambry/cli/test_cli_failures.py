"""Errors: a line for people, JSON for programs, an exit code for shells."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.testing import CliRunner, Result

from ambry.cli.main import CLIENT_COMMANDS, cli
from tests.support.stub_frontend import StubFrontend
from tools.man_page import commands_of


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args, prog_name="ambry")


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


PLAIN = {
    *("ambry cat", "ambry tail", "ambry open", "ambry completion", "ambry key new"),
    *("ambry cache dir", "ambry cache get", "ambry cache verify"),
}
"""What they print is content, for a file, or one path."""


def test_every_command_of_the_client_has_json() -> None:
    lacking = {
        path
        for path, command in commands_of(cli, "ambry")
        if path.split()[1] in CLIENT_COMMANDS and not has_json(command)
    }
    assert lacking == PLAIN


def has_json(command: click.Command) -> bool:
    return any(parameter.name == "as_json" for parameter in command.params)
