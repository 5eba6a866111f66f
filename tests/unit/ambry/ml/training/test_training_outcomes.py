"""How a job ended is written down whatever ends it, but by a kill."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ambry import AmbryClient
from ambry.errors import DataCorrupt
from ambry.ml.training.jobs import TrainingJob, named_job
from ambry.ml.training.outcomes import OUTCOME, outcome_noted, outcome_of
from tests.unit.ambry.ml.training.test_training_jobs import JOB


@pytest.fixture
def job(name: str) -> TrainingJob:
    own = {"job": name.replace("/", "-"), "account": "default", "container": "default", "run": 3}
    return named_job({**JOB, **own})


def test_what_published_what_failed_and_what_was_interrupted_are_told(client: AmbryClient, job: TrainingJob) -> None:
    assert outcome_of(client, job) is None
    with outcome_noted(client, job) as note:
        note.published("digits@1.1.0")
    found = outcome_of(client, job)
    assert found is not None and (found.run, found.state, found.said) == (3, "published", "digits@1.1.0")
    with outcome_noted(client, job):
        assert outcome_of(client, job) is None, "of a run before"
    found = outcome_of(client, job)
    assert found is not None and (found.state, found.said) == ("ended", "")
    for error, state in ((ValueError("no column"), "failed"), (KeyboardInterrupt(), "interrupted")):
        with pytest.raises(type(error)), outcome_noted(client, job):
            raise error
        found = outcome_of(client, job)
        assert found is not None and (found.state, found.said) == (state, str(error))
        assert str(found).startswith(f"{state} 20")
    assert outcome_of(client, replace(job, run=4)) is None, "of a run that was killed"


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"format": 1}', b'{"format": 2}', b'{"format": "x"}'])
def test_what_is_no_outcome_is_a_sentence(client: AmbryClient, job: TrainingJob, data: bytes) -> None:
    client.put(data, name=job.name_in(OUTCOME))
    with pytest.raises(DataCorrupt):
        outcome_of(client, job)
