"""The parts of versions that Spark wrote, and the end of those that no version has.

A part stays when its version is deleted, by hand or by a retention: who deletes versions knows nothing of parts. Which job
wrote a version stands in its metadata, and in the names of its parts. A list costs a request for each thousand parts and each
thousand versions, and one for what a thousand versions say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, UpdateConflict
from ambry.ml.digests import infos_of
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset
from ambry.spark.commits import JOB_KEY, PARTS

_PART = re.compile(r"([0-9a-f]{16})/[^/]+\.parquet")


@dataclass(frozen=True, slots=True)
class SparkPart:
    """A part beside a dataset."""

    ref: NameRef
    job: str
    size: int
    """Bytes."""
    modified: datetime
    versions: tuple[str, ...]
    """Those of its job."""


def list_parts(client: AmbryClient, dataset: Place) -> Iterator[SparkPart]:
    """The parts beside a dataset, by their names. Raises BlobNotFound for a dataset that is not there."""
    place = in_dataset(dataset_of(dataset))
    client.dataset(dataset_text(place))
    prefix = NameRef(f"{place.dataset}{PARTS}/", place.account, place.container)
    # Parts first: a version that is made meanwhile has parts that were there before it.
    entries = list(client.list(str(prefix) if place.account else prefix.name))
    jobs: dict[str, list[str]] = {}
    for version, info in infos_of(client, list(client.versions(dataset_text(place)))):
        jobs.setdefault(info.metadata.get(JOB_KEY, ""), []).append(version.version)
    for entry in entries:
        found = _PART.fullmatch(entry.name.removeprefix(prefix.name))
        if found and entry.modified is not None:
            versions = tuple(jobs.get(found[1], ()))
            yield SparkPart(replace(prefix, name=entry.name), found[1], entry.size or 0, entry.modified, versions)


def delete_unused(client: AmbryClient, dataset: Place, older: timedelta) -> list[SparkPart]:
    """Delete the parts that no version has and that are older, by the store's time; those that went.

    `older` is to be longer than any job takes. Raises AccessDenied, and what a list raises.
    """
    before = client.store_time() - older
    unused = [part for part in list_parts(client, dataset) if not part.versions and part.modified < before]
    gone: list[SparkPart] = []
    for part, result in zip(unused, client.delete_many([each.ref for each in unused]), strict=True):
        if result.error is None:
            gone.append(part)
        elif not isinstance(result.error, BlobNotFound | UpdateConflict):  # Another delete did it, or does.
            raise result.error
    return gone
