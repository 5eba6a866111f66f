"""Parts of a job become one version, or go: whatever is killed meanwhile, no version lacks a part, and no part stays for ever.

A part has a lifetime. Before any of them is to stay, a list of them stands in <dataset>.commits/<job>, which goes when the
version is there. One that is left tells of a driver that ended between the two: with the next commit of that dataset, PART_TTL
later, its parts go where no version is of that job, and the list with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    InvalidRequest,
    QuotaExceeded,
    Unavailable,
    UpdateConflict,
)
from ambry.ml.datasets import dataset_for

PARTS = ".parts"
COMMITS = ".commits"
PART_TTL = timedelta(days=7)
CONTENT_TYPE = "application/vnd.apache.parquet"
PARTS_KEY = "parquet-parts"
JOB_KEY = "parquet-job"
"""In the metadata of a version: how many parts its row groups lie in, and which job wrote them."""
_REFUSED = (InvalidRequest, AlreadyExists, UpdateConflict, AccessDenied, QuotaExceeded)


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
        """One version of all parts. Where it is refused, they are gone.

        Raises what `put_version` raises; Unavailable where nobody knows whether there is a version.
        """
        try:
            dataset_for(client, self.dataset, "MONOTONIC", "parquet")
            self.tidy(client, datetime.now(UTC))
            client.put("\n".join(each.name for each in parts).encode(), name=self.told, content_type="text/plain")
            for each in parts:
                client.update_ttl(each, None)
        except AmbryError:
            self.forget(client, parts)
            raise
        try:
            client.put_version(
                self.dataset,
                footer,
                version,
                content_type=CONTENT_TYPE,
                metadata={PARTS_KEY: str(len(parts)), JOB_KEY: self.job},
                filename=f"{self.folder.name}.parquet",
            )
        except _REFUSED:
            self.forget(client, parts)
            raise
        except AmbryError as error:
            self._look(client, error)
        with suppress(AmbryError):
            client.delete(self.told)

    def forget(self, client: AmbryClient, parts: Sequence[NameRef]) -> None:
        """No version is of this job. What cannot be deleted now goes by itself, or by its list."""
        with suppress(AmbryError):
            for each in parts:
                client.delete(each)
            client.delete(self.told)

    def abort(self, client: AmbryClient, parts: Sequence[NameRef]) -> None:
        """Spark gave the job up; it does so too where a commit failed, which has done what there is to do."""
        with suppress(AmbryError):
            if not client.exists(self.told):
                self.forget(client, parts)

    def tidy(self, client: AmbryClient, now: datetime) -> None:
        """What drivers left that were killed in the middle of a commit, PART_TTL ago; what cannot be done now is next time."""
        with suppress(AmbryError):
            for entry in client.list(str(self._beside(f"{COMMITS}/"))):
                created = client.head(entry.ref).created
                if created is None or now - created < PART_TTL:
                    continue
                left = replace(self, job=entry.name.rpartition("/")[2])
                if left.is_published(client):
                    client.delete(entry.ref)
                else:
                    names = client.get_bytes(entry.ref).decode().split("\n")
                    left.forget(client, [replace(entry.ref, name=name) for name in names])

    def is_published(self, client: AmbryClient) -> bool:
        """Whether a version is of this job. Raises what a list of versions raises."""
        entries = client.versions(self.dataset)
        return any(client.head(entry.ref).metadata.get(JOB_KEY) == self.job for entry in entries)

    def _look(self, client: AmbryClient, error: AmbryError) -> None:
        """The answer may have been lost, and then a version has these parts. Raises Unavailable where none is seen now."""
        with suppress(AmbryError):
            if self.is_published(client):
                return
        raise Unavailable(
            f"{error}; whether {self.dataset} has got a version of this frame is not known: look at "
            f"`ambry ls {self.dataset}` before you write it again. The parts of a version that is not there go after "
            f"{PART_TTL.days} days, when the dataset is written again"
        ) from error

    def _beside(self, rest: str) -> NameRef:
        return replace(self.folder, name=f"{self.folder.name}{rest}")
