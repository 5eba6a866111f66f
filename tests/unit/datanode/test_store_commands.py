"""`ambry store`: tables, JSON, exit codes."""

from __future__ import annotations

import json
import os
import shutil
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
    assert len(run("dump", at, "--segment", "1", "--output", "json").stdout.splitlines()) == 2
    # It said 9223372036854775807, and False.
    last = run("dump", at).stdout.splitlines()[-1].split()
    assert last[8:10] == ["no", "never"]


def test_a_mistake_in_what_is_looked_at_is_told(place: Path) -> None:
    """A segment that is not there was an empty table, and of a node's data directory it was said what it lacks."""
    other = run("dump", str(place), "--segment", "2")
    assert (other.exit_code, "has no segment 2; it has 1" in other.stderr) == (1, True)
    place.rename(place.with_name("partition-00000007"))
    above = run("verify", str(place.parent))
    assert above.exit_code == 1
    assert f"it holds some, name one of them: {place.parent}/partition-00000007" in above.stderr


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


def test_what_was_set_aside_is_listed_and_dropped_by_name(place: Path) -> None:
    (place / "quarantine").mkdir()
    (place / "quarantine" / "00000001.segment.99").write_bytes(b"torn")
    (place / "set-aside").mkdir()
    (place / "set-aside" / "index.1").write_bytes(b"12")
    assert "every bit is right" in run("verify", str(place)).stdout
    assert "from 99 on, cut off at a start" in run("verify", str(place)).stdout
    told = json.loads(run("verify", str(place), "--output", "json").stdout)
    assert told["ok"] is True
    assert [(item["name"], item["size_bytes"]) for item in told["set_aside"]] == [
        ("quarantine/00000001.segment.99", 4),
        ("set-aside/index.1", 2),
    ]
    refused = run("drop", str(place), "set-aside/index.1", "00000001.segment")
    assert refused.exit_code == 1
    assert "nothing of" in refused.stderr and "00000001.segment;" in refused.stderr
    assert len(json.loads(run("verify", str(place), "--output", "json").stdout)["set_aside"]) == 2
    dropped = run("drop", str(place), "set-aside/index.1", "quarantine/00000001.segment.99")
    assert dropped.exit_code == 0, dropped.stderr
    assert dropped.stdout.count("dropped ") == 2
    assert json.loads(run("verify", str(place), "--output", "json").stdout)["set_aside"] == []
    assert json.loads(run("inspect", str(place), "--output", "json").stdout)["entries"] == 2


def test_a_whole_replica_is_dropped_only_when_its_successor_has_caught_up_or_on_request(place: Path) -> None:
    old = place.with_name("r.set-aside-aa")
    old.mkdir()
    (old / "00000001.segment").write_bytes(bytes(10))
    refused = run("drop", str(place), old.name)
    assert refused.exit_code == 1
    assert "may be the only copy" in refused.stderr and refused.stderr.count("\n") == 1
    assert old.exists()
    assert run("drop", "--although-only-copy", str(place), old.name).exit_code == 0
    assert not old.exists()
    old.mkdir()
    store = open_replica(OsFiles(), place)
    store.serving = True
    stop_cleanly(store)
    assert run("drop", str(place), old.name).exit_code == 0
    assert not old.exists()


def test_what_is_no_file_of_the_replica_is_named_and_keeps_nobody_from_looking(place: Path) -> None:
    """A directory with the name of a segment ended every command with "Is a directory"."""
    (place / "00000009.segment").mkdir()
    os.mkfifo(place / "00000008.segment")
    told = json.loads(run("verify", str(place), "--output", "json").stdout)
    assert [(problem["file"], problem["what"][:14]) for problem in told["problems"]] == [
        ("00000008.segment", "not what the r"),
        ("00000009.segment", "not what the r"),
    ]
    assert run("verify", str(place)).exit_code == 1
    assert run("inspect", str(place)).exit_code == 0
    assert len(run("dump", str(place), "--output", "json").stdout.splitlines()) == 2
    assert run("rebuild-index", str(place)).exit_code == 0
    told = json.loads(run("verify", str(place), "--output", "json").stdout)
    assert told["ok"] is True
    assert [item["name"] for item in told["set_aside"]] == [
        "set-aside/00000008.segment.1",
        "set-aside/00000009.segment.1",
    ]
    shutil.rmtree(place / "index")
    (place / "index").mkdir()
    (place / "index" / "data.mdb").mkdir()
    told = json.loads(run("verify", str(place), "--output", "json").stdout)
    assert {problem["file"] for problem in told["problems"]} == {"index/data.mdb", "index"}


def test_a_lock_that_is_a_directory_is_said_with_what_to_do(place: Path) -> None:
    (place / "lock").unlink()
    (place / "lock").mkdir()
    refused = run("verify", str(place))
    assert refused.exit_code == 1
    assert "lock is a directory; `rebuild-index`" in refused.stderr and refused.stderr.count("\n") == 1
    assert run("rebuild-index", str(place)).exit_code == 0
    assert run("verify", str(place)).exit_code == 0
