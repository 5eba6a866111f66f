"""How a job ended is written down whatever ends it, but by a kill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ambry import AmbryClient, BlobNotFound, UpdateConflict
from ambry.client.refs import PinnedName
from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.training.jobs import TrainingJob, named_job
from ambry.ml.training.outcomes import OUTCOME, outcome_noted, outcome_of
from ambry.ml.training.standing import standing
from tests.unit.ambry.ml.training.test_training_jobs import JOB


@pytest.fixture
def job(name: str) -> TrainingJob:
    own = {"job": name.replace("/", "-"), "account": "default", "container": "default", "run": 3}
    return named_job({**JOB, **own})


def now(client: AmbryClient, job: TrainingJob) -> PinnedName | None:
    return standing(client, job.name_in(OUTCOME))


def test_what_published_what_failed_and_what_was_interrupted_are_told(client: AmbryClient, job: TrainingJob) -> None:
    assert outcome_of(client, job) is None
    with outcome_noted(client, job) as note:
        note.published("digits@1.1.0")
    found = outcome_of(client, job)
    assert found is not None and (found.run, found.state, found.said) == (3, "published", "digits@1.1.0")
    with outcome_noted(client, job, now(client, job)):
        assert outcome_of(client, job) is None, "of a run before"
    found = outcome_of(client, job)
    assert found is not None and (found.state, found.said) == ("ended", "")
    for error, state in ((ValueError("no column"), "failed"), (KeyboardInterrupt(), "interrupted")):
        with pytest.raises(type(error)), outcome_noted(client, job, now(client, job)):
            raise error
        found = outcome_of(client, job)
        assert found is not None and (found.state, found.said) == (state, str(error))
        assert str(found).startswith(f"{state} 20")
    assert outcome_of(client, replace(job, run=4)) is None, "of a run that was killed"


def test_a_run_that_ends_late_changes_nothing_of_a_later_one(client: AmbryClient, job: TrainingJob) -> None:
    """It stood still while one took the job over, and ended with that it lost it, in the place of what was published."""
    later = replace(job, run=4)
    with pytest.raises(UpdateConflict), outcome_noted(client, job):
        with outcome_noted(client, later, now(client, later)) as note:
            note.published("digits@1.1.0")
        raise UpdateConflict("the job digits runs already")
    found = outcome_of(client, later)
    assert found is not None and (found.state, found.said) == ("published", "digits@1.1.0")
    newest = replace(job, run=5)
    with outcome_noted(client, job, now(client, job)) as stood, outcome_noted(client, newest, now(client, job)):
        stood.published("digits@1.2.0")
    found = outcome_of(client, newest)
    assert found is not None and found.state == "ended"


def test_of_a_job_that_was_deleted_meanwhile_nothing_is_written(client: AmbryClient, job: TrainingJob) -> None:
    with outcome_noted(client, job):
        client.delete(job.name_in(OUTCOME))
    with pytest.raises(BlobNotFound):
        client.head(job.name_in(OUTCOME))


def test_what_overlaps_with_that_of_another_run_is_written_again(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, refused = client.put, iter((True, False, True, False))

    def overlapping(*args: Any, **named: Any) -> Any:
        if next(refused):
            raise UpdateConflict("another put of this name is on its way")
        return put(*args, **named)

    monkeypatch.setattr(client, "put", overlapping)
    with outcome_noted(client, job):
        pass
    assert outcome_of(client, job) is not None and next(refused, None) is None


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"format": 1}', b'{"format": 2}', b'{"format": "x"}'])
def test_what_is_no_outcome_is_a_sentence(client: AmbryClient, job: TrainingJob, data: bytes) -> None:
    client.put(data, name=job.name_in(OUTCOME))
    with pytest.raises(DataCorrupt):
        outcome_of(client, job)


def test_what_the_store_refuses_is_told_as_that(
    client: AmbryClient, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InvalidRequest is a ValueError too, and was told as a document to be deleted."""

    def refused(*said: Any, **options: Any) -> Any:
        raise InvalidRequest("there is no account 'x'")

    monkeypatch.setattr(client, "get_bytes", refused)
    with pytest.raises(InvalidRequest, match="no account"):
        outcome_of(client, job)
