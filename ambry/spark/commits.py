"""Parts of a job become one version, or go: whatever is killed meanwhile, no version lacks a part.

A part has a lifetime. Before any of them is to stay, a list of them stands in <dataset>.commits/<job>, which goes when the
version is there. One that is left tells of a driver that ended between the two: with the next commit of that dataset, PART_TTL
later, its parts go where no version is of that job, and the list with them. Whose key deletes nothing leaves an empty one
behind each version, which goes by itself, and behind a job that failed the whole one, until somebody comes who may delete it.
Parts of a version stay when that is deleted, by hand or by a retention: nothing here takes them away.

Of a commit, the end of a job and a delete of unused parts (stored_parts.py) one alone has the list, as each makes it only where
there is none: Spark may end a job whose commit still runs, or has ended without an answer. A job that has a version and is
committed again keeps that version, and gets no other. Who deletes parts has looked for their job among all versions; how old a
list is, the store says, and no clock of a driver does. All of it is so within one datacenter: another one hears of a list, and
of a version, a moment later.

A typed snapshot has the rows of the parts, and none of them: they go with its commit, which has a list all the same, so that
a job gets one version. Where the version of its time is there with the same rows, that stays of the job that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ambry.client.names import NameEntry
from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    BlobNotFound,
    InvalidRequest,
    QuotaExceeded,
    Unavailable,
    UpdateConflict,
)
from ambry.ml.datasets import dataset_for
from ambry.ml.digests import infos_of

PARTS = ".parts"
COMMITS = ".commits"
SCHEMA = "MONOTONIC"
"""Of the versions of a dataset that is made for a frame."""
PART_TTL = timedelta(days=7)
CONTENT_TYPE = "application/vnd.apache.parquet"
KIND = "parquet"
PARTS_KEY = "parquet-parts"
JOB_KEY = "parquet-job"
DATASET_KEY = "parquet-dataset"
"""In the metadata of a version: how many parts its row groups lie in, which job wrote them, and beside which dataset."""
ROWS_JOB_KEY = "snapshot-job"
"""In the metadata of a typed snapshot: which job its rows are of. It has no part."""
_REFUSALS = (InvalidRequest, AlreadyExists, UpdateConflict, BlobNotFound, AccessDenied, QuotaExceeded)
_OF_THE_MOMENT = (AccessDenied, QuotaExceeded)
"""What is refused of one try so, may be allowed to another."""


def is_refused(error: AmbryError) -> bool:
    """Whether nothing was done, nor will be, unless an earlier try of the same call did it and is to be seen by now.

    Such a try, whose answer was lost, may still run where the last one is refused for what holds in this moment: the room that
    is lacking may be what the first one took. Of all other errors, as of an answer that did not come in time, nobody knows.
    """
    return isinstance(error, _REFUSALS) and not (error.repeated and isinstance(error, _OF_THE_MOMENT))


def part_gone(error: BlobNotFound) -> BlobNotFound:
    """What a commit says that misses one."""
    return BlobNotFound(
        f"a part of this job is gone ({error}): the job took more than {PART_TTL.days} days, its parts are deleted as unused "
        "(`ambry dataset parts`, with an --older that is shorter than the job), or a commit before this one took them. Nothing "
        "is published here; look for a version of that commit before you write the frame again"
    )


@dataclass(frozen=True, slots=True)
class PartsCommit:
    """Of one job. `folder` is the dataset as a name, whose parts and lists lie beside it."""

    dataset: str
    folder: NameRef
    job: str

    def part(self, task: str) -> NameRef:
        return self._beside(f"{PARTS}/{self.job}/{task}.parquet")

    @property
    def told(self) -> NameRef:
        """Where the list of the parts stands while the job is committed."""
        return self._beside(f"{COMMITS}/{self.job}")

    def publish(self, client: AmbryClient, parts: Sequence[NameRef], footer: bytes, version: str) -> None:
        """One version of all parts; a job that has one gets no other. Where it is refused, they are gone.

        Raises what `put_version` raises; AlreadyExists where the job was ended, or committed, by somebody else; Unavailable
        where nobody knows whether there is a version: a refusal is none where an earlier try made the version, and its answer
        was lost.
        """
        now = self._begin(client, parts)
        if now is None:
            self.drop_list(client)
            return
        try:
            dataset_for(client, self.dataset, SCHEMA, KIND)
            self.tidy(client, now)
            try:
                for each in parts:
                    client.update_ttl(each, None)
            except BlobNotFound as error:
                raise part_gone(error) from error
        except AmbryError:
            self.forget(client, parts)
            raise
        try:
            client.put_version(
                self.dataset,
                footer,
                version,
                content_type=CONTENT_TYPE,
                metadata={PARTS_KEY: str(len(parts)), JOB_KEY: self.job, DATASET_KEY: str(self.folder)},
                filename=f"{self.folder.name}.parquet",
            )
        except AmbryError as error:
            if not self._is_published(client, error):
                self.forget(client, parts)
                raise
        self.drop_list(client)

    def copy(self, client: AmbryClient, parts: Sequence[NameRef], make: Callable[[], object]) -> None:
        """One version with the rows of all parts, which are deleted, whatever comes of it, once the list of them stands: what
        cannot be goes by itself, as all of them do before that. A job that has a version gets no other.

        `make` says the job in the metadata of the version (ROWS_JOB_KEY). Raises what it raises, and as `publish` does.
        """
        now = self._begin(client, parts)
        try:
            if now is not None:
                self.tidy(client, now)
                make()
        except AmbryError as error:
            if not self._is_published(client, error):
                raise
        finally:
            # None of them is to stay, so what is left goes by itself, and nobody needs a list of it.
            with suppress(AmbryError):
                client.delete_many(parts)
            self.drop_list(client)

    def forget(self, client: AmbryClient, parts: Sequence[NameRef]) -> None:
        """No version is of this job. What cannot be deleted now goes by itself, or by its list, which stays till then."""
        with suppress(AmbryError):
            found = client.delete_many(parts)
            if all(each.ok or isinstance(each.error, BlobNotFound) for each in found):
                client.delete(self.told)

    def abort(self, client: AmbryClient, parts: Sequence[NameRef]) -> None:
        """Spark gave the job up: before its commit, after one that failed, or after one whose answer it never got.

        A commit that has begun, and has not ended, has a list; what it left is done by `tidy`.
        """
        if not parts:
            return
        with suppress(AmbryError):
            self.tell(client, parts)
            if self.job in self._jobs(client):
                self.drop_list(client)
            else:
                self.forget(client, parts)

    def tidy(self, client: AmbryClient, now: datetime) -> None:
        """What drivers left that were killed in the middle of a commit, PART_TTL ago; what cannot be done now is next time.

        `now` is the store's, whose clocks agree: a driver's may be years ahead, and a list be of a commit that runs.
        """
        with suppress(AmbryError):
            lists = client.list(str(self._beside(f"{COMMITS}/")))
            old = [each for each in lists if each.modified and now - each.modified >= PART_TTL]
            published = self._jobs(client) if old else ()
            for entry in old:
                with suppress(AmbryError):
                    self._finish(client, entry, published)

    def _begin(self, client: AmbryClient, parts: Sequence[NameRef]) -> datetime | None:
        """Returns the store's time, and None for a job that has a version; the list stands then. Raises as `publish` does."""
        try:
            now = self.tell(client, parts)
        except AlreadyExists as error:
            raise AlreadyExists(
                f"{self.told} is there: Spark ended this job before its commit began, or commits it a second time, or its "
                "parts are deleted as unused (`ambry dataset parts`, with an --older that is shorter than the job). Nothing is "
                f"published here; look at `ambry ls {self.dataset}` before you write the frame again"
            ) from error
        try:
            return None if self.job in self._jobs(client) else now or client.store_time()
        except AmbryError:
            # The parts may be those of a version. If they are not, they still have a lifetime, and need no list.
            self.drop_list(client)
            raise

    def tell(self, client: AmbryClient, parts: Sequence[NameRef]) -> datetime | None:
        """List the parts where no list of them is. Returns the store's time. Raises AlreadyExists."""
        names = "\n".join(each.name for each in parts)
        told = client.put(names.encode(), name=self.told, content_type="text/plain", if_absent=True)
        return told.created

    def drop_list(self, client: AmbryClient) -> None:
        """Nobody needs it. What cannot be done now, `tidy` does. A life is never shortened: who may not delete it writes one
        over it that ends.
        """
        with suppress(AmbryError):
            try:
                client.delete(self.told)
            except AccessDenied:
                client.put(b"", name=self.told, ttl=PART_TTL, content_type="text/plain")

    def _finish(self, client: AmbryClient, entry: NameEntry, published: Collection[str]) -> None:
        """A list that is left. One that names other things than parts of its job is none of ours, and stays."""
        left = replace(self, job=entry.name.removeprefix(self.told.name.removesuffix(self.job)))
        if left.job in published:
            left.drop_list(client)
            return
        begin = self._beside(f"{PARTS}/{left.job}/").name
        names = [name for name in client.get_bytes(entry.ref).decode(errors="replace").split("\n") if name]
        if all(name.startswith(begin) and "/" not in name.removeprefix(begin) for name in names):
            left.forget(client, [replace(self.folder, name=name) for name in names])

    def _jobs(self, client: AmbryClient) -> set[str]:
        """Those of all versions that there are; none of a dataset that is not there. Raises what a list of versions raises."""
        try:
            entries = list(client.versions(self.dataset))
        except BlobNotFound:
            return set()
        said = [info.metadata for _, info in infos_of(client, entries)]
        return {each[key] for each in said for key in (JOB_KEY, ROWS_JOB_KEY) if key in each}

    def _is_published(self, client: AmbryClient, error: AmbryError) -> bool:
        """The answer may have been lost, and then there is a version of this job. Raises Unavailable where that is not known,
        as it is where nobody finds one, unless what failed was refused.
        """
        with suppress(AmbryError):
            if self.job in self._jobs(client):
                return True
            if is_refused(error):
                return False
        raise Unavailable(
            f"{error}; whether {self.dataset} has got a version of this frame is not known: look at "
            f"`ambry ls {self.dataset}` before you write it again. Parts that are left of it, and no version has, go by "
            f"themselves, or when the dataset is written again after {PART_TTL.days} days"
        ) from error

    def _beside(self, rest: str) -> NameRef:
        return replace(self.folder, name=f"{self.folder.name}{rest}")
