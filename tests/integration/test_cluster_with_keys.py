"""`ambry cluster up` as a stranger uses it: a cluster that asks for keys, and commands that have one by themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from ambry import AmbryClient, Unauthenticated
from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.ports import port_range


class Machine:
    """A user's directory and environment, with a cluster in it."""

    def __init__(self, home: Path, port_base: int) -> None:
        self.home = home
        self.directory = home / "cluster"
        self.url = f"http://127.0.0.1:{port_base + 100}"
        self._up = ["cluster", "up", "--dir", "cluster", "--detach", "--datacenters", "1", "--nodes", "1"]
        self._up += ["--partitions", "1", "--port-base", str(port_base)]
        self.env = {**os.environ, "XDG_CONFIG_HOME": str(home / "config"), "PYTHONPATH": str(Path.cwd())}

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ambry.cli.main", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.home, env=self.env)

    def up(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run(*self._up, *more)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with port_range() as port_base:
        made = Machine(tmp_path_factory.mktemp("home"), port_base)
        try:
            up = made.up()
            assert up.returncode == 0, up.stderr
            made.home.joinpath("said").write_text(up.stdout)
            yield made
        finally:
            LocalCluster(made.directory).down()


def test_commands_and_the_client_find_the_key_by_themselves(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(11, 100_000)
    machine.home.joinpath("file").write_bytes(data)
    put = machine.run("put", "file")
    assert put.returncode == 0, put.stderr
    blob = put.stdout.strip()
    assert machine.run("head", blob, "--json").returncode == 0
    monkeypatch.setenv("XDG_CONFIG_HOME", machine.env["XDG_CONFIG_HOME"])
    with AmbryClient.from_env() as client:
        assert client.get_bytes(blob) == data
    with AmbryClient(machine.url) as nobody, pytest.raises(Unauthenticated, match="this takes a key"):
        nobody.get_bytes(blob)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_up_says_to_try_works_as_it_stands(machine: Machine) -> None:
    said = machine.home.joinpath("said").read_text()
    curl = next(line for line in said.splitlines() if "curl" in line).split("curl ")[1]
    machine.home.joinpath("FILE").write_text("bytes")
    done = subprocess.run(
        f"curl -sS -o /dev/null -w '%{{http_code}}' {curl}",
        shell=True,
        capture_output=True,
        text=True,
        cwd=machine.home,
    )
    assert (done.stdout, done.stderr) == ("201", "")
    assert "profile local" in said and str(machine.directory / "admin.key") in said and "ambry_" not in said


def test_files_with_secrets_are_their_owners_alone_and_no_process_shows_one(machine: Machine) -> None:
    for name in ("admin.key", "admin.header", "access.secret", "profile.toml"):
        assert machine.directory.joinpath(name).stat().st_mode & 0o777 == 0o600, name
    secrets = [machine.directory.joinpath(name).read_text().strip() for name in ("admin.key", "access.secret")]
    cluster = LocalCluster(machine.directory)
    for member in cluster.members:
        pid = cluster.pid(member.name)
        shown = [Path(f"/proc/{pid}/{name}").read_text() for name in ("cmdline", "environ")]
        shown += [member.config.read_text(), member.log.read_text(), json.dumps(cluster.describe().pids())]
        assert not any(secret.split("_", 2)[-1] in text for secret in secrets for text in shown)


def test_a_web_request_without_a_key_learns_nothing(machine: Machine) -> None:
    for path in ("/accounts", "/keys", "/AAAA", "/peers", "/named/a/b/c"):
        with pytest.raises(HTTPError) as told:
            urllib.request.urlopen(machine.url + path)
        assert told.value.code == 401 and told.value.headers["WWW-Authenticate"].startswith("Bearer")
        told.value.close()


def test_a_second_up_changes_neither_keys_nor_profile_and_no_auth_is_refused(machine: Machine) -> None:
    files = [
        machine.directory / "admin.key",
        machine.directory / "access.secret",
        machine.home / "config/ambry/config.toml",
    ]
    before = [path.read_bytes() for path in files]
    assert machine.up().returncode == 0
    assert [path.read_bytes() for path in files] == before
    refused = machine.up("--no-auth")
    assert refused.returncode == 1 and "keys, not --no-auth" in refused.stderr
