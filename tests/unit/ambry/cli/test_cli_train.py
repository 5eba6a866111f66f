"""`ambry train`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from ambry import AmbryClient
from ambry.ml import models, training
from ambry.ml.training.jobs import parse_job
from ambry.ml.training.launchers import choice, torchrun
from ambry.ml.training.launchers.launch import Launch, Launcher, LaunchFailed
from ambry.ml.training.running import RunningJob
from tests.support.whole_commands import run

pytestmark = pytest.mark.usefixtures("here")

SCRIPT = """\
import sys
from ambry import AmbryClient
from ambry.ml import training
import numpy as np
training.current().hand_in({"weights": np.arange(3.0)})
print("arguments", sys.argv[1:], flush=True)
sys.exit(int(sys.argv[2]))
"""


class OneProcess(Launcher):
    """What stands for an engine."""

    def run(self, launch: Launch) -> None:
        command = [sys.executable, str(launch.bundle)]
        done = subprocess.run(command, env=dict(launch.environ), capture_output=True, text=True, check=False)
        for line in (done.stdout + done.stderr).splitlines():
            launch.show(line)
        if done.returncode:
            raise LaunchFailed(f"worker 0 ended with exit code {done.returncode}")


@pytest.fixture
def script(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(choice, "launcher_of", lambda *_: OneProcess())
    monkeypatch.setenv("AMBRY_TRAIN_NODE_CACHE", str(here / "trees"))
    monkeypatch.setenv("PYTHONPATH", str(Path(training.__file__).parents[3]))
    (here / "train.py").write_text(SCRIPT)
    return here / "train.py"


def test_a_job_is_submitted_published_and_shown(script: Path) -> None:
    done = run("train", "submit", "train.py", "--publish", "digits", "--json", "--", "--code", "0")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["model"] == "digits@1.0.0" and told["job"].startswith("train-")
    assert "arguments ['--code', '0']" in done.stderr and "ambry: published digits@1.0.0" in done.stderr
    again = run(
        "train", "submit", "train.py", "--publish", "digits", "--fresh", "--output", "model", "--", "--code", "0"
    )
    assert (again.stdout, again.exit_code) == ("digits@1.0.0\n", 0) and "it begins anew" in again.stderr, again.output
    shown = json.loads(run("train", "show", told["job"], "--json").stdout)
    assert (shown["arguments"], shown["publish"], shown["steps"]) == (["--code", "0"], "digits", [])
    assert shown["runs"] == "no" and shown["run"] >= 2
    assert shown["outcome"].startswith("published 20") and shown["outcome"].endswith(": digits@1.0.0")
    unknown = run("train", "show", "nosuch")
    assert unknown.exit_code == 3 and "there is no job 'nosuch'" in unknown.stderr
    with (
        AmbryClient.from_env() as client,
        RunningJob(client, parse_job(client.get_bytes(f"training/{told['job']}/job.json"))),
    ):
        here = json.loads(run("train", "show", told["job"], "--json").stdout)["runs"]
    assert here == f"yes, on {socket.gethostname()} (process {os.getpid()})"
    with AmbryClient.from_env() as client:
        client.put(b'{"host": 5, "pid": "a"}', name=f"training/{told['job']}/running.json")
    shown = json.loads(run("train", "show", told["job"], "--json").stdout)
    assert shown["runs"].startswith("not known: ") and "delete it: ambry rm ambry://" in shown["runs"]
    steps = json.loads(run("model", "lineage", "digits", "--json").stdout)
    assert told["job"] in json.dumps(steps)


def test_a_removed_job_leaves_its_model_and_begins_anew(script: Path) -> None:
    submit = ("train", "submit", "train.py", "--name", "gone", "--publish", "left", "--output", "model")
    assert run(*submit, "--", "--code", "0").exit_code == 0
    told = json.loads(run("train", "show", "gone", "--json").stdout)
    assert run("rm", "-r", "--yes", "training/gone").exit_code == 0
    assert run("train", "show", "gone").exit_code == 3
    with AmbryClient.from_env() as client:
        assert list(client.list("training/gone")) == []
        assert len(models.open(client, "left").load()["weights"]) == 3
    again = run(*submit, "--", "--code", "0")
    assert (again.exit_code, again.stdout) == (0, "left@1.0.0\n"), again.output
    assert "training.trees/sha256/" in run("ls", "training.trees/").stdout
    assert run("rm", told["sources"]).exit_code == 0
    anew = run(*submit, "--", "--code", "0")
    assert (anew.exit_code, anew.stdout) == (0, "left@1.1.0\n"), "its lineage names other sources"


def test_trees_are_listed_with_their_jobs(script: Path, here: Path) -> None:
    script.write_text(f"{SCRIPT}# for this test alone\n")
    done = run("train", "submit", "train.py", "--name", "kept", "--json", "--", "--code", "0")
    told = json.loads(done.stdout)
    (here / "wheels").mkdir()
    (here / "wheels/other-1.0-py3-none-any.whl").write_bytes(b"wheel")
    packed = run("train", "pack", "--wheels", "wheels").stdout.strip()

    def listed(*said: str) -> dict[str, list[str]]:
        shown = run("train", "trees", *said, "--json")
        assert shown.exit_code == 0, shown.output
        return {each["id"]: each["jobs"] for each in map(json.loads, shown.stdout.splitlines())}

    found = listed()
    assert (found[told["sources"]], found[packed]) == (["kept"], []) and "kept" in found[told["environment"]]
    assert packed in (unused := listed("--unused")) and not unused.keys() & {told["sources"], told["environment"]}
    assert listed("--unused", "--delete") == {}, "none is 7 days old"
    assert "kept" in run("train", "trees").stdout and run("train", "trees", "--delete").exit_code == 2


def test_a_job_that_fails_is_a_sentence_and_exit_code_1(script: Path) -> None:
    done = run("train", "submit", "train.py", "--publish", "never", "--", "--code", "4")
    assert done.exit_code == 1 and "ambry: worker 0 ended with exit code 4" in done.stderr
    assert "Traceback" not in done.output
    assert run("model", "show", "never").exit_code == 3


def test_sigterm_ends_it_as_an_interrupt_does(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its workers ended, which may take 15 s, nothing said that it had been heard."""
    ended: list[str] = []
    before = signal.getsignal(signal.SIGTERM)

    class Terminated(Launcher):
        def run(self, launch: Launch) -> None:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            finally:
                launch.show("the workers ended")
                ended.append("workers")

    monkeypatch.setattr(choice, "launcher_of", lambda *_: Terminated())
    done = run("train", "submit", "train.py")
    told = "ambry: interrupted; the workers are asked to end, and are ended after 15 s; a second interrupt does not wait for"
    assert (done.exit_code, ended) == (130, ["workers"])
    assert f"{told} that\nthe workers ended\n" in done.stderr
    assert " is interrupted; submit the job again to go on from its newest checkpoint" in done.stderr
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_environment_is_packed_and_named_by_its_id(here: Path) -> None:
    (here / "wheels").mkdir()
    (here / "wheels/made-1.0-py3-none-any.whl").write_bytes(b"wheel")
    ids = {run("train", "pack", "--wheels", "wheels").stdout for _ in range(2)}
    assert len(ids) == 1
    assert run("train", "pack").exit_code == 2


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed: nothing is missing")
def test_without_torch_it_says_what_to_install(here: Path) -> None:
    (here / "train.py").write_text("pass")
    done = run("train", "submit", "train.py")
    assert done.exit_code == 1 and "torchrun comes with torch, which" in done.stderr


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (["--python", "{bare}"], "torchrun comes with torch, which "),
        (["--python", "python9"], "this node has no python9"),
        (["--engine", "spark", "--conf", "x=1"], "is no setting of Spark"),
        (["--engine", "spark", "--master", "local[1]", "--workers", "2"], "runs 1 of 2 workers at once"),
        (["--engine", "tony", "--jars", "{here}", "--hadoop-conf", "{here}"], "has no tony-core-*.jar"),
    ],
)
def test_a_job_that_can_never_run_here_leaves_nothing_in_the_store(here: Path, how: list[str], told: str) -> None:
    """Its sources, its document and an outcome that says FAILED were stored before it was said."""
    (here / "train.py").write_text("pass")
    bare = here / "bare-python"
    bare.write_text(f"#!/bin/sh\nexit {torchrun._LACKS_TORCH}\n")
    bare.chmod(0o755)
    said = [each.format(bare=bare, here=here) for each in how]
    before = run("ls").stdout
    done = run("train", "submit", "train.py", "--name", "never-begun", *said)
    assert done.exit_code and told in done.stderr, done.stderr
    assert run("ls").stdout == before
    assert run("train", "show", "never-begun").exit_code == 3


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (["--name", "My Job!"], "'My Job!' is no name of a job"),
        (["--snapshot", "membrs"], "membrs"),
        (["--checkpoints", "ambry://default/default/"], "checkpoints lie in a folder"),
        (["--publish", "churn@2.0.0"], "the next one of 'churn'; publish to that"),
        (["--publish", "ambry://default/default/churn@2.0.0"], "the next one of 'ambry://default/default/churn'"),
    ],
)
def test_what_is_no_name_is_refused_before_anything_is_packed(script: Path, how: list[str], told: str) -> None:
    """It was told what is packed and sent, and then that the name is none."""
    done = run("train", "submit", "train.py", *how)
    assert done.exit_code and told in done.stderr, done.stderr
    assert "packs" not in done.stderr and "sends" not in done.stderr


def test_an_option_of_the_script_is_told_to_stand_behind_the_dashes(script: Path) -> None:
    done = run("train", "submit", "train.py", "--steps", "20")
    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert "No such option" in told and "stand behind it and --: SCRIPT -- --steps ..." in told
