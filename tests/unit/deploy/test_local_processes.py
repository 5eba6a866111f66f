"""Recognising, waiting for and describing processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import deploy
from deploy import local_processes
from deploy.local_layout import LocalClusterError
from deploy.local_processes import (
    Process,
    find,
    has_listener,
    how_it_ended,
    readiness,
    running,
    tail,
    taken,
    wait_until,
)
from tests.support.ports import free_ports

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has <tmp_path>/config.toml among its arguments."""
    config = tmp_path / "config.toml"
    with subprocess.Popen([sys.executable, "-c", SLEEP, "-m", "datanode", "--config", str(config)]) as child:
        assert wait_until(lambda: find(child.pid, config) is not None, 60.0)
        yield child
        child.kill()


def test_a_process_is_found_by_its_pid_and_its_whole_config_path(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert find(sleeper.pid, tmp_path / "config.toml") is not None
    # A pid that was used again: another program, or the process of a cluster in a directory with a similar name.
    assert find(sleeper.pid, tmp_path / "config") is None
    assert find(os.getpid(), tmp_path / "config.toml") is None
    assert find(2**22 + 1, tmp_path / "config.toml") is None


def test_who_only_has_a_config_file_open_is_no_process_of_the_cluster(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """An editor of it, started later, was taken for the server when cluster.json was damaged, and ended by `down`."""
    config = tmp_path / "config.toml"
    with subprocess.Popen([sys.executable, "-c", SLEEP, str(config)]) as editor:
        try:
            assert wait_until(lambda: find(editor.pid, config) is not None, 60.0)
            assert running([config, tmp_path / "other.toml"]) == {config: sleeper.pid}
        finally:
            editor.kill()


def test_who_looks_at_a_configuration_does_not_run_with_it(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """`ambry doctor --config FILE` took itself for the server, and said that this runs as root."""
    config = tmp_path / "config.toml"
    with subprocess.Popen([sys.executable, "-c", SLEEP, "doctor", "--config", str(config)]) as doctor:
        try:
            assert wait_until(lambda: find(doctor.pid, config) is not None, 60.0)
            assert running([config]) == {config: sleeper.pid}
            sleeper.kill()
            sleeper.wait()
            assert running([config]) == {}
        finally:
            doctor.kill()


def test_a_process_with_another_start_time_is_gone_and_gets_no_signal(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    found = find(sleeper.pid, tmp_path / "config.toml")
    assert found is not None
    earlier = Process(pid=found.pid, started_ticks=found.started_ticks - 1)

    earlier.send(signal.SIGKILL)

    assert not earlier.alive
    assert found.alive
    assert sleeper.poll() is None


def test_a_zombie_is_gone_before_anybody_reaps_it(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    found = find(sleeper.pid, tmp_path / "config.toml")
    assert found is not None

    found.send(signal.SIGKILL)

    assert wait_until(lambda: not found.alive, 60.0)
    assert find(sleeper.pid, tmp_path / "config.toml") is None
    assert sleeper.wait() == -signal.SIGKILL


def test_a_stopped_process_shows_it(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    found = find(sleeper.pid, tmp_path / "config.toml")
    assert found is not None
    found.send(signal.SIGSTOP)
    assert wait_until(lambda: found.state() == "T", 60.0)


def test_a_name_with_spaces_and_parentheses_does_not_confuse_the_reader_of_stat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = ["S", "1", *["0"] * 17, "4711", "0"]
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (odd) name) (x) {' '.join(fields)}\n")
    monkeypatch.setattr(local_processes, "PROC", tmp_path)

    assert Process(pid=7, started_ticks=4711).state() == "S"
    assert Process(pid=7, started_ticks=4712).state() is None


def test_a_process_in_the_middle_of_execve_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Once, a process that had just been started was reported dead: /proc/<pid>/cmdline is empty within execve.
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (python) {' '.join(['R', '1', *['0'] * 17, '4711'])}\n")
    (tmp_path / "7" / "cmdline").write_bytes(b"")
    monkeypatch.setattr(local_processes, "PROC", tmp_path)
    later = threading.Timer(0.05, (tmp_path / "7" / "cmdline").write_bytes, [b"python\0-m\0x\0--config\0/c.toml\0"])
    later.start()

    assert find(7, Path("/c.toml")) == Process(pid=7, started_ticks=4711)
    later.join()


def test_wait_until_asks_at_least_once_and_gives_up_in_time() -> None:
    answers = iter([True, *[False] * 1000])
    assert wait_until(lambda: next(answers), 0.0)
    assert not wait_until(lambda: next(answers), 0.02, 0.001)
    assert 1 < 1000 - len(list(answers)) <= 22


def test_a_port_with_a_listener_is_taken_and_free_again_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert taken([port]) == [port]
    assert taken([port]) == []
    assert readiness([f"http://127.0.0.1:{port}/readyz"]).detail.startswith(f"http://127.0.0.1:{port}/readyz: ")


def test_a_port_of_a_connection_is_taken_and_nobody_listens_there() -> None:
    """`cluster up` said that something else listened there, and `ss -ltnp` showed nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        own, there = client.getsockname()[1], listener.getsockname()[1]
        assert taken([own]) == [own] and not has_listener(own)
        assert has_listener(there)


def test_to_look_at_a_port_keeps_nobody_from_starting_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that started again at the moment when another cluster looked for ports was refused its own."""
    (port,) = free_ports(1)
    started: list[int] = []

    class Probe(socket.socket):
        def close(self) -> None:
            if not started:
                with socket.create_server(("127.0.0.1", port)):
                    started.append(port)
            super().close()

    monkeypatch.setattr(local_processes, "socket", SimpleNamespace(**{**vars(socket), "socket": Probe}))
    assert taken([port]) == []
    assert started == [port]


def test_the_tail_of_a_log_holds_nothing_from_an_earlier_life(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"old\n" * 3)
    start = log.stat().st_size
    with log.open("ab") as stream:
        stream.write(b"".join(b"line %d\n" % number for number in range(20)) + b"\xff torn")

    assert tail(log, start=start, lines=3) == ["line 18", "line 19", "� torn"]
    assert tail(log, start=log.stat().st_size) == []
    assert tail(tmp_path / "missing") == []


def test_the_way_a_process_ended_is_told_in_words() -> None:
    assert how_it_ended(2) == "ended with exit code 2"
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert how_it_ended(None) == "is gone"


def test_an_installation_without_the_servers_libraries_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    local_processes.require_server()
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(LocalClusterError, match=r"needs lmdb: pip install 'ambry\[server\]'"):
        local_processes.require_server()


def test_the_servers_libraries_are_those_of_its_extra() -> None:
    project = tomllib.loads((Path(deploy.__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    extra = [re.split(r"[<>=~!\[ ]", each)[0] for each in project["optional-dependencies"]["server"]]
    assert [name.replace("-", "_") for name in extra] == list(local_processes.SERVER_LIBRARIES)
