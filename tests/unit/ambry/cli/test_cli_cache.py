"""`ambry cache`: what is kept on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambry.cli.main import cli
from ambry.clock import SystemClock
from tests.support.stub_frontend import StubFrontend


@pytest.fixture
def stub() -> Iterator[StubFrontend]:
    with StubFrontend() as running:
        yield running


class Shell:
    """Commands of one user."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        self.directory = directory
        self._env = {"AMBRY_CACHE_DIR": str(directory), "AMBRY_ENDPOINTS": endpoint}

    def run(self, *arguments: str, **env: str) -> Result:
        return CliRunner().invoke(cli, ["cache", *arguments], prog_name="ambry", env={**self._env, **env})


@pytest.fixture
def shell(tmp_path: Path, stub: StubFrontend) -> Shell:
    return Shell(tmp_path / "cache", stub.url)


def used_long_ago(path: Path, seconds: int) -> None:
    then = SystemClock().wall_ms() * 1_000_000 - seconds * 10**9
    os.utime(path, ns=(then, then))


def test_a_blob_is_fetched_and_its_path_printed(stub: StubFrontend, shell: Shell) -> None:
    blob = stub.add(b"hello")
    first = shell.run("get", blob, "-q")
    assert first.exit_code == 0, first.output
    assert Path(first.stdout.strip()).read_bytes() == b"hello"
    stub.requests.clear()
    assert shell.run("get", blob, AMBRY_OFFLINE="1").stdout == first.stdout
    assert stub.requests == []
    missed = shell.run("get", stub.add(b"other"), AMBRY_OFFLINE="1")
    assert missed.exit_code == 1 and "is offline" in missed.stderr
    assert shell.run("dir").stdout == f"{shell.directory}\n"


def test_what_is_kept_is_listed_with_what_was_used_last_first(stub: StubFrontend, shell: Shell) -> None:
    assert shell.run("ls").exit_code == 0
    old, new = stub.add(b"old"), stub.add(b"newer")
    for blob in (new, old):
        shell.run("get", blob)
    used_long_ago(shell.directory / "blobs" / old, 3600)
    found = [json.loads(line) for line in shell.run("ls", "--output", "json").stdout.splitlines()]
    assert [(each["id"], each["size"]) for each in found] == [(new, 5), (old, 3)]
    assert found[0]["path"] == str(shell.directory / "blobs" / new)
    table = shell.run("ls", AMBRY_CACHE_MAX="1M")
    assert "2 blobs, 8 of 1048576 bytes" in table.stderr and new in table.stdout


def test_what_changed_is_found_and_thrown_away(stub: StubFrontend, shell: Shell) -> None:
    good, bad = stub.add(b"good"), stub.add(b"bad!")
    for blob in (good, bad):
        shell.run("get", blob)
    assert shell.run("verify").exit_code == 0
    path = shell.directory / "blobs" / bad
    path.chmod(0o600)
    path.write_bytes(b"evil")
    kept = shell.run("verify", "--keep")
    assert kept.exit_code == 6 and path.exists() and "is not what it was" in kept.stderr
    assert shell.run("verify", good).exit_code == 0
    assert shell.run("verify", bad).exit_code == 6 and not path.exists()
    assert shell.run("verify").exit_code == 0
    assert shell.run("verify", bad).exit_code == 3


def test_room_is_made(stub: StubFrontend, shell: Shell) -> None:
    blobs = [stub.add(bytes([number]) * 1000) for number in range(4)]
    for number, blob in enumerate(blobs):
        shell.run("get", blob)
        used_long_ago(shell.directory / "blobs" / blob, 1000 - number * 100)

    def left() -> set[str]:
        return {path.name for path in (shell.directory / "blobs").iterdir()}

    assert shell.run("prune").exit_code == 0 and left() == set(blobs)
    gone = shell.run("prune", "--unused", "950s", "--output", "json")
    assert [json.loads(line)["id"] for line in gone.stdout.splitlines()] == [blobs[0]]
    told = shell.run("prune", "--max", "2K")
    assert "1 blobs thrown away, 1000 bytes" in told.stderr and left() == set(blobs[2:])
    assert shell.run("prune", "--all").exit_code == 0 and left() == set()
    assert shell.run("prune", "--max", "much").exit_code == 2


def test_the_environment_or_a_profile_says_where_and_how_much(tmp_path: Path, shell: Shell) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[profiles.small]\ncache_dir = "here"\ncache_max = "5M"\n')
    said = {"AMBRY_CONFIG": str(config), "AMBRY_CACHE_DIR": ""}
    assert shell.run("dir", "--profile", "small", **said).stdout == f"{tmp_path / 'here'}\n"
    assert "of 5242880 bytes" in shell.run("ls", "--profile", "small", **said).stderr
    wrong = shell.run("ls", AMBRY_CACHE_MAX="much")
    assert wrong.exit_code == 2 and "AMBRY_..." in wrong.stderr and "is not a size" in wrong.stderr
    assert shell.run("dir", "--cache-dir", "/elsewhere").stdout == "/elsewhere\n"
