"""The parts that lie beside a dataset, which versions use them, and the end of those that none does.

A part is stored before the manifest that names it, so what was refused, or was never published, leaves its parts. Nothing ends
them by itself: a model that is being published, or a job that still runs, has its parts there too. A list costs a request for
each thousand parts and each thousand versions, and the manifests.

A delete sets aside what it found first: it renames it, so that nobody who looks for the content finds it any more, and whoever
has its blob by the id has that still. Then it looks again, who uses what is set aside and who has taken it up meanwhile, brings
that back, and deletes the rest. Whoever reuses a content notes that before it looks for its name (parts.py), so that this look
sees the note of all who found it. Where it is killed, what is set aside is there, and the next one goes on with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ambry.client.names import NameEntry
from ambry.client.refs import NameRef, PinnedName, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, InvalidRequest, PreconditionFailed, UpdateConflict
from ambry.ids import BlobId
from ambry.ml.digests import infos_of
from ambry.ml.models.histories import versions_of
from ambry.ml.models.parts import PARTS, REUSED, STORED, UNUSED, contents_of, meant, part_name
from ambry.ml.models.publishing import KIND_KEY
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset, shown_version

Users = Callable[[], Mapping[BlobId, Sequence[str]]]
"""Looks up who uses a blob."""
_DONE_BY_ANOTHER = (AlreadyExists, BlobNotFound, PreconditionFailed, UpdateConflict)
"""Another delete, or who took it up, was there in this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPart:
    """A content beside a dataset."""

    ref: NameRef
    id: BlobId
    size: int
    """Bytes."""
    modified: datetime
    """When it was stored, or handed in again last."""
    users: tuple[str, ...]
    """The versions that have it among their parts; of a tree, the jobs that run with it."""

    unread: tuple[str, ...] = ()
    """Versions of a later release, where none that this one can read has it: nobody can tell whether they have."""
    reused: datetime | None = None
    """When it was handed in again, where that is known."""
    set_aside: BlobId | None = None
    """The blob that a delete meant that was killed, or goes on."""

    @property
    def sha256(self) -> str:
        return self.ref.name.rpartition("/")[2]

    @property
    def is_meant(self) -> bool:
        """Whether it is what was to be set aside, and not what somebody stored in its place in that moment."""
        return self.set_aside == self.id


def list_parts(client: AmbryClient, dataset: Place) -> Iterator[ListedPart]:
    """The parts beside a dataset, by their SHA-256, each with the blob that its name has now.

    Raises BlobNotFound for a dataset that is not there.
    """
    place = in_dataset(dataset_of(dataset))
    client.dataset(dataset_text(place))
    unread: list[str] = []
    for part in list_contents(client, place, PARTS, lambda: _users(client, place, unread)):
        yield part if part.users else replace(part, unread=tuple(unread))


def list_contents(client: AmbryClient, place: VersionRef, folder: str, look_up: Users) -> Iterator[ListedPart]:
    """The contents of a folder, each with who uses it."""
    # Contents first: what is taken up or published meanwhile has parts that were there before.
    stored: list[tuple[NameEntry, str, BlobId | None]] = [
        (*found, None) for found in contents_of(client, place, folder, STORED)
    ]
    for entry, sha256 in contents_of(client, place, folder, UNUSED):
        if (blob := meant(entry)) is not None:
            stored.append((entry, sha256, blob))
    reused: dict[str, datetime] = {}
    for note, sha256 in contents_of(client, place, folder, REUSED):
        if note.modified is not None:
            reused[sha256] = max(note.modified, reused.get(sha256, note.modified))
    users = look_up()
    for entry, sha256, set_aside in stored:
        if entry.id is None or entry.modified is None:
            continue
        again = reused.get(sha256)
        yield ListedPart(
            ref=replace(part_name(place, sha256, folder), name=entry.name),
            id=entry.id,
            size=entry.size or 0,
            modified=entry.modified if again is None else max(entry.modified, again),
            users=tuple(users.get(entry.id, ())),
            reused=again,
            set_aside=set_aside,
        )


def delete_unused(client: AmbryClient, dataset: Place, older: timedelta) -> list[ListedPart]:
    """Delete the parts that no version uses and that are older, by the store's time; those that are gone then.

    The age counts from when a part was stored, or was handed in again last. So a model whose parts were handed in, stored or
    found, less than `older` before its version comes has all of them, whoever is killed: `older` is to be longer than any
    publishing takes, and at most a year. It takes `name` beside `read` and `delete`. Raises AccessDenied, what a list raises,
    and InvalidRequest where a version is a model of a later release.
    """
    place = in_dataset(dataset_of(dataset))
    client.dataset(dataset_text(place))
    return delete_contents(client, place, PARTS, lambda: _known_users(client, place), older)


def delete_contents(
    client: AmbryClient, place: VersionRef, folder: str, look_up: Users, older: timedelta
) -> list[ListedPart]:
    """Delete those that nobody uses and that are older, and return those that are gone then, by this delete or by another of
    the same moment; the same for any folder of contents.
    """
    before = client.store_time() - older
    may_delete = False
    for part in list_contents(client, place, folder, look_up):
        if part.set_aside is None and not part.users and part.modified < before:
            aside = part_name(place, f"{part.id}/{part.sha256}", folder, within=UNUSED)
            if not may_delete:
                nobodys = part_name(place, secrets.token_hex(16), folder, within=UNUSED)
                _check_may_delete(client, PinnedName(nobodys.name, nobodys.account, nobodys.container, blob=part.id))
                may_delete = True
            with suppress(*_DONE_BY_ANOTHER):
                client.rename(part.ref, aside)
    unused: list[ListedPart] = []
    for part in list_contents(client, place, folder, look_up):
        if part.set_aside is None:
            continue
        # What is set aside was old enough then, and is younger by a note alone.
        if part.is_meant and not part.users and (part.reused is None or part.reused < before):
            unused.append(part)
        else:
            # Somebody may have stored the same content anew: then this blob stays here while it is used.
            with suppress(*_DONE_BY_ANOTHER):
                client.rename(part.ref, part_name(place, part.sha256, folder))
    results = client.delete_many(
        PinnedName(each.ref.name, each.ref.account, each.ref.container, blob=each.id) for each in unused
    )
    gone: list[ListedPart] = []
    for part, result in zip(unused, results, strict=True):
        if result.error is None:
            gone.append(part)
        elif not isinstance(result.error, _DONE_BY_ANOTHER):
            raise result.error
    # What got its name back in that moment was no more to be found under the other one, which is no failure of a delete.
    kept = {entry.id for entry, _ in contents_of(client, place, folder, STORED)} if gone else set()
    return [part for part in gone if part.id not in kept]


def _check_may_delete(client: AmbryClient, nobodys: PinnedName) -> None:
    """Refuse who may not delete before anything is set aside, by a name that nobody has. Raises AccessDenied."""
    with suppress(*_DONE_BY_ANOTHER):
        client.delete(nobodys)


def _known_users(client: AmbryClient, place: VersionRef) -> dict[BlobId, list[str]]:
    """Raises InvalidRequest for a model that this release cannot read."""
    unread: list[str] = []
    users = _users(client, place, unread)
    if unread:
        raise InvalidRequest(
            f"{shown_version(replace(place, version=unread[0]))} is a model that this release cannot read, so that nobody can "
            "tell which parts it has: upgrade, or delete that version"
        )
    return users


def _users(client: AmbryClient, place: VersionRef, models_unread: list[str]) -> dict[BlobId, list[str]]:
    """Which versions use a blob. Models that this release cannot read are told in `models_unread`."""
    users: dict[BlobId, list[str]] = {}
    unread: set[str] = set()
    for version in versions_of(client, dataset_text(place)):
        if version.manifest is None:
            unread.add(version.version)
            continue
        for part in version.manifest.parts:
            users.setdefault(part.id, []).append(version.version)
    if unread:
        entries = [entry for entry in client.versions(dataset_text(place)) if entry.version in unread]
        for entry, info in infos_of(client, entries):
            if KIND_KEY in info.metadata:
                models_unread.append(entry.version)
    return users
