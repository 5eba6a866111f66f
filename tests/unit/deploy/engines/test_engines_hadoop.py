"""Hadoop as an engine: what is ready, by what its own pages say."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.engines import hadoop
from deploy.engines.hadoop import YarnCluster, _has_room, _is_idle, _takes_files
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("state", "live", "remaining", "ready"),
    [
        ("Operational", 1, 50_000_000_000, True),
        ("safeMode", 1, 50_000_000_000, False),
        ("Operational", 0, 0, False),
        ("Operational", 1, 0, False),
    ],
)
def test_hdfs_is_ready_when_a_node_has_told_what_room_it_has(
    state: str, live: int, remaining: int, ready: bool
) -> None:
    """A file that was created between the registration of the DataNode and its first report had no place to go to."""
    bean = {"FSState": state, "NumLiveDataNodes": live, "CapacityRemaining": remaining}
    assert _takes_files(json.dumps({"beans": [bean]})) is ready


@pytest.mark.parametrize(
    ("wanted", "nodes", "room", "ready"),
    [(1, 1, 6_144, True), (1, 1, 0, False), (1, 0, 0, False), (2, 1, 6_144, False), (2, 2, 6_144, False),
     (2, 2, 12_288, True)],
)  # fmt: skip
def test_yarn_is_ready_when_it_has_counted_the_room_of_a_node(wanted: int, nodes: int, room: int, ready: bool) -> None:
    """activeNodes was 1 with an availableMB of 0 in a run of test_yarn_counts_on_its_node."""
    assert _has_room(json.dumps({"clusterMetrics": {"activeNodes": nodes, "availableMB": room}}), wanted) is ready
    assert not _has_room("", 1)


def test_a_name_node_that_says_nothing_is_not_ready() -> None:
    assert not _takes_files("") and not _takes_files('{"beans": []}')


def test_a_node_with_containers_is_waited_for() -> None:
    assert _is_idle('{"containers":null}') and _is_idle(
        '{"containers":{"container":[{"id":"c_1","state":"COMPLETE"}]}}'
    )
    assert not _is_idle('{"containers":{"container":{"id":"c_1","state":"RUNNING"}}}')
    for state in ("NEW", "LOCALIZING", "SCHEDULED", "RUNNING"):
        told = {"containers": {"container": [{"id": "c_1", "state": "COMPLETE"}, {"id": "c_2", "state": state}]}}
        assert not _is_idle(json.dumps(told))
    assert not _is_idle("")


@pytest.mark.parametrize(
    "page",
    ["", '{"containers": {"conta', "[]", "1", "null", "{}", '{"containers": 1, "beans": 1, "clusterMetrics": 1}',
     '{"containers": {"container": [1]}, "beans": [1], "clusterMetrics": {"activeNodes": "x"}}'],
)  # fmt: skip
def test_half_a_page_says_nothing(page: str) -> None:
    """A daemon that was killed in an answer was a JSONDecodeError out of the start of an engine, and out of its end."""
    assert not _is_idle(page) and not _takes_files(page) and not _has_room(page, 1)


DAEMON = """
import pathlib, subprocess, sys, time
place = pathlib.Path(sys.argv[1])
container = place / "local" / "container"
container.mkdir(parents=True, exist_ok=True)
words = [sys.executable, "-c", "import time; time.sleep(600)"]
print(subprocess.Popen(words, cwd=container, start_new_session=True).pid, file=(place / "begun").open("a"))
(place / "ready").touch()
time.sleep(600)
"""
Containers = Callable[[], list[int]]


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    """YARN with small programs in place of its daemons, of which each begins a container; those that run."""
    places = {name: tmp_path / name for name in ("resourcemanager", "nodemanager", "nodemanager-2")}

    def java(jars: Path, main: str, *, scratch: Path, conf: Path) -> list[str]:
        place = places["resourcemanager"] if main.endswith("ResourceManager") else conf.parent
        place.mkdir(exist_ok=True)
        return [
            sys.executable,
            "-c",
            DAEMON if place != places["resourcemanager"] else "import time; time.sleep(600)",
            str(place),
        ]

    monkeypatch.setattr(hadoop, "java", java)
    monkeypatch.setattr(hadoop, "fetch", lambda name, tell: tmp_path)
    monkeypatch.setattr(hadoop, "IDLE_S", 0.2)
    monkeypatch.setattr(YarnCluster, "_answers", lambda _: True)
    monkeypatch.setattr(YarnCluster, "_has_nodes", lambda _, count: (list(places.values())[count] / "ready").exists())

    def running() -> list[int]:
        begun = [
            int(pid)
            for place in places.values()
            if (place / "begun").exists()
            for pid in (place / "begun").read_text().split()
        ]
        return [pid for pid in begun if Path(f"/proc/{pid}/cwd").exists()]

    yield running
    for pid in running():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", [None, ValueError, KeyboardInterrupt])
def test_no_container_outlives_yarn_however_that_ends(
    tmp_path: Path, containers: Containers, how: type[BaseException] | None
) -> None:
    """The Java of one outlived an interrupted demonstration by 70 minutes."""

    def work() -> None:
        with hadoop.yarn(tmp_path, print, nodes=((), ())) as cluster:
            assert len(containers()) == 2
            cluster.node_managers[0].kill()  # It leaves its own.
            cluster.node_managers[0].start()
            eventually(lambda: len(containers()) == 3, "it has begun another")
            cluster.node_managers[1].kill()
            if how is not None:
                raise how

    if how is None:
        work()
    else:
        with pytest.raises(how):
            work()
    eventually(lambda: not containers(), "they are gone", timeout_s=2)


def test_what_a_killed_command_left_ends_with_the_next_yarn_in_its_directory(
    tmp_path: Path, containers: Containers
) -> None:
    cluster = YarnCluster(tmp_path, tmp_path)
    cluster.node_managers[0].start()
    cluster.node_managers[0].kill()
    [left] = containers()
    with hadoop.yarn(tmp_path, print):
        assert left not in containers()
        eventually(lambda: len(containers()) == 1, "it has begun one of its own")


def test_a_yarn_that_does_not_start_leaves_no_container(
    tmp_path: Path, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: YarnCluster, count: int) -> bool:
        eventually(lambda: containers(), "a container runs")
        raise KeyboardInterrupt

    monkeypatch.setattr(YarnCluster, "_has_nodes", interrupted)
    with pytest.raises(KeyboardInterrupt), hadoop.yarn(tmp_path, print):
        raise AssertionError
    eventually(lambda: not containers(), "they are gone", timeout_s=2)
