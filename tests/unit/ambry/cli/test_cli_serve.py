"""`ambry serve`, as a process against a frontend with a metadata store."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

import ambry
from ambry import AmbryClient
from ambry.cli.main import cli
from ambry.ml import models

pytestmark = pytest.mark.usefixtures("here")

SCORER = """\
import numpy as np

def scorer(model):
    factor = float(model.path().read_bytes())
    return lambda inputs: {"predict": np.concatenate([each.reshape(-1) for each in inputs.values()]) * factor}
"""
REQUEST = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": [1, 2]}]}


def test_it_serves_until_it_is_told_to_end(here: Path) -> None:
    with AmbryClient.from_env() as client:
        models.publish(client, "served", {"factor": b"3"})
        models.promote(client, "served@1.0.0")
    (here / "scoring.py").write_text(SCORER)
    ambry_command = [sys.executable, "-c", "from ambry.cli.entry import main; main()"]
    command = [*ambry_command, "serve", "served@champion", "--port", "0", "--function", "scoring:scorer"]
    paths = os.pathsep.join([str(here), str(Path(ambry.__file__).parents[1])])
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    ) as running:
        assert running.stderr is not None
        said = running.stderr.readline()
        try:
            found = re.search(r"http://\S+/infer", said)
            assert found, said + running.stderr.read()
            asked = urllib.request.Request(found[0], json.dumps(REQUEST).encode())
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert json.load(answer)["outputs"][0]["data"] == [3.0, 6.0]
            # What is no HTTP, and bodies that nobody can unpack: a line each, and no traceback.
            with pytest.raises(urllib.error.HTTPError, match="400"):
                packed = urllib.request.Request(found[0], b"no gzip", {"Content-Encoding": "gzip"})
                urllib.request.urlopen(packed, timeout=60)
            where = urllib.parse.urlsplit(found[0])
            with socket.create_connection((where.hostname, where.port), 60) as stranger:
                stranger.sendall(b"GET / HTTP/9.9\r\n\r\n")
                assert b"400" in stranger.recv(1_000)
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        log = [json.loads(line) for line in running.stderr]
    of_strangers = [each for each in log if each["level"] == "error"]
    assert len(of_strangers) == 2 and all("400" in each["error"] for each in of_strangers)
    log = [each for each in log if each not in of_strangers]
    assert [each["event"] for each in log] == ["serving", "draining", "ended"]
    assert (log[0]["model"], log[0]["role"], len(log[0]["sha256"])) == ("served@1.0.0", "champion", 64)
    assert log[0]["address"] in found[0] and log[0]["level"] == "info"


def test_whoever_ends_it_is_told_by_readiness_and_still_answered(here: Path) -> None:
    """A balancer sent requests to a port that was closed."""
    with AmbryClient.from_env() as client:
        models.publish(client, "drained", {"factor": b"2"})
        models.promote(client, "drained@1.0.0")
    (here / "draining.py").write_text(SCORER)
    ambry_command = [sys.executable, "-c", "from ambry.cli.entry import main; main()"]
    options = ["--port", "0", "--function", "draining:scorer", "--drain", "600", "--log-features", "1"]
    paths = os.pathsep.join([str(here), str(Path(ambry.__file__).parents[1])])
    with subprocess.Popen(
        [*ambry_command, "serve", "drained@champion", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as running:
        assert running.stderr is not None
        try:
            found = re.search(r"(http://[^/]+)/\S+/infer", running.stderr.readline())
            assert found, running.stderr.read()
            running.send_signal(signal.SIGTERM)
            ready = 200
            while ready == 200:
                try:
                    with urllib.request.urlopen(f"{found[1]}/v2/health/ready", timeout=60) as answer:
                        ready = answer.status
                except urllib.error.HTTPError as error:
                    ready = error.code
            assert ready == 503
            with urllib.request.urlopen(found[0], json.dumps(REQUEST).encode(), timeout=60) as answer:
                assert json.load(answer)["outputs"][0]["data"] == [2.0, 4.0]
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        log = [json.loads(line)["event"] for line in running.stderr]
    assert log == ["serving", "draining", "ends at once", "ended"]
    with AmbryClient.from_env() as client:
        assert len(client.list("drained.scored/").all()) == 1


def test_it_logs_what_it_follows_and_what_it_cannot_load(here: Path) -> None:
    """A service that did not follow told nobody but those who asked for its metrics."""
    with AmbryClient.from_env() as client:
        for factor in (b"1", b"no number", b"3"):
            models.publish(client, "logged", {"factor": factor})
        models.promote(client, "logged@1.0.0")
        with _served(here, "logged@champion", "--poll", "0.05") as running:
            assert running.stderr is not None
            assert "http://" in running.stderr.readline()
            assert json.loads(running.stderr.readline())["event"] == "serving"
            models.promote(client, "logged@1.1.0")
            failed = json.loads(running.stderr.readline())
            models.promote(client, "logged@1.2.0")
            followed = json.loads(running.stderr.readline())
            works = json.loads(running.stderr.readline())
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
        expected = models.open(client, "logged@1.2.0").digest
    assert (failed["level"], failed["place"]) == ("warning", "logged@champion")
    assert failed["event"] == f"{failed['work']} failed, and is tried again: {failed['error']}"
    assert (failed["broken"], failed["stays"]) == ("1.1.0", "1.0.0") and "logged@1.1.0" in failed["error"]
    assert (followed["event"], followed["before"], followed["version"]) == ("followed", "1.0.0", "1.2.0")
    assert followed["sha256"] == expected and works["event"] == "works again"


HANGING = """\
import sys
import threading

calls = []

def scorer(model):
    def predict(inputs):
        calls.append(1)
        if len(calls) > 1:
            print("hangs", file=sys.stderr, flush=True)
            threading.Event().wait()
        return {"predict": inputs["x"]}
    return predict
"""


@pytest.mark.parametrize(
    ("options", "rest", "code"), [([], [], 0), (["--challenger", "champion"], [signal.SIGTERM], 130)]
)
def test_a_second_signal_waits_for_no_answer_and_a_third_for_nothing(
    here: Path, options: list[str], rest: list[signal.Signals], code: int
) -> None:
    """A second signal that came while the service was closed killed the process (-15), and its logs were lost."""
    name = f"hung-{code}"
    with AmbryClient.from_env() as client:
        models.publish(client, name, {"factor": b"1"})
        models.promote(client, f"{name}@1.0.0")
    (here / "hanging.py").write_text(HANGING)
    with _served(here, f"{name}@champion", *options, function="hanging:scorer") as running:
        assert running.stderr is not None
        found = re.search(r"http://\S+/infer", running.stderr.readline())
        assert found
        asked = [threading.Thread(target=_ask, args=(found[0],)) for _ in range(1 if options else 2)]
        for thread in asked:
            thread.start()
        while running.stderr.readline() != "hangs\n":
            assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        assert json.loads(running.stderr.readline())["event"] == "draining"
        for number in [signal.SIGINT, *rest]:
            running.send_signal(number)
        assert running.wait(60) == code
        for thread in asked:
            thread.join()


def _ask(url: str) -> None:
    with suppress(OSError, http.client.HTTPException):
        urllib.request.urlopen(url, json.dumps(REQUEST).encode(), timeout=60).close()


@contextmanager
def _served(here: Path, *args: str, function: str = "scoring:scorer") -> Iterator[subprocess.Popen[str]]:
    """`ambry serve` as a process, which is killed where a test fails before it has ended."""
    (here / "scoring.py").write_text(SCORER)
    paths = os.pathsep.join([str(here), str(Path(ambry.__file__).parents[1])])
    command = [sys.executable, "-c", "from ambry.cli.entry import main; main()", "serve", *args]
    with subprocess.Popen(
        [*command, "--port", "0", "--function", function],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["served@1.0.0"], 2, "names no alias to follow"),
        (["nothing@champion"], 3, "nothing"),
        (["nothing@champion", "--held-max", "1M"], 2, "three quarters"),
    ],
)
def test_what_cannot_be_served_is_told(args: list[str], code: int, words: str) -> None:
    done = CliRunner().invoke(cli, ["serve", *args], prog_name="ambry")
    assert done.exit_code == code and words in done.stderr, done.output
