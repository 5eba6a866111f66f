"""Engines by one command, as a person runs them: ready means ready, and whatever ends the command leaves nothing.

Each is fetched where it is not there; where Java or Maven is missing, or they cannot be had, it skips and says so.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from deploy.engines.postgres import INSTALLED, binaries_of
from deploy.run_directory import run_directory
from tests.support.engines_up import running
from tests.support.kafka_broker import jars_or_skip
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine


def of(directory: Path, program: bytes = b"java") -> list[int]:
    """The processes that were started for a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(directory) in path.read_bytes() and program in path.read_bytes().split(b"\0")[0]:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_kafka_answers_and_goes_with_its_command(tmp_path: Path, number: signal.Signals) -> None:
    with running("kafka", tmp_path / "x") as (process, said):
        assert said["broker"].startswith("127.0.0.1:") and of(tmp_path / "x")
        process.send_signal(number)
        assert process.wait(60) == (-number if number == signal.SIGKILL else 0)
        eventually(lambda: not of(tmp_path / "x"), "no process is left")
    with running("kafka", tmp_path / "x") as (_, said):
        assert said["broker"]


def test_a_directory_is_of_one_command_and_a_dead_broker_ends_it(tmp_path: Path) -> None:
    with running("kafka", tmp_path / "x", subprocess.PIPE) as (process, _):
        command = [sys.executable, "-m", "ambry.cli.main", "engines", "up", "hdfs", "--directory", str(tmp_path / "x")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and "another `ambry engines up` runs in" in done.stderr, done.stderr
        (broker,) = of(tmp_path / "x")
        os.kill(broker, signal.SIGKILL)
        assert process.wait(60) == 1 and process.stderr is not None
        assert "kafka ended with -9; its log" in process.stderr.read()


def test_a_signal_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    jars_or_skip("kafka")
    command = [sys.executable, "-m", "ambry.cli.main", "engines", "up", "kafka", "--directory", str(tmp_path / "x")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: of(tmp_path / "x"), "Java runs", timeout_s=60)
        process.terminate()
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "") and "interrupted; what had been started is stopped" in errors
    assert not of(tmp_path / "x")


def test_zookeeper_serves(tmp_path: Path) -> None:
    with running("zookeeper", tmp_path / "x") as (_, said):
        host, _, port = said["server"].partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as asked:
            # A ConnectRequest as a client sends it first: version, last zxid, timeout in ms, session, password.
            request = struct.pack(">iqiqi", 0, 0, 30_000, 0, 16) + bytes(16)
            asked.sendall(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", asked.recv(4))
            _, timeout_ms, session = struct.unpack(">iiq", asked.recv(length)[:16])
        assert timeout_ms == 30_000 and session != 0
    assert not of(tmp_path / "x")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_postgres_keeps_what_it_was_given(number: signal.Signals) -> None:
    """Twice in the same directory, with a client that does not go when the server is to end."""
    with run_directory("engine") as made:
        made.chmod(0o755)
        place = made / "x"
        with running("postgres", place) as (process, said), psql(said["database"]) as client:
            assert client.stdin is not None and client.stdout is not None
            client.stdin.write("create table kept as select 7 as seven; select seven from kept;\n")
            client.stdin.flush()
            assert [client.stdout.readline() for _ in range(2)] == ["SELECT 1\n", "7\n"]
            process.send_signal(number)
            process.wait(60)
            eventually(lambda: not of(place, b"postgres"), "no process is left")
        with running("postgres", place) as (_, said), psql(said["database"]) as client:
            assert client.communicate("select seven from kept;\n", timeout=60)[0] == "7\n"


SUM = """
import sys
from pyspark.sql import SparkSession
local = {f"spark.driver.{what}": "127.0.0.1" for what in ("host", "bindAddress")}
session = SparkSession.builder.master(sys.argv[1]).config(map={**local, "spark.executor.memory": "512m"}).getOrCreate()
print(session.sparkContext.parallelize(range(10), 2).map(lambda number: number * number).sum())
"""


def test_spark_has_a_worker_that_computes(tmp_path: Path) -> None:
    with running("spark", tmp_path / "x") as (_, said):
        command = [sys.executable, "-c", SUM, said["master"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.stdout == "285\n", done.stderr
    eventually(lambda: not of(tmp_path / "x"), "no process is left")


def psql(url: str) -> subprocess.Popen[str]:
    command = [str(binaries_of(INSTALLED) / "psql"), "-XAt", url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


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
