"""Sources and environments of jobs in the store: which jobs run with them, and the end of those that none does.

A job uses what its document names, for as long as the document is there (`training/JOB/job.json`), whether it runs or not: it
can be submitted again. What was sent before its job, or by `ambry train pack`, is used by nobody until then. A list costs a
request for each thousand trees and each thousand jobs, and one for each job.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound
from ambry.ids import BlobId
from ambry.ml.models.stored_parts import ListedPart, delete_contents, list_contents
from ambry.ml.training.environments import TREES
from ambry.ml.training.jobs import FOLDER, TrainingJob, parse_job


def list_trees(client: AmbryClient) -> Iterator[ListedPart]:
    """The trees of a container, by their SHA-256. Raises InvalidRequest for a job of a later release."""
    return list_contents(client, VersionRef(FOLDER), TREES, lambda: _users(client))


def delete_unused_trees(client: AmbryClient, older: timedelta) -> list[ListedPart]:
    """Delete the trees that no job has and that are older, by the store's time; those that went.

    The age counts from when a tree was sent, or a job that was prepared found it there last: a job whose document comes less
    than `older` after that has its trees (models/stored_parts.py). Raises AccessDenied, and what a list raises.
    """
    return delete_contents(client, VersionRef(FOLDER), TREES, lambda: _users(client), older)


def _users(client: AmbryClient) -> dict[BlobId, list[str]]:
    """The names of jobs by the blobs that they need."""
    users: dict[BlobId, list[str]] = {}
    for job in _jobs(client):
        for tree in (job.sources, job.environment):
            users.setdefault(BlobId.parse(tree.id), []).append(job.job)
    return users


def _jobs(client: AmbryClient) -> Iterator[TrainingJob]:
    for entry in client.list(f"{FOLDER}/", delimiter="/"):
        if not entry.is_prefix:
            continue
        try:
            document = client.get_bytes(f"{entry.name.removesuffix('/')}/job.json")
        except BlobNotFound:
            continue  # Something else lies there, or it was removed in this moment.
        yield parse_job(document)
