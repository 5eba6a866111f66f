"""The parts that lie beside a dataset, which versions use them, and the end of those that none does.

A part is stored before the manifest that names it, so what was refused, or was never published, leaves its parts. Nothing ends
them by itself: a model that is being published, or a job that still runs, has its parts there too. A list costs a request for
each thousand parts and each thousand versions, and the manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ambry.client.refs import NameRef, PinnedName, VersionRef
from ambry.client.store_time import store_time
from ambry.client.sync.client import AmbryClient
from ambry.ids import BlobId
from ambry.ml.models.histories import versions_of
from ambry.ml.models.parts import part_name
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset

Users = Callable[[], Mapping[BlobId, Sequence[str]]]
"""Looks up who uses a blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPart:
    """A content beside a dataset."""

    ref: NameRef
    id: BlobId
    size: int
    """Bytes."""
    modified: datetime
    users: tuple[str, ...]
    """The versions that have it among their parts; of a tree, the jobs that run with it."""

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
    yield from list_contents(client, str(prefix) if place.account else prefix.name, lambda: _users(client, place))


def list_contents(client: AmbryClient, prefix: str, look_up: Users) -> Iterator[ListedPart]:
    """What lies below a folder of contents, each with who uses it."""
    # Contents first: what is published meanwhile has parts that were there before its version.
    entries = list(client.list(prefix))
    users = look_up()
    for entry in entries:
        if entry.id is not None and entry.modified is not None:
            yield ListedPart(
                ref=entry.ref,
                id=entry.id,
                size=entry.size or 0,
                modified=entry.modified,
                users=tuple(users.get(entry.id, ())),
            )


def delete_unused(client: AmbryClient, dataset: Place, older: timedelta) -> list[ListedPart]:
    """Delete the parts that no version uses and that are older, by the store's time; those that went.

    A part that a version has taken up meanwhile is brought back. One that is taken up by a model whose version comes after
    that is lost to it: `older` is to be longer than any publishing takes. Raises AccessDenied, and what a list raises.
    """
    place = in_dataset(dataset_of(dataset))
    return delete_contents(client, list_parts(client, dataset), lambda: _users(client, place), older)


def delete_contents(
    client: AmbryClient, parts: Iterable[ListedPart], look_up: Users, older: timedelta
) -> list[ListedPart]:
    """Delete those that nobody uses and that are older; the same for any folder of contents."""
    before = store_time(client) - older
    unused = [part for part in parts if not part.users and part.modified < before]
    results = client.delete_many(
        PinnedName(each.ref.name, each.ref.account, each.ref.container, blob=each.id) for each in unused
    )
    gone: list[ListedPart] = []
    for part, result in zip(unused, results, strict=True):
        if result.error is not None:
            raise result.error
        gone.append(part)
    users = look_up() if gone else {}
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
