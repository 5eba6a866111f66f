"""Whether all workers begin again after an attempt that failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ambry.errors import Unavailable
from ambry.ml.training.jobs import named_job
from ambry.ml.training.launchers.attempts import FailedAttempt, LaunchAttempts
from ambry.ml.training.launchers.launch import MENDED, Launch, LaunchFailed
from ambry.ml.training.node import EXIT_NODE
from tests.unit.ambry.ml.training.test_training_jobs import JOB

ALIKE = FailedAttempt(said="worker 0 ended with exit code 1: ValueError: no", code=1, raised="ValueError: no")


class Job:
    """What is told of it, and its newest checkpoint."""

    def __init__(self, tmp_path: Path) -> None:
        self.told: list[str] = []
        self.step: int | None = None
        self.attempts = LaunchAttempts(
            Launch(
                job=named_job(JOB),
                directory=tmp_path,
                bundle=tmp_path / "ambry-node.pyz",
                environ={},
                max_restarts=3,
                newest=self.newest,
                tell=self.told.append,
                show=print,
            )
        )

    def newest(self) -> int | None:
        if self.step == -1:
            raise Unavailable("no answer")
        return self.step


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize(("step", "newer"), [(None, "no checkpoint"), (7, "no newer checkpoint than that of step 7")])
def test_what_fails_as_before_is_started_once_more_and_no_more(job: Job, step: int | None, newer: str) -> None:
    job.step = step
    job.attempts.again(ALIKE)
    with pytest.raises(LaunchFailed) as failed:
        job.attempts.again(ALIKE)
    told = f"{ALIKE.said}; an attempt before ended so, and there is {newer}, so that no restart is of use; {MENDED}"
    assert failed.value.message == told and not failed.value.goes_on
    assert job.told == [f"{ALIKE.said}; all workers are started again"]


def test_what_comes_further_or_fails_otherwise_is_started_again(job: Job) -> None:
    for job.step in (None, 10, 20):
        job.attempts.again(ALIKE)
    job.attempts.again(replace(ALIKE, code=3))
    job.attempts.again(replace(ALIKE, raised="ValueError: yes"))
    job.attempts.again(replace(ALIKE, raised=""))
    assert len(job.told) == 6
    with pytest.raises(LaunchFailed):  # Others between are none of it: workers fail in turns.
        job.attempts.again(ALIKE)


@pytest.mark.parametrize("code", [-9, -15, 137, EXIT_NODE, 0])
def test_who_was_killed_or_could_not_begin_is_always_started_again(job: Job, code: int) -> None:
    for _ in range(4):
        job.attempts.again(replace(ALIKE, code=code))


@pytest.mark.parametrize(
    "raised",
    [
        "ambry.errors.Unavailable: no replica answered",
        "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:20418",
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1331",
        "torch.distributed.DistStoreError: Timed out after 61 seconds waiting for clients",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "OSError: [Errno 28] No space left on device",
        "urllib.error.HTTPError: HTTP Error 503: Service Unavailable",
        "RuntimeError: DataLoader worker (pid 17) is killed by signal: Killed.",
        "BrokenPipeError: [Errno 32] Broken pipe",
        "MemoryError: ",
        # Of libraries, which say this of what is away for a while, too.
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: could not load batch 7",
        "sqlite3.OperationalError: database or disk is full",
        "kafka.errors.NoBrokersAvailable: NoBrokersAvailable",
        "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the GetObject operation",
        "tensorflow.python.framework.errors_impl.InternalError: Collective ops",
        "EOFError",
        "ValueError: the disk of the server is full",
    ],
)
def test_what_others_or_the_machine_may_have_caused_is_started_as_often_as_it_may_be(job: Job, raised: str) -> None:
    for _ in range(4):
        job.attempts.again(replace(ALIKE, raised=raised))


@pytest.mark.parametrize(
    "raised",
    [
        "SyntaxError: '(' was never closed",
        "ModuleNotFoundError: No module named 'sklaern'",
        "FileNotFoundError: [Errno 2] No such file or directory: 'rows.csv'",
        "KeyError: 'age'",
        "AssertionError",
    ],
)
def test_what_the_script_does_by_itself_is_its_own(job: Job, raised: str) -> None:
    job.attempts.again(replace(ALIKE, raised=raised))
    with pytest.raises(LaunchFailed):
        job.attempts.again(replace(ALIKE, raised=raised))


def test_a_store_that_does_not_say_how_far_it_is_ends_no_job(job: Job) -> None:
    job.step = -1
    for _ in range(4):
        job.attempts.again(ALIKE)


def test_two_workers_that_fail_alike_in_one_attempt_are_one_attempt(job: Job) -> None:
    assert [job.attempts.in_vain(ALIKE, name) for name in ("worker 0", "worker 1")] == ["", ""]
    assert job.attempts.in_vain(ALIKE, "worker 1")
