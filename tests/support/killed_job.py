"""A training job of two workers that is submitted as often as it takes, and whose parts a test kills meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ambry import AmbryClient
from ambry.ml import training
from ambry.ml.training.launchers import Launcher
from deploy.local_cluster import LocalCluster
from tests.support.clusters import seed_of
from tests.support.killed_training import ROOT, Marks, check_whole, moment_of, processes_with, write_script
from tests.support.waiting import eventually

WORKERS = 2
AGAIN = "submit the job again to go on from its newest checkpoint, where it has one"
ANEW = "it saved no checkpoint: mend what it failed by, and submit the job again, which begins at step 0"


class KilledJob:
    """A job that is submitted as often as it takes, and whose parts the test kills meanwhile."""

    def __init__(self, own: LocalCluster, launcher: Launcher, directory: Path, name: str, *, pace_s: float) -> None:
        self.chance = random.Random(f"{seed_of(f'{name} is killed')} {name}")
        self.name = name
        self.said: list[str] = []
        self.marks = Marks(directory / "mark", WORKERS)
        self.submitted = directory / "submitted.log"
        self._own, self._launcher = own, launcher
        self.endpoints = [member.url for member in own.frontends()]
        self.script = write_script(directory / "src" / "train.py")
        self.environ = {
            "PYTHONPATH": str(ROOT),
            "AMBRY_CACHE_DIR": str(directory / "cache"),
            "AMBRY_TRAIN_NODE_CACHE": str(directory / "trees"),
            "OMP_NUM_THREADS": "1",
            "PACE_S": str(pace_s),
        }

    def connect(self) -> AmbryClient:
        return AmbryClient(self.endpoints, key=self._own.key)

    def run(self) -> str:
        """The digest of the parameters that are published. Raises LaunchFailed."""
        wanted = training.WhatToRun(
            script=self.script,
            sources=self.script.parent,
            arguments=("--once", str(self.marks.once)),
            workers=WORKERS,
            name=self.name,
            publish=f"{self.name}-model",
            python=sys.executable,
            environ=self.environ,
        )
        with self.connect() as client:
            job = training.prepare_job(client, wanted, self._say)
            ended = training.run_job(client, job, self._launcher, max_restarts=3, tell=self._say, show=self._say)
        assert ended.model is not None
        return str(ended.model.manifest.params["parameters"])

    def _say(self, line: str) -> None:
        self.said.append(line)

    def submit(self, *said: str) -> subprocess.Popen[bytes]:
        """The same as a command, with what else is said. What it says goes to `submitted`."""
        self.marks.forget()
        command = [sys.executable, "-m", "ambry.cli.main", "train", "submit", str(self.script)]
        command += ["--src", str(self.script.parent), "--workers", str(WORKERS), "--name", self.name]
        command += ["--publish", f"{self.name}-model", "--python", sys.executable]
        command += [*said]
        command += [word for name, value in self.environ.items() for word in ("--env", f"{name}={value}")]
        told = {"AMBRY_ENDPOINTS": ",".join(self.endpoints), "AMBRY_KEY": self._own.key or ""}
        with self.submitted.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--", "--once", str(self.marks.once)],
                env={**os.environ, **self.environ, **told},
                stdout=output,
                stderr=output,
            )
        self._over = lambda: process.poll() is not None
        return process

    def kill_submitter(self, process: subprocess.Popen[bytes], when: str) -> None:
        process.kill()
        process.wait()
        self.say(f"-- who submitted it is killed {when}, and had said: {self.submitted.read_text('utf-8')}")

    @contextmanager
    def beside(self) -> Iterator[Callable[[], str]]:
        """The job runs until the end; what waits for that, and gives the digest. Raises LaunchFailed there."""
        # What this thread starts again lives longer than one that is made for it: processes end with theirs.
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(self.run)
            self._over = future.done
            try:
                yield future.result
            finally:
                print(*self.said, future.exception(), sep="\n")

    def check_right(self, digest: str, failed: str, undisturbed: str) -> None:
        """It ended with the model of an undisturbed one; or with a sentence, nothing of it published, and goes on so."""
        with self.connect() as client:
            if failed:
                assert failed.endswith((AGAIN, ANEW))
                check_whole(client, self.name)
                digest = self.run()
            assert digest == undisturbed, self.said
            check_whole(client, self.name, undisturbed)
        eventually(lambda: not processes_with(self.marks.once), "nobody trains any more", timeout_s=60)

    def reach(self, first: int, last: int) -> list[int]:
        """Wait for a moment of chance, of new workers; all their processes."""
        moment = moment_of(self.chance, first, last)
        found = self.marks.reach(moment, self._over)
        assert found, f"nobody came to this moment: {moment}"
        self.say(f"-- {moment}")
        return found

    def say(self, line: str) -> None:
        self.said.append(line)

    def kill_server(self, name: str) -> Callable[[], object]:
        self._own.kill(name)
        self.say(f"-- {name} is killed")
        return lambda: self._own.start(name)

    def kill(self, pid: int, what: str) -> None:
        self.marks.forget(restarted=True)
        os.kill(pid, signal.SIGKILL)
        self.say(f"-- {what} (process {pid}) is killed")


def told(ended: Callable[[], str]) -> tuple[str, str]:
    """The digest of a job that ended well, or the sentence of one that failed; the other one is empty."""
    try:
        return ended(), ""
    except training.LaunchFailed as error:
        return "", error.message
