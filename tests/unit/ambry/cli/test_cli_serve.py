"""`ambry serve`, as a process against a frontend with a metadata store."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
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
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        assert running.stderr.read() == ""


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
        assert running.wait(60) == 0 and running.stderr.read() == ""
    with AmbryClient.from_env() as client:
        assert len(client.list("drained.scored/").all()) == 1


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
