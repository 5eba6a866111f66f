"""Versions by the SHA-256 of what they are, wherever in the history of their dataset: `NAME@sha256:<64 hexadecimal digits>`.

Who publishes says the digest in the metadata of the version (`digest_told`), so that finding it reads no bytes: one request
where the newest version has it, and else a list of the versions and what a thousand of them say, from the newest on, each one
request for a thousand. A key that reads names alone is asked for each version by itself. Of several versions with one digest,
which have the same bytes, the newest is meant. What is found is compared when it is read (`check_digest`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ambry.client.datasets import VersionEntry
from ambry.client.model import BlobInfo, Metadata
from ambry.client.refs import LATEST, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AccessDenied, BlobNotFound, ChecksumMismatch, InvalidRequest
from ambry.ml.places import DIGEST_MARK, Place, SettledVersion, dataset_text, digest_version, shown_version, version_of

HEADS = 1_000
"""Versions of one request."""
_ENDING = "-sha256"


def digest_key(kind: str) -> str:
    """What the digest of a version is called in its metadata: `model-sha256`, ..."""
    return kind + _ENDING


def located(client: AmbryClient, said: Place, digest: str | None = None) -> VersionRef:
    """The version that is meant: as it is said, or the one that has the digest, with its number.

    `digest` is looked up where no version is said; where one is, `check_digest` compares it. Raises BlobNotFound where none has
    it, InvalidRequest for what is no digest.
    """
    place = version_of(said)
    if digest is not None and place.version == LATEST:
        place = replace(place, version=digest_version(digest))
    wanted = digest_in(place)
    return _version_with(client, place, wanted) if wanted else place


def numbered(client: AmbryClient, said: Place) -> VersionRef:
    """The version that is meant, with its number; a SettledVersion is not looked up.

    Raises BlobNotFound, InvalidRequest for what is no version of a dataset.
    """
    if isinstance(said, SettledVersion):
        return said.place
    place = located(client, said)
    number = client.head(place).version
    if not number:
        raise InvalidRequest(f"{shown_version(place)} is no version of a dataset")
    return replace(place, version=number)


def digest_in(place: VersionRef) -> str:
    """The digest that names the version; empty where a number or an alias does."""
    return place.version.removeprefix(DIGEST_MARK) if place.version.startswith(DIGEST_MARK) else ""


def check_digest(exact: VersionRef, found: str, said: Place, digest: str | None = None) -> None:
    """Raises ChecksumMismatch where what was read is not what `said` or `digest` asked for."""
    for wanted in (digest, digest_in(version_of(said))):
        if wanted and wanted.lower() != found:
            raise ChecksumMismatch(f"{shown_version(exact)} has the digest {found}, and {wanted} was asked for")


def infos_of(client: AmbryClient, entries: Sequence[VersionEntry]) -> Iterator[tuple[VersionEntry, BlobInfo]]:
    """What versions are, without their bytes, in their order; those that are gone by now are left out."""
    for first in range(0, len(entries), HEADS):
        some = entries[first : first + HEADS]
        for entry, result in zip(some, client.head_many([each.id for each in some]), strict=True):
            try:
                if isinstance(result.error, AccessDenied):
                    yield entry, client.head(entry.ref)  # A key for names reads no ids.
                elif result.error is not None:
                    raise result.error
                elif result.info is not None:
                    yield entry, result.info
            except BlobNotFound:
                continue


def _version_with(client: AmbryClient, place: VersionRef, digest: str) -> VersionRef:
    newest = client.head(replace(place, version=LATEST))
    if digest in _digests(newest.metadata):
        return replace(place, version=newest.version)
    entries = list(client.versions(dataset_text(place)))
    entries.reverse()
    silent = 0
    for entry, info in infos_of(client, entries):
        told = _digests(info.metadata)
        if digest in told:
            return replace(place, version=entry.version)
        silent += not told
    told_by_none = f"; {silent} of them say{'s' if silent == 1 else ''} none" if silent else ""
    raise BlobNotFound(
        f"none of the {len(entries)} versions of {dataset_text(place)} has the SHA-256 {digest}{told_by_none}"
    )


def _digests(metadata: Metadata) -> list[str]:
    return [text for key, text in metadata.items() if key.endswith(_ENDING)]
