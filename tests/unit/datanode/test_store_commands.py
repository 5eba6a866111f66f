"""`ambry store`: tables, JSON, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambry.cli.main import cli
from datanode.store.files import OsFiles
from datanode.store.inspection import locked
from tests.support.samples import append, blob_id, content, open_replica, put_record, stop_cleanly


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "r"
    store = open_replica(OsFiles(), directory)
    for number in (1, 2):
        append(store, put_record(blob_id(number), content(number, 1000)))
    stop_cleanly(store)
    return directory


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["store", *args], prog_name="ambry")


def damage(place: Path) -> None:
    with (place / "00000001.segment").open("r+b") as stream:
        stream.seek(500)
        stream.write(b"rot")


def test_a_sound_replica(place: Path) -> None:
    at = str(place)
    for command in ("inspect", "verify", "dump"):
        assert run(command, at).exit_code == 0, command
    assert json.loads(run("inspect", at, "--output", "json").stdout)["entries"] == 2
    assert json.loads(run("verify", at, "--output", "json").stdout)["ok"] is True
    lines = [json.loads(line) for line in run("dump", at, "--output", "json").stdout.splitlines()]
    assert [line["payload_size"] for line in lines] == [1000, 1000]
    assert all(line["id"] in run("dump", at).stdout for line in lines)
    assert run("dump", at, "--segment", "2", "--output", "json").stdout == ""


def test_damage_is_exit_code_1(place: Path) -> None:
    damage(place)
    assert run("verify", str(place)).exit_code == 1
    told = run("verify", str(place), "--output", "json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["problems"][0]["file"] == "00000001.segment"
    done = subprocess.run(
        [sys.executable, "-m", "ambry.cli.main", "store", "verify", str(place)], capture_output=True, timeout=60
    )
    assert done.returncode == 1 and b"Traceback" not in done.stderr


def test_the_index_is_rebuilt(place: Path) -> None:
    (place / "index" / "data.mdb").write_bytes(b"rot" * 5000)
    assert run("verify", str(place)).exit_code == 1
    assert "2 records replayed" in run("rebuild-index", str(place)).stdout
    assert run("verify", str(place)).exit_code == 0


@pytest.mark.parametrize("command", ["inspect", "verify", "dump", "rebuild-index"])
def test_errors_are_one_clear_line(place: Path, tmp_path: Path, command: str) -> None:
    assert run(command, str(tmp_path / "none")).exit_code == 2
    with locked(OsFiles(), place):
        refused = run(command, str(place))
    assert refused.exit_code == 1 and "in use" in refused.stderr and refused.stderr.count("\n") == 1
    other = run(command, str(tmp_path))
    assert other.exit_code == 1 and "no replica" in other.stderr and other.stderr.count("\n") == 1
