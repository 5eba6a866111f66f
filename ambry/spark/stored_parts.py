"""The parts of versions that Spark wrote, which versions have them, and the end of those that none has.

A version has the parts of the job in its metadata, and no others: its bytes are a footer that names parts by their ids, and
whoever stores those bytes once more, as a blob or a version of another dataset, gets no part with them. Such a copy is not
read, also while the parts are there: who looks for unused parts cannot know of it.

A part stays when its version is deleted, by hand or by a retention: who deletes versions knows nothing of parts. Which job
wrote a version stands in its metadata, and in the names of its parts.

Who deletes unused parts first makes the list of each job that else its commit makes (commits.py), and then looks at the
versions once more: a job whose commit runs keeps its parts, and a commit that comes later is refused. A list that is there for
less than PART_TTL is of somebody who may be at it; an older one is of somebody who was killed, and is taken up. One whose
deletes have no certain answer stays as long, as they may be done later. All of it is so within one datacenter (commits.py).

A list of parts costs a request for each thousand parts and each thousand versions, and one for what a thousand versions say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ambry.client.model import BlobInfo
from ambry.client.refs import NameRef, PinnedName, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, InvalidRequest, PreconditionFailed, UpdateConflict
from ambry.ids import BlobId
from ambry.ml.digests import infos_of
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset
from ambry.spark.commits import DATASET_KEY, JOB_KEY, PART_TTL, PARTS, PartsCommit, is_refused

_CHANGED = (BlobNotFound, PreconditionFailed, UpdateConflict)
"""By another delete of this moment, or by who stored something else under the name."""
_PART = re.compile(r"([0-9a-f]{16})/[^/]+\.parquet")


@dataclass(frozen=True, slots=True)
class SparkPart:
    """A part beside a dataset."""

    ref: NameRef
    id: BlobId
    job: str
    size: int
    """Bytes."""
    modified: datetime
    versions: tuple[str, ...]
    """Those of its job."""


def check_has_parts(client: AmbryClient, version: VersionRef | None, info: BlobInfo, shown: str, count: int) -> None:
    """Whether a footer that names `count` files is that of the version which has them. Raises InvalidRequest."""
    if version is not None and JOB_KEY in info.metadata:
        place = NameRef(
            version.dataset, version.account or client.default_account, version.container or client.default_container
        )
        if info.metadata.get(DATASET_KEY, str(place)) == str(place):
            return
    origin, is_version = info.metadata.get(DATASET_KEY), JOB_KEY in info.metadata
    named = f"the version of {origin}" if origin else "NAME@VERSION, as which it is, or was, kept" if is_version else ""
    raise InvalidRequest(
        f"{shown} is a footer by itself: its rows lie in {count} other files, which are not kept for it. "
        f"Read {named or 'what it was copied from'}, and write a copy from there"
    )


def list_parts(client: AmbryClient, dataset: Place) -> Iterator[SparkPart]:
    """The parts beside a dataset, by their names. Raises BlobNotFound for a dataset that is not there."""
    place = in_dataset(dataset_of(dataset))
    client.dataset(dataset_text(place))
    prefix = NameRef(f"{place.dataset}{PARTS}/", place.account, place.container)
    # Parts first: a version that is made meanwhile has parts that were there before it.
    entries = list(client.list(str(prefix) if place.account else prefix.name))
    jobs = _versions_by_job(client, place)
    for entry in entries:
        found = _PART.fullmatch(entry.name.removeprefix(prefix.name))
        if found and entry.id is not None and entry.modified is not None:
            versions = tuple(jobs.get(found[1], ()))
            yield SparkPart(entry.ref, entry.id, found[1], entry.size or 0, entry.modified, versions)


def delete_unused(
    client: AmbryClient, dataset: Place, older: timedelta, tell: Callable[[str], object] = lambda _: None
) -> list[SparkPart]:
    """Delete the parts that no version has and that are older, by the store's time; those of them that are gone then, by this
    delete or by another of the same moment. `tell` hears of jobs whose parts stay, as somebody else is at them.

    `older` is to be longer than any job takes: one that is not committed yet is refused then. Raises AccessDenied, and what a
    list raises.
    """
    now = client.store_time()
    place = in_dataset(dataset_of(dataset))
    jobs: dict[str, list[SparkPart]] = {}
    for part in list_parts(client, dataset):
        if not part.versions:
            jobs.setdefault(part.job, []).append(part)
    taken: list[_TakenJob] = []
    gone: list[SparkPart] = []
    try:
        for parts in jobs.values():
            old = [each for each in parts if each.modified < now - older]
            if old and (found := _taken(client, place, old, now, tell)) is not None:
                taken.append(found)
        published = _versions_by_job(client, place) if taken else {}
        for each in taken:
            if each.job not in published:
                gone += each.delete(client)
    finally:
        for each in taken:
            if each.is_done(len(jobs[each.job])):
                each.commit.drop_list(client)
    return gone


@dataclass(slots=True)
class _TakenJob:
    """Its list is there, and nobody else is at it."""

    commit: PartsCommit
    parts: list[SparkPart]
    is_ours: bool
    """The list; one that was left tells of parts that are to go, until all are gone."""
    is_certain: bool = True
    went: int = 0

    @property
    def job(self) -> str:
        return self.commit.job

    def delete(self, client: AmbryClient) -> list[SparkPart]:
        """Those that are gone by this delete. Raises AccessDenied, Unavailable."""
        pinned = [PinnedName(each.ref.name, each.ref.account, each.ref.container, blob=each.id) for each in self.parts]
        self.is_certain = False
        results = list(client.delete_many(pinned))
        errors = [each.error for each in results if each.error is not None]
        self.is_certain = all(is_refused(each) or isinstance(each, _CHANGED) for each in errors)
        failed = [each for each in errors if not isinstance(each, _CHANGED)]
        self.went = len(results) - len(failed)
        if failed:
            raise failed[0]
        return [part for part, result in zip(self.parts, results, strict=True) if result.error is None]

    def is_done(self, count: int) -> bool:
        """Whether nobody needs the list; `count` parts of the job were there."""
        return self.is_certain if self.is_ours else self.went == count


def _taken(
    client: AmbryClient, place: VersionRef, parts: list[SparkPart], now: datetime, tell: Callable[[str], object]
) -> _TakenJob | None:
    """None where somebody else has the list of the job. Raises AccessDenied."""
    folder = NameRef(
        place.dataset, place.account or client.default_account, place.container or client.default_container
    )
    commit = PartsCommit(dataset_text(place), folder, parts[0].job)
    try:
        commit.tell(client, [each.ref for each in parts])
        return _TakenJob(commit, parts, True)
    except AlreadyExists:
        there = [each for each in client.list(str(commit.told)) if each.name == commit.told.name]
        if any(each.modified is not None and now - each.modified >= PART_TTL for each in there):
            return _TakenJob(commit, parts, False)
        tell(
            f"{len(parts)} parts of the job {commit.job} stay, of which {commit.told.name} tells: it is committed, ended "
            f"or deleted in this moment, or who did it was killed, and then they may go {PART_TTL.days} days after that"
        )
        return None


def _versions_by_job(client: AmbryClient, place: VersionRef) -> dict[str, list[str]]:
    """Of the jobs whose parts versions have."""
    jobs: dict[str, list[str]] = {}
    for version, info in infos_of(client, list(client.versions(dataset_text(place)))):
        jobs.setdefault(info.metadata.get(JOB_KEY, ""), []).append(version.version)
    return jobs
