"""Starting, stopping and watching a cluster, with small stand-ins for the services (fake_service.py)."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from ambry.cli.main import cli
from deploy import local_processes, start_wait
from deploy.commands import EXIT_PARTLY
from deploy.local_cluster import LocalCluster, signal_number
from deploy.local_directory import LocalDirectory
from deploy.local_layout import LocalClusterError, Shape
from deploy.local_processes import find, wait_until
from deploy.whole_file import replace
from tests.support.ports import port_range

ROOT = Path(__file__).resolve().parents[3]
FAKE = "tests.unit.deploy.fake_service"

Make = Callable[..., LocalCluster]


@pytest.fixture(autouse=True)
def _fake_services(monkeypatch: pytest.MonkeyPatch) -> None:
    real = local_processes.spawn

    def spawn(module: str, *arguments: Any, **named: Any) -> subprocess.Popen[bytes]:
        return real(FAKE, *arguments, **named)

    monkeypatch.setattr(local_processes, "spawn", spawn)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:
        port_base = stack.enter_context(port_range())

        def cluster(**options: Any) -> LocalCluster:
            given = {"datacenters": 1, "nodes": 2, "port_base": port_base, "ready_timeout_s": 20.0} | options
            local = LocalCluster(tmp_path / "c", **given)
            stack.callback(local.down)
            return local

        yield cluster


def test_everything_is_ready_inside_and_gone_afterwards(make: Make) -> None:
    with make() as local:
        assert [status.state for status in local.status()] == ["ready"] * 3
        recorded = local.describe()
        assert recorded.state == "up"
        assert recorded.pids() == {status.member.name: status.pid for status in local.status()}
        running = [find(pid, local.member(name).config) for name, pid in recorded.pids().items()]
        assert all(running)
    assert not any(process and process.alive for process in running)
    assert local.describe().state == "down"
    assert local.describe().pids() == {}


def test_a_second_up_starts_only_what_is_missing_and_keeps_the_shape(make: Make, tmp_path: Path) -> None:
    with make() as local:
        assert local.up() == []
        assert local.kill("dc1-n2") == -signal.SIGKILL
        before = local.describe().pids()
        # Somebody else, who knows the directory only.
        assert LocalCluster(tmp_path / "c").up() == ["dc1-n2"]
        after = local.describe().pids()
        assert {name: after[name] for name in before} == before
        assert local.status()[2].state == "ready"


def test_a_contradicting_option_is_refused_and_changes_nothing(make: Make, tmp_path: Path) -> None:
    with make() as local:
        with pytest.raises(LocalClusterError, match="nodes 2, not 3"):
            LocalCluster(tmp_path / "c", nodes=3).up()
        assert len(local.describe().pids()) == 3


def test_a_number_of_workers_that_cannot_be_is_refused_before_anything_is_written(make: Make, tmp_path: Path) -> None:
    """`--workers 0` was written down, and the directory could not be used any more, with this number or another."""
    for number in (0, 65, -1):
        with pytest.raises(LocalClusterError, match=f"--workers {number}: it must lie between 1 and 64"):
            make(workers=number).up()
    assert not (tmp_path / "c").exists()


def test_another_number_of_workers_is_taken_when_no_frontend_runs(make: Make, tmp_path: Path) -> None:
    """It was refused for good, with `overrides {'frontend': ['frontend.workers=2']}` for a reason."""

    def command_line(local: LocalCluster, name: str) -> bytes:
        return Path(f"/proc/{local.pid(name)}/cmdline").read_bytes()

    with make(workers=2) as local:
        assert b"--set\0frontend.workers=2" in command_line(local, "dc1-f1")
        assert b"frontend.workers" not in command_line(local, "dc1-n1")
        with pytest.raises(LocalClusterError, match=r"dc1-f1 runs with --workers 2, not 3; stop the cluster, .* down"):
            LocalCluster(tmp_path / "c", workers=3).up()
        assert LocalCluster(tmp_path / "c").up() == []
    with pytest.raises(LocalClusterError, match="--workers 0: it must lie between 1 and 64"):
        LocalCluster(tmp_path / "c", workers=0).up()
    with LocalCluster(tmp_path / "c", workers=3) as again:
        assert b"--set\0frontend.workers=3" in command_line(again, "dc1-f1")
        assert LocalCluster(tmp_path / "c").shape.workers == 3


def test_a_process_that_dies_at_start_is_named_with_its_log_and_takes_the_others_with_it(make: Make) -> None:
    local = make(overrides={"datanode": ["fake.does=dies:dc1-n2"]})
    with pytest.raises(LocalClusterError) as failed:
        local.up()

    message = str(failed.value)
    assert message.startswith("dc1-n2 ended with exit code 7")
    assert str(local.member("dc1-n2").log) in message
    assert "the disk is on fire" in message
    assert [status.state for status in local.status()] == ["down"] * 3
    assert local.describe().state == "down"


def test_a_process_that_is_not_ready_in_time_is_named_with_what_it_answers(make: Make) -> None:
    local = make(overrides={"frontend": ["fake.does=waits:dc1-f1"]}, ready_timeout_s=1.0)
    with pytest.raises(LocalClusterError) as failed:
        local.up()

    assert "dc1-f1: http://127.0.0.1:" in str(failed.value)
    assert "503 no quorum yet" in str(failed.value)
    assert [status.state for status in local.status()] == ["down"] * 3


def test_what_is_at_work_before_it_answers_is_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a cluster was given up after 30 s, while its processes were still reading their modules."""
    monkeypatch.setattr(start_wait, "TELL_EVERY_S", 0.5)
    said: list[str] = []
    local = make(overrides={"datanode": ["fake.does=works:dc1-n2"]}, ready_timeout_s=1.5, report=said.append)
    local.up()
    assert [status.state for status in local.status()] == ["ready"] * 3
    assert any(re.match(r"waiting for dc1-n2 \(http://127.0.0.1:.*refused\)$", line) for line in said), said


def test_a_node_that_lacks_one_replica_serves_the_others_and_says_which(make: Make, tmp_path: Path) -> None:
    """`ambry cluster start` waited a minute, and `up` stopped everything again."""
    said: list[str] = []
    local = make(overrides={"datanode": ["fake.does=lacks:dc1-n2"]}, detach=True, report=said.append)
    local.up()
    assert "dc1-n2 serves, but partition 3 cannot be opened: [Errno 5] Input/output error" in said
    assert [status.state for status in local.status()] == ["ready", "ready", "not ready"]
    for name, code, words in (
        ("dc1-n2", EXIT_PARTLY, "dc1-n2 has started without 1 of its replicas."),
        ("dc1-n1", 0, "dc1-n1 is ready."),
    ):
        local.kill(name, "TERM")
        started = CliRunner().invoke(cli, ["cluster", "start", "--dir", str(tmp_path / "c"), name])
        assert (started.exit_code, words in started.output) == (code, True)
        assert ("partition 3 cannot be opened" in started.output) == (code == EXIT_PARTLY)


def test_overrides_are_repeated_when_a_process_starts_again(make: Make, tmp_path: Path) -> None:
    with make(overrides={"datanode": ["fake.does=nothing"]}) as local:
        local.kill("dc1-n1", "TERM")
        again = LocalCluster(tmp_path / "c", detach=True)
        assert again.start("dc1-n1")
        assert not again.start("dc1-n1")
        pid = again.pid("dc1-n1")
        assert b"--set\0fake.does=nothing" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_paused_process_shows_it_wakes_up_and_can_be_stopped_while_paused(make: Make) -> None:
    with make() as local:
        local.kill("dc1-n1", signal.SIGSTOP)
        assert local.status()[1].state == "paused"
        local.kill("dc1-n1", signal.SIGCONT)
        local.wait_ready(["dc1-n1"])
        local.kill("dc1-n1", signal.SIGSTOP)
        assert local.kill("dc1-n1", signal.SIGTERM) == 0
        local.kill("dc1-n2", signal.SIGSTOP)
        # And leaving the context stops the paused dc1-n2.
    assert local.status()[2].state == "down"


def test_what_ignores_term_is_killed_and_reported(make: Make) -> None:
    said: list[str] = []
    local = make(overrides={"datanode": ["fake.does=ignores_term"]}, report=said.append)
    local.up()
    said.clear()

    assert local.down(term_timeout_s=0.3) == ["dc1-f1", "dc1-n1", "dc1-n2"]

    assert [status.state for status in local.status()] == ["down"] * 3
    assert [line.split()[0] for line in said] == ["dc1-n1", "dc1-n2"]


def test_a_taken_port_is_named_before_anything_is_written(make: Make, tmp_path: Path) -> None:
    with make() as local:
        port = local.frontends("dc1")[0].port
        other = LocalCluster(tmp_path / "other", datacenters=1, nodes=2, port_base=local.shape.port_base)
        with pytest.raises(LocalClusterError, match=f"port {port} of dc1-f1"):
            other.up()
    assert not (tmp_path / "other").exists()


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(LocalClusterError, match="holds no cluster"):
        LocalCluster(tmp_path).up()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(LocalClusterError, match="is not a directory"):
        LocalCluster(tmp_path / "thesis.tex").up()
    with pytest.raises(LocalClusterError, match="ambry cluster up"):
        LocalCluster(tmp_path).status()


def test_unknown_names_and_signals_are_answered_with_the_known_ones(make: Make) -> None:
    with make() as local:
        with pytest.raises(LocalClusterError, match="dc1-f1, dc1-n1, dc1-n2"):
            local.kill("dc9-n9")
        with pytest.raises(LocalClusterError, match="there is no signal FOO"):
            local.kill("dc1-n1", "FOO")
        local.kill("dc1-n1")
        with pytest.raises(LocalClusterError, match="dc1-n1 does not run"):
            local.kill("dc1-n1")
    assert signal_number("sigterm") is signal.SIGTERM


def test_a_moved_cluster_starts_with_its_new_paths(make: Make, tmp_path: Path) -> None:
    with make():
        pass
    (tmp_path / "c").rename(tmp_path / "d")
    with LocalCluster(tmp_path / "d", ready_timeout_s=20.0) as moved:
        assert str(tmp_path / "d") in moved.member("dc1-n1").config.read_text()


def test_a_changed_configuration_file_stays_changed(make: Make) -> None:
    with make() as local:
        pass
    config = local.member("dc1-n1").config
    config.write_text(config.read_text() + "[store]\nio_threads = 2\n")
    with local:
        assert config.read_text().endswith("io_threads = 2\n")


def test_supervise_tells_who_died_and_returns_when_nothing_runs(make: Make) -> None:
    said: list[str] = []
    with make(report=said.append) as local:
        watcher = threading.Thread(target=local.supervise)
        watcher.start()
        local.kill("dc1-n1")
        assert wait_until(lambda: any(line.startswith("dc1-n1 was killed by SIGKILL") for line in said), 60.0)
        local.down()
        watcher.join(20.0)
        assert not watcher.is_alive()


def test_a_process_outlives_the_thread_that_started_it_but_not_the_process(tmp_path: Path) -> None:
    script = f"""
import signal, sys, threading
from deploy import local_processes
real = local_processes.spawn
local_processes.spawn = lambda module, *a, **k: real({FAKE!r}, *a, **k)
from deploy.local_cluster import LocalCluster
local = LocalCluster(sys.argv[1], datacenters=1, nodes=1, port_base=0)
starter = threading.Thread(target=local.up)
starter.start(); starter.join()
print("up", flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "c")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        local = LocalCluster(tmp_path / "c")
        assert [status.state for status in local.status()] == ["ready"] * 2
        parent.kill()
    assert wait_until(lambda: {status.state for status in local.status()} == {"down"}, 60.0)


def test_detached_processes_go_on_without_the_one_who_started_them(make: Make, tmp_path: Path) -> None:
    with make():
        pass
    script = f"""
from deploy import local_processes
real = local_processes.spawn
local_processes.spawn = lambda module, *a, **k: real({FAKE!r}, *a, **k)
from deploy.commands import cluster
cluster()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "up", "--dir", str(tmp_path / "c"), "--detach"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "curl --data-binary @FILE http://127.0.0.1:" in done.stdout
    local = LocalCluster(tmp_path / "c")
    assert [status.state for status in local.status()] == ["ready"] * 3
    assert local.down() == ["dc1-f1", "dc1-n1", "dc1-n2"]


def test_cluster_json_is_whole_whenever_it_is_read(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "c" / "cluster.json"
    broken: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            try:
                msgspec.json.decode(path.read_bytes())
            except msgspec.DecodeError as cause:
                broken.append(str(cause))

    with make() as local:
        files = LocalDirectory(tmp_path / "c")
        reader = threading.Thread(target=read)
        reader.start()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            files.record(local.describe().pids())
        ended.set()
        reader.join()
    assert broken == []


STATE_FILES = ["shape.json", "layout.json", "cluster.json", "dc1-n1/config.toml"]
OVERRIDES = {"datanode": ["store.io_threads=2"], "frontend": ["router.read_ahead=3"]}


@pytest.mark.parametrize("name", STATE_FILES)
def test_a_state_file_that_a_power_cut_damaged_is_made_anew(make: Make, tmp_path: Path, name: str) -> None:
    """An empty layout.json kept every process from starting, an empty cluster.json every command from working."""
    local = make(partitions=5, frontends=2, workers=3, overrides=OVERRIDES)
    local.up()
    before = {status.member.name: status.pid for status in local.status()}
    shape = local.shape
    path = tmp_path / "c" / name
    whole = path.read_bytes()
    path.write_bytes(b"")
    again = LocalCluster(tmp_path / "c")
    assert again.shape == shape
    assert {status.member.name: status.pid for status in again.status()} == before, "what runs is still known"
    assert again.up() == []
    assert sorted(again.down()) == sorted(before)
    assert sorted(LocalCluster(tmp_path / "c").up()) == sorted(before)
    assert LocalCluster(tmp_path / "c").shape == shape
    assert name == "cluster.json" or path.read_bytes() == whole


def at_rest(path: Path) -> LocalDirectory:
    """A cluster that is not up, with all its files."""
    directory = LocalDirectory(path)
    directory.create(lambda: Shape(cluster="c", partitions=5, frontends=2, workers=3, overrides=OVERRIDES))
    directory.write_files()
    with directory.locked():
        directory.record({})
    return directory


@pytest.mark.parametrize("content", [b"", b'{"cluster": "lo', bytes(300)], ids=["empty", "torn", "zeros"])
@pytest.mark.parametrize("name", STATE_FILES)
def test_whatever_a_power_cut_left_of_a_state_file_nothing_of_it_is_lost(
    tmp_path: Path, name: str, content: bytes
) -> None:
    """With shape.json the --set values were lost, silently: the next start ran with the defaults."""
    directory = at_rest(tmp_path / "c")
    path = tmp_path / "c" / name
    written = path.read_bytes()
    path.write_bytes(content)
    again = LocalDirectory(tmp_path / "c")
    assert (again.shape, again.describe()) == (directory.shape, directory.describe())
    again.write_files()
    with again.locked():
        again.record({})
    assert path.read_bytes() == written


@pytest.mark.parametrize("name", ["shape.json", "layout.json"])
def test_a_state_file_of_another_release_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    """It was taken for damaged by a power cut, and written anew: what else it said was lost."""
    directory = LocalDirectory(tmp_path / "c")
    directory.create(lambda: Shape(cluster="c"))
    directory.write_files()
    path = tmp_path / "c" / name
    later = {**msgspec.json.decode(path.read_bytes()), "cluster": "c", "partitions": {"count": 8}}
    path.write_bytes(msgspec.json.encode(later))
    with pytest.raises(LocalClusterError, match=name):
        LocalDirectory(tmp_path / "c").write_files()
    assert msgspec.json.decode(path.read_bytes()) == later


@pytest.mark.parametrize("other", ["layout.json", "cluster.json"])
def test_two_damaged_state_files_are_named_with_the_way_out(tmp_path: Path, other: str) -> None:
    at_rest(tmp_path / "c")
    for name in ("shape.json", other):
        (tmp_path / "c" / name).write_bytes(b"")
    with pytest.raises(LocalClusterError, match=r"shape.json is damaged .* from a backup; what was stored is in"):
        LocalCluster(tmp_path / "c").up()


def test_a_state_file_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def noted_sync(number: int) -> None:
        done.append("sync")
        fsync(number)

    def noted_rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    replace(tmp_path / "f", b"content")
    assert done == ["sync", "rename", "sync"]
    assert (tmp_path / "f").read_bytes() == b"content"


def test_a_cluster_that_found_no_room_can_be_made_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left of the state file made the directory a stranger's."""

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    directory = LocalDirectory(tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LocalClusterError, match="No space left"):
            directory.create(lambda: Shape(cluster="c"))
    directory.create(lambda: Shape(cluster="c"))
    assert directory.shape == Shape(cluster="c")


def test_a_disk_that_is_full_by_now_leaves_no_process_behind_and_does_not_keep_any_from_being_stopped(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was started and could not be written down ran on, unknown to everybody; `down` ended with "No space left"."""
    local = make(nodes=1)
    record = LocalDirectory.record
    room = 1

    def until_full(self: LocalDirectory, pids: dict[str, int]) -> None:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room -= 1
        record(self, pids)

    monkeypatch.setattr(LocalDirectory, "record", until_full)
    started: list[subprocess.Popen[bytes]] = []
    spawn = local_processes.spawn

    def noted(*arguments: Any, **named: Any) -> subprocess.Popen[bytes]:
        started.append(spawn(*arguments, **named))
        return started[-1]

    monkeypatch.setattr(local_processes, "spawn", noted)
    with pytest.raises(LocalClusterError, match=r"cannot write down that dc1-\S+ runs, in .*: No space left on device"):
        local.up()
    assert len(started) == 2
    for child in started:
        assert child.wait(30) is not None
    room = 10
    local.up()
    room = 0
    assert sorted(local.down()) == ["dc1-f1", "dc1-n1"]
    assert [status.state for status in local.status()] == ["down", "down"]


def test_what_a_disk_refuses_is_said_with_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: LocalCluster) -> list[str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalCluster, "up", full)
    told = CliRunner().invoke(cli, ["cluster", "up", "--dir", str(tmp_path / "c"), "--detach"], prog_name="ambry")
    assert told.exit_code == 1
    assert f"Error: cannot use {tmp_path / 'c'}: No space left on device" in told.stderr
