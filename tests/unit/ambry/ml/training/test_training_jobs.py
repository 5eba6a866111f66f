"""Jobs as documents: the same thing is the same job, and a document is read as it was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.training.jobs import StoredTree, TrainingJob, named_job, parse_job

TREE = StoredTree(kind="sources", id="a" * 48, sha256="0" * 64, size=10)
JOB: dict[str, Any] = {
    "script": "src/train it.py",
    "sources": TREE,
    "environment": replace(TREE, kind="listed", sha256="1" * 64),
    "arguments": ("--epochs", "3"),
    "workers": 2,
    "endpoints": ("http://127.0.0.1:17100",),
    "account": "team",
    "container": "models",
}


def test_a_job_is_named_by_what_it_is_made_of_and_has_its_places() -> None:
    job = named_job(JOB)
    assert job.job == "train-it-a4600f9ec29b"
    assert job.folder == f"ambry://team/models/training/{job.job}"
    assert job.checkpoints == f"{job.folder}/checkpoints"
    assert named_job({**JOB, "job": "mine", "checkpoints": "ambry://a/b/c"}).checkpoints == "ambry://a/b/c"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"endpoints": ("http://other:1",)}, True),
        ({"publish": "digits"}, True),
        ({"sources": replace(TREE, id="b" * 48)}, True),
        ({"sources": replace(TREE, sha256="2" * 64)}, False),
        ({"arguments": ("--epochs", "4")}, False),
        ({"workers": 3}, False),
        ({"snapshot": "members@2"}, False),
        ({"commit": "abc"}, False),
        ({"environ": (("AMBRY_CACHE_DIR", "/a"), ("AMBRY_TRAIN_NODE_CACHE", "/b"))}, True),
        ({"environ": (("OMP_NUM_THREADS", "1"),)}, False),
    ],
)
def test_what_changes_the_outcome_changes_the_name(change: dict[str, Any], same: bool) -> None:
    assert (named_job({**JOB, **change}).job == named_job(JOB).job) is same


def test_a_document_is_read_as_it_was_written() -> None:
    job = named_job({**JOB, "snapshot": "members@1", "publish": "digits", "commit": "abc-dirty"})
    assert parse_job(job.encode()) == job
    assert job.code() == f"job:{job.job} sources:{'a' * 48} environment:{'a' * 48} git:abc-dirty"
    assert job.lineage()["arguments"] == ["--epochs", "3"]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": 1, "what": 2}', b'{"format": 9}'])
def test_what_is_no_document_is_told(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"no document of a job|later release"):
        parse_job(data)


def test_wrong_names_and_counts_are_refused() -> None:
    for change in ({"job": "../x"}, {"job": "a b"}, {"workers": 0}, {"workers": 5_000}):
        with pytest.raises(InvalidRequest):
            TrainingJob(**{**JOB, **change})
