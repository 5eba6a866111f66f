"""Who changes an authority's directory does so alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec

from deploy import directory_lock
from deploy.certs_commands import certs, issue
from deploy.directory_lock import locked
from deploy.local_tls import LocalTls
from tests.support.eventually import GIVE_UP_S
from tests.support.node_certificates import authority


def test_two_certificates_that_are_issued_at_once_are_both_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read what had been issued, and each wrote that with its own behind it: the second left out the first."""
    made = authority(tmp_path)
    make_key, sleep = ec.generate_private_key, time.sleep
    reading, go_on = threading.Event(), threading.Event()

    def first_waits(*arguments: Any) -> Any:
        if not reading.is_set():  # the first has read what was issued; the other comes before it goes on
            reading.set()
            assert go_on.wait(GIVE_UP_S)
        return make_key(*arguments)

    def has_to_wait(seconds: float) -> None:
        go_on.set()
        sleep(seconds)

    monkeypatch.setattr(ec, "generate_private_key", first_waits)
    monkeypatch.setattr(time, "sleep", has_to_wait)

    def issues(name: str, done: threading.Event | None = None) -> None:
        assert issue.callback is not None
        issue.callback(directory=tmp_path, role="datanode", name=name, hosts=(), days=30, output="text")
        if done is not None:
            done.set()

    first = threading.Thread(target=issues, args=("n1",))
    first.start()
    assert reading.wait(GIVE_UP_S)
    second = threading.Thread(target=issues, args=("n2", go_on))
    second.start()
    for each in (first, second):
        each.join(GIVE_UP_S)
        assert not each.is_alive()
    assert [each.name for each in made.issued()] == ["datanode-n1", "datanode-n2"]
    made.revoke("datanode-n1")
    assert len(made.issued_file.read_bytes().split(b"BEGIN")) == 3


@pytest.mark.parametrize(
    "command",
    [
        ["issue", "datanode", "n1"],
        ["rotate"],
        ["rotate", "--authority"],
        ["retire"],
        ["revoke", "front"],
        ["init", "--cluster", "c"],
        ["list"],
    ],
)
def test_a_command_waits_so_long_for_another_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    made = authority(tmp_path)
    made.issue("front", identity=None, hosts=["a"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(directory_lock, "WAIT_S", 0.0)
    arguments = [command[0], "--dir", str(tmp_path), *command[1:]]
    with locked(tmp_path):
        told = CliRunner().invoke(certs, arguments)
        assert told.exit_code == 1 and f"cannot use {tmp_path}: another command" in told.output, told.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with locked(tmp_path, reads=True):
        told = CliRunner().invoke(certs, arguments)
        assert ("another command" in told.output) == (command != ["list"]), told.output


def test_a_local_cluster_waits_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_lock, "WAIT_S", 0.0)
    tls = LocalTls(tmp_path)
    tls.prepare("c", ())
    before = tls.authority_file.read_bytes()
    with locked(tls.directory), pytest.raises(TimeoutError, match="another command"):
        tls.prepare("c", ())
    tls.prepare("c", ())
    assert tls.authority_file.read_bytes() == before


def test_where_there_is_no_directory_nothing_is_locked_and_nothing_made(tmp_path: Path) -> None:
    told = CliRunner().invoke(certs, ["retire", "--dir", str(tmp_path / "none")])
    assert told.exit_code == 1 and "ambry certs init" in told.output
    assert not (tmp_path / "none").exists()
