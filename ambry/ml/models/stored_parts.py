"""The parts that lie beside a dataset, which versions use them, and the end of those that none does.

A part is stored before the manifest that names it, so what was refused, or was never published, leaves its parts. Nothing ends
them by itself: a model that is being published, or a job that still runs, has its parts there too. A list costs a request for
each thousand parts and each thousand versions, and the manifests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ambry.client.refs import NameRef, PinnedName, VersionRef
from ambry.client.store_time import store_time
from ambry.client.sync.client import AmbryClient
from ambry.ids import BlobId
from ambry.ml.models.histories import versions_of
from ambry.ml.models.parts import part_name
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPart:
    """A content beside a dataset."""

    ref: NameRef
    id: BlobId
    size: int
    """Bytes."""
    modified: datetime
    versions: tuple[str, ...]
    """Those that have it among their parts."""

    @property
    def sha256(self) -> str:
        return self.ref.name.rpartition("/")[2]


def list_parts(client: AmbryClient, dataset: Place) -> Iterator[ListedPart]:
    """The parts beside a dataset, by their SHA-256, each with the blob that its name has now.

    Raises BlobNotFound for a dataset that is not there.
    """
    place = in_dataset(dataset_of(dataset))
    client.dataset(dataset_text(place))
    prefix = part_name(place, "")
    # Parts first: what is published meanwhile has parts that were there before its version.
    entries = list(client.list(str(prefix) if place.account else prefix.name))
    users = _users(client, place)
    for entry in entries:
        if entry.id is not None and entry.modified is not None:
            yield ListedPart(
                ref=entry.ref,
                id=entry.id,
                size=entry.size or 0,
                modified=entry.modified,
                versions=tuple(users.get(entry.id, ())),
            )


def delete_unused(client: AmbryClient, dataset: Place, older: timedelta) -> list[ListedPart]:
    """Delete the parts that no version uses and that are older, by the store's time; those that went.

    A part that a version has taken up meanwhile is brought back. One that is taken up by a model whose version comes after
    that is lost to it: `older` is to be longer than any publishing takes. Raises AccessDenied, and what a list raises.
    """
    before = store_time(client) - older
    unused = [part for part in list_parts(client, dataset) if not part.versions and part.modified < before]
    results = client.delete_many(
        PinnedName(each.ref.name, each.ref.account, each.ref.container, blob=each.id) for each in unused
    )
    gone: list[ListedPart] = []
    for part, result in zip(unused, results, strict=True):
        if result.error is not None:
            raise result.error
        gone.append(part)
    users = _users(client, in_dataset(dataset_of(dataset))) if gone else {}
    for part in gone:
        if part.id in users:
            client.undelete(part.ref)
    return [part for part in gone if part.id not in users]


def _users(client: AmbryClient, place: VersionRef) -> dict[BlobId, list[str]]:
    """Which versions use a blob."""
    users: dict[BlobId, list[str]] = {}
    for version in versions_of(client, dataset_text(place)):
        for part in () if version.manifest is None else version.manifest.parts:
            users.setdefault(part.id, []).append(version.version)
    return users
