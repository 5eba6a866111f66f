"""The parts of versions that Spark wrote, which versions have them, and the end of those that none has.

A version has the parts of the job in its metadata, and no others: its bytes are a footer that names parts by their ids, and
whoever stores those bytes once more, as a blob or a version of another dataset, gets no part with them. Such a copy is not
read, also while the parts are there: who looks for unused parts cannot know of it.

A part stays when its version is deleted, by hand or by a retention: who deletes versions knows nothing of parts. Which job
wrote a version stands in its metadata, and in the names of its parts. A list costs a request for each thousand parts and each
thousand versions, and one for what a thousand versions say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ambry.client.model import BlobInfo
from ambry.client.refs import NameRef, PinnedName, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest, PreconditionFailed, UpdateConflict
from ambry.ids import BlobId
from ambry.ml.digests import infos_of
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset
from ambry.spark.commits import DATASET_KEY, JOB_KEY, PARTS

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
    jobs: dict[str, list[str]] = {}
    for version, info in infos_of(client, list(client.versions(dataset_text(place)))):
        jobs.setdefault(info.metadata.get(JOB_KEY, ""), []).append(version.version)
    for entry in entries:
        found = _PART.fullmatch(entry.name.removeprefix(prefix.name))
        if found and entry.id is not None and entry.modified is not None:
            versions = tuple(jobs.get(found[1], ()))
            yield SparkPart(entry.ref, entry.id, found[1], entry.size or 0, entry.modified, versions)


def delete_unused(client: AmbryClient, dataset: Place, older: timedelta) -> list[SparkPart]:
    """Delete the parts that no version has and that are older, by the store's time; those of them that are gone then, by this
    delete or by another of the same moment.

    `older` is to be longer than any job takes. Raises AccessDenied, and what a list raises.
    """
    before = client.store_time() - older
    unused = [part for part in list_parts(client, dataset) if not part.versions and part.modified < before]
    pinned = [PinnedName(each.ref.name, each.ref.account, each.ref.container, blob=each.id) for each in unused]
    gone: list[SparkPart] = []
    for part, result in zip(unused, client.delete_many(pinned), strict=True):
        if result.error is None:
            gone.append(part)
        elif not isinstance(result.error, _CHANGED):
            raise result.error
    return gone
