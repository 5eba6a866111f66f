"""Who runs a training job, against a frontend: one at a time, and whoever is gone is not waited for."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from ambry import AmbryClient, BlobNotFound, DataCorrupt, InvalidRequest, Unavailable, UpdateConflict
from ambry.client.model import Timeout
from ambry.ml.training import running
from ambry.ml.training.checkpoints import CheckpointFolder
from ambry.ml.training.gangs import Gang, put_gang, read_gang
from ambry.ml.training.jobs import StoredTree, TrainingJob, named_job
from ambry.ml.training.origins import ORIGINS_MAX
from ambry.ml.training.running import RUNNING, RunningJob, begin_alone, claim_run, who_runs
from tests.support.waiting import eventually

_numbers = count()


@pytest.fixture
def job() -> Iterator[TrainingJob]:
    tree = StoredTree(kind="sources", id="x", sha256="0" * 64, size=1)
    told = {"job": f"running-{next(_numbers)}", "account": "default", "container": "default"}
    yield named_job({"script": "a.py", "sources": tree, "environment": tree, **told})


def held_by(client: AmbryClient, job: TrainingJob, **told: object) -> None:
    said = {**running._machine(), "pid": os.getpid(), "started": 1, "token": "of another"}
    client.put(json.dumps({**said, **told}).encode(), name=job.name_in(RUNNING), ttl=600)


def test_a_job_runs_once_at_a_time_and_again_when_it_has_ended(client: AmbryClient, job: TrainingJob) -> None:
    for _ in range(2):
        with RunningJob(client, job) as first:
            with pytest.raises(
                UpdateConflict, match=rf"runs already, on {socket.gethostname()} .*kill -INT {os.getpid()}$"
            ):
                RunningJob(client, job).__enter__()
            first.check()
        with pytest.raises(BlobNotFound):
            client.head(job.name_in(RUNNING))


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(client: AmbryClient, job: TrainingJob) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    held_by(client, job, pid=gone.pid)
    with RunningJob(client, job):
        pass
    held_by(client, job, started=1)  # Its number is another process's by now.
    with RunningJob(client, job):
        pass


@pytest.mark.parametrize(
    "told",
    [
        {"host": "another"},
        {"boot": "of another"},
        {"pids": "pid:[1]"},
    ],
)
def test_who_cannot_be_seen_holds_the_job_until_its_time_is_over(
    client: AmbryClient, job: TrainingJob, told: dict[str, object]
) -> None:
    held_by(client, job, **told)
    with pytest.raises(UpdateConflict, match=r"runs already.* submitted again 90 s after that"):
        RunningJob(client, job).__enter__()


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"host": 5, "boot": "b", "pids": "p", "pid": "a", "started": 1, "token": "t"}',
        b'{"host": "a", "boot": "b", "pids": "p", "pid": -1, "started": 1, "token": "t"}',
        b'{"host": "a", "boot": "b", "pids": "p", "pid": true, "started": 1, "token": "t"}',
        b'{"host": "a", "boot": null, "pids": "p", "pid": 7, "started": 1, "token": "t"}',
    ],
)
def test_what_says_nobody_who_runs_a_job_is_told_with_how_it_goes(
    client: AmbryClient, job: TrainingJob, held: bytes
) -> None:
    """It was told as a job that runs, which could be submitted again after 90 s, and blocked it for ever."""
    client.put(held, name=job.name_in(RUNNING))
    told = rf"running\.json does not say who runs the job, .*; where nobody runs the job, delete it: ambry rm .*{job.job}/run"
    with pytest.raises(DataCorrupt, match=told):
        RunningJob(client, job).__enter__()
    with pytest.raises(DataCorrupt, match=told):
        who_runs(client, job.name_in(RUNNING))
    assert client.get_bytes(job.name_in(RUNNING)) == held
    client.delete(job.name_in(RUNNING))
    with RunningJob(client, job, renew_s=0.05) as running_job:
        client.put(held, name=job.name_in(RUNNING))
        eventually(lambda: running_job._lost != "", "whoever runs it finds its right gone")
        with pytest.raises(UpdateConflict, match="does not say who runs the job"):
            running_job.check()


def test_the_right_is_renewed_and_goes_by_itself(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LEASE_S", 1)
    with RunningJob(client, job, renew_s=0.05) as held:
        first = client.head(job.name_in(RUNNING))
        eventually(lambda: client.head(job.name_in(RUNNING)).id != first.id, "it is renewed")
        held.check()
        held._renewed.close()  # As who is killed renews nothing.
        eventually(lambda: takes(client, job), "another one takes it")


def takes(client: AmbryClient, job: TrainingJob) -> bool:
    try:
        with RunningJob(client, job):
            return True
    except UpdateConflict:
        return False


def test_who_lost_the_job_is_told(client: AmbryClient, job: TrainingJob) -> None:
    with RunningJob(client, job, renew_s=0.05) as held:
        held_by(client, job, host="another")

        def told() -> bool:
            try:
                held.check()
            except UpdateConflict as error:
                return "on another" in error.message
            return False

        eventually(told, "it is told")
    assert json.loads(client.get_bytes(job.name_in(RUNNING)))["host"] == "another"


def test_the_checkpoints_of_a_job_that_runs_are_nobody_elses(client: AmbryClient, job: TrainingJob) -> None:
    said: list[str] = []
    other = replace(job, job="other", folder="ambry://default/default/training/other")
    place = CheckpointFolder(client, job.checkpoints).place
    with RunningJob(client, job):
        assert claim_run(client, job, place, said.append).run == 1
        with pytest.raises(
            UpdateConflict,
            match=rf"are those of the job {job.job}, which runs, on {socket.gethostname()} \(process {os.getpid()}\); wait",
        ):
            claim_run(client, other, place, said.append)
        assert claim_run(client, job, place, said.append).run == 2 and said == []
    assert claim_run(client, other, place, said.append).run == 3
    assert said == [f"the checkpoints {place} were those of the job {job.job} until now"]


def test_checkpoints_made_in_too_many_ways_are_begun_anew_as_their_refusal_says(
    client: AmbryClient, job: TrainingJob
) -> None:
    place = CheckpointFolder(client, job.checkpoints).place
    made = tuple({**job.origin(), "snapshot": f"a@{each}"} for each in range(ORIGINS_MAX))
    assert put_gang(client, place, Gang(job=job.job, folder=job.folder, run=1, start=0, made=made), "")
    with pytest.raises(InvalidRequest, match="begin at step 0 with --fresh"):
        claim_run(client, job, place, print)
    gang = claim_run(client, job, place, print, fresh=True)
    assert gang.run == 2 and gang.made == (*made, job.origin())  # Their checkpoints are there yet.
    assert begin_alone(client, replace(job, run=2, earlier=made), place).earlier == ()
    held, _ = read_gang(client, place)
    assert held is not None and held.made == (job.origin(),)


def test_what_is_confirmed_is_asked_of_the_store(client: AmbryClient, job: TrainingJob) -> None:
    with RunningJob(client, job, renew_s=600) as held:
        held.confirm()
        held_by(client, job, host="another")  # It stood still for so long.
        held.check()
        with pytest.raises(UpdateConflict, match="on another"):
            held.confirm()


@pytest.mark.parametrize("renew_s", [600, 0.05], ids=["confirmed", "renewed"])
def test_a_renewal_whose_answer_was_lost_is_its_own(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch, renew_s: float
) -> None:
    put = client.put
    lost: list[str] = []
    heard: list[str] = []

    def unheard(*each: Any, **said: Any) -> Any:
        info = put(*each, **said)
        if len(lost) < 2:
            lost.append(info.etag)
            raise Unavailable("nobody heard the answer")
        heard.append(info.etag)
        return info

    with RunningJob(client, job, renew_s=renew_s) as held:
        monkeypatch.setattr(client, "put", unheard)
        if renew_s > 1:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    held.confirm()
            held.confirm()
        eventually(lambda: len(heard) > 1 or renew_s > 1, "it goes on")
        held.check()
    with pytest.raises(BlobNotFound):
        client.head(job.name_in(RUNNING))


def test_puts_that_overlap_are_looked_at_again(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store tells one of two puts at once that the name was changed meanwhile: who has the job was told it ran already."""
    put, told = client.put, iter((True, False, True, False))

    def overlapping(*given: Any, **options: Any) -> Any:
        if next(told, False):
            raise UpdateConflict("the name was changed meanwhile; look at it and try again")
        return put(*given, **options)

    monkeypatch.setattr(client, "put", overlapping)
    with RunningJob(client, job) as held:
        held._renew()
        held.check()


def test_of_two_who_see_that_its_time_is_over_the_second_deletes_nothing_of_the_first(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put(b"{}", name=job.name_in(RUNNING), ttl=1)
    eventually(lambda: not client.exists(job.name_in(RUNNING)), "its time is over")
    delete = client.delete
    entered: list[RunningJob] = []

    def late(*each: Any, **how: Any) -> None:
        if not entered:
            entered.append(RunningJob(client, job, renew_s=600))
            entered[0].__enter__()
        delete(*each, **how)

    monkeypatch.setattr(client, "delete", late)
    with pytest.raises(UpdateConflict, match=rf"runs already, on {socket.gethostname()}"):
        RunningJob(client, job, renew_s=600).__enter__()
    entered[0].confirm()
    entered[0].__exit__(None, None, None)


def test_of_many_who_see_that_its_time_is_over_one_has_it_and_the_others_are_told_who(
    client: AmbryClient, job: TrainingJob
) -> None:
    """All but one were told that the name was deleted meanwhile."""
    client.put(b"{}", name=job.name_in(RUNNING), ttl=1)
    eventually(lambda: not client.exists(job.name_in(RUNNING)), "its time is over")
    met = threading.Barrier(4)
    entered: list[RunningJob] = []

    def submit(_: int) -> str:
        own = RunningJob(client, job, renew_s=600)
        met.wait(30)
        try:
            entered.append(own.__enter__())
        except UpdateConflict as error:
            return error.message
        return ""

    with ThreadPoolExecutor(4) as pool:
        said = sorted(pool.map(submit, range(4)))
    assert said[0] == "" and all(f"runs already, on {socket.gethostname()}" in each for each in said[1:]), said
    entered[0].__exit__(None, None, None)


@pytest.mark.parametrize("call", ["delete", "put"])
def test_who_takes_its_own_job_again_looks_twice_at_what_changes_meanwhile(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The store was out of reach for longer than the lease; what others did at that moment ended the job of who had it."""
    own = RunningJob(client, job, renew_s=600)
    own.__enter__()
    client.delete(job.name_in(RUNNING))
    client.put(b"{}", name=job.name_in(RUNNING), ttl=1)
    eventually(lambda: not client.exists(job.name_in(RUNNING)), "its time is over")
    real = getattr(client, call)
    refused: list[object] = []

    def changed(*each: Any, **how: Any) -> Any:
        if len(refused) < 6 and (call == "delete" or how.get("if_absent")):
            refused.append(each)
            raise UpdateConflict("the name was deleted meanwhile; look at it and try again")
        return real(*each, **how)

    monkeypatch.setattr(client, call, changed)
    own.confirm()
    assert len(refused) == 6
    monkeypatch.undo()
    own.__exit__(None, None, None)


def test_who_ends_after_standing_still_deletes_nothing_of_another(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = RunningJob(client, job, renew_s=600).__enter__()
    delete = client.delete

    def late(*each: Any, **how: Any) -> None:
        held_by(client, job, host="another")
        delete(*each, **how)

    monkeypatch.setattr(client, "delete", late)
    held.__exit__(None, None, None)
    assert json.loads(client.get_bytes(job.name_in(RUNNING)))["host"] == "another"


@pytest.fixture
def silent() -> Iterator[AmbryClient]:
    """Of a store that takes connections and says nothing, as a frontend that stands still."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        AmbryClient([f"http://127.0.0.1:{server.getsockname()[1]}"]) as made,
    ):
        yield made


def test_a_store_that_says_nothing_keeps_nobody(
    client: AmbryClient, silent: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever interrupted a job waited for minutes, in the end of its right."""
    monkeypatch.setattr(running, "WRITE_TIMEOUT", Timeout(total=0.2))
    with pytest.raises(KeyboardInterrupt), RunningJob(client, job, renew_s=600) as held:
        held._client = silent
        began = time.monotonic()
        raise KeyboardInterrupt
    with (
        pytest.raises(KeyboardInterrupt),
        RunningJob(client, replace(job, job="other", folder=f"{job.folder}-b"), renew_s=0.05) as held,
    ):
        held._client = silent
        eventually(held._renewing.locked, "it is renewed")
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
    assert running.RENEW_TIMEOUT.total is not None
    assert running.RENEW_TIMEOUT.total + 2 * running.RENEW_S < running.LEASE_S
