"""Engines by one command, as a person runs them: ready means ready, and whatever ends the command leaves nothing.

Each is fetched where it is not there; where Java or Maven is missing, or they cannot be had, it skips and says so.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.kafka_broker import jars_or_skip
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine


@contextmanager
def running(name: str, directory: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`ambry engines up`, with what it said it was."""
    jars = {"kafka": "kafka"}.get(name, "hadoop")
    jars_or_skip(jars)
    command = [sys.executable, "-m", "ambry.cli.main", "engines", "up", name, "--directory", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready"):
                break
            what, _, where = line.strip().partition(" ")
            said[what] = where.strip()
        try:
            yield process, said
        finally:
            process.terminate()
            process.wait(60)


def of(directory: Path) -> list[int]:
    """The processes that were started for a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(directory) in path.read_bytes() and b"java" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_kafka_answers_and_goes_with_its_command(tmp_path: Path, number: signal.Signals) -> None:
    with running("kafka", tmp_path / "x") as (process, said):
        assert said["broker"].startswith("127.0.0.1:") and of(tmp_path / "x")
        process.send_signal(number)
        assert process.wait(60) == (-number if number == signal.SIGKILL else 0)
        eventually(lambda: not of(tmp_path / "x"), "no process is left")
    with running("kafka", tmp_path / "x") as (_, said):
        assert said["broker"]


def test_yarn_counts_on_its_node(tmp_path: Path) -> None:
    with running("yarn", tmp_path / "x") as (_, said):
        with urllib.request.urlopen(f"{said['pages']}/ws/v1/cluster/metrics", timeout=20) as answer:
            told = json.load(answer)["clusterMetrics"]
        assert (told["activeNodes"], told["unhealthyNodes"]) == (1, 0) and told["availableMB"] > 4_000
        assert (Path(said["HADOOP_CONF_DIR"]) / "yarn-site.xml").is_file()
    assert not of(tmp_path / "x")


def test_hdfs_keeps_a_file(tmp_path: Path) -> None:
    with running("hdfs", tmp_path / "x") as (_, said):
        address = said["webhdfs"].removeprefix("webhdfs://")
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("PUT", "/webhdfs/v1/a/b?op=CREATE&user.name=me")
        place = connection.getresponse().headers["Location"]
        with urllib.request.urlopen(urllib.request.Request(place, data=b"hello", method="PUT"), timeout=20) as put:
            assert put.status == 201
        with urllib.request.urlopen(f"http://{address}/webhdfs/v1/a/b?op=OPEN&user.name=me", timeout=20) as got:
            assert got.read() == b"hello"
    assert not of(tmp_path / "x")
