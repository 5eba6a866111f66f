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
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.models.stored_parts import ListedPart, delete_contents, list_contents
from ambry.ml.training.environments import TREES
from ambry.ml.training.jobs import FOLDER, parse_job


def list_trees(client: AmbryClient) -> Iterator[ListedPart]:
    """The trees of a container, by their SHA-256. Raises InvalidRequest for a document that is none of a job, or one
    of a later release, by its name: which trees it has nobody can tell.
    """
    return list_contents(client, VersionRef(FOLDER), TREES, lambda: _users(client))


def delete_unused_trees(client: AmbryClient, older: timedelta) -> list[ListedPart]:
    """Delete the trees that no job has and that are older, by the store's time; those that are gone then.

    The age counts from when a tree was sent, or a job that was prepared found it there last: a job whose document comes less
    than `older` after that has its trees (models/stored_parts.py). Raises AccessDenied, and what a list raises.
    """
    return delete_contents(client, VersionRef(FOLDER), TREES, lambda: _users(client), older)


def _users(client: AmbryClient) -> dict[BlobId, list[str]]:
    """The names of jobs by the blobs that they need. Raises InvalidRequest for a job that nobody here can read, by its name."""
    users: dict[BlobId, list[str]] = {}
    for name, document in _documents(client):
        try:
            job = parse_job(document)
            trees = [BlobId.parse(tree.id) for tree in (job.sources, job.environment)]
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{name}: {error.message}. Nobody can tell which trees it has until it can be read, or is removed: "
                f"ambry rm {name}"
            ) from None
        for tree in trees:
            users.setdefault(tree, []).append(job.job)
    return users


def _documents(client: AmbryClient) -> Iterator[tuple[str, bytes]]:
    """Those of jobs, by their names."""
    for entry in client.list(f"{FOLDER}/", delimiter="/"):
        if not entry.is_prefix:
            continue
        name = f"{entry.name.removesuffix('/')}/job.json"
        try:
            yield name, client.get_bytes(name)
        except BlobNotFound:
            continue  # Something else lies there, or it was removed in this moment.
