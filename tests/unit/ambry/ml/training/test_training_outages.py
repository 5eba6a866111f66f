"""A store that is away for a moment is waited for, by workers and by who submitted them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ambry import BlobNotFound, RetryPolicy
from ambry.errors import AmbryError, Unavailable
from ambry.ml.training import outages
from ambry.ml.training.current import current
from ambry.ml.training.jobs import named_job
from ambry.ml.training.outages import PATIENT, outwaited
from tests.unit.ambry.ml.training.test_training_jobs import JOB


def fails(count: int) -> Callable[[], int]:
    left = [Unavailable("nobody is there")] * count

    def work() -> int:
        if left:
            raise left.pop()
        return 7

    return work


def test_it_is_told_once_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_LOOK_AGAIN_S", 0.001)
    said: list[str] = []
    assert outwaited(fails(3), said.append) == 7
    assert said == ["the store is away, and is waited for: nobody is there"]
    with pytest.raises(Unavailable):
        outwaited(fails(1_000_000), said.append, outage_s=0.02)

    def refused() -> None:
        raise BlobNotFound("never was")

    with pytest.raises(BlobNotFound):
        outwaited(refused, said.append)
    assert len(said) == 2


def test_all_of_the_waits_are_within_the_budget_of_a_client() -> None:
    waits = [min(PATIENT.cap, PATIENT.base * 2**each) for each in range(PATIENT.max_attempts - 1)]
    assert sum(waits) / 2 >= 30 and sum(waits) <= 70 and len(waits) == 10


def test_a_worker_tries_so_often_and_a_script_may_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setenv("AMBRY_ENDPOINTS", "http://127.0.0.1:1")
    with current({}).connect() as client:
        monkeypatch.setattr(client, "_sleep", waited.append)
        with pytest.raises(AmbryError, match="cannot connect"):
            client.get_bytes("a")
    assert len(waited) == 10 and 30 <= sum(waited) <= 70
    with current({}).connect(account="team") as client:
        assert client.default_account == "team"


def test_files_of_a_job_by_fsspec_are_waited_for_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's writer, which takes no options."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(fsspec.config, "conf", {})
    (tmp_path / "job.json").write_bytes(named_job({**JOB, "job": "digits"}).encode())
    current({"AMBRY_TRAIN_JOB": str(tmp_path / "job.json")})
    assert fsspec.config.conf == {"ambry": {"retry": PATIENT}}
    monkeypatch.setitem(fsspec.config.conf, "ambry", {"retry": RetryPolicy(max_attempts=1)})
    current({"AMBRY_TRAIN_JOB": str(tmp_path / "job.json")})
    assert fsspec.config.conf["ambry"]["retry"].max_attempts == 1  # Of who said it.
