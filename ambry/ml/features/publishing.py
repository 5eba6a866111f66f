"""Definitions as versions of a dataset: published where nothing breaks, and read again by number, alias or digest.

A version is the package (package.py). Its number tells readers what to expect, see compatibility.py: who may go on with any
1.x takes the newest 1.x. What is published twice is there once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.ml.datasets import check_schema, dataset_for
from ambry.ml.digests import check_digest, digest_key, located
from ambry.ml.features.compatibility import DefinitionChange, Level, compare, level_of, returning
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.package import CONTENT_TYPE, PACKAGE_SIZE_MAX, pack, unpack
from ambry.ml.features.package import digest as package_digest
from ambry.ml.from_cache import used_at_once
from ambry.ml.held_back import HeldBack
from ambry.ml.places import Place, in_dataset, shown_version, version_of
from ambry.rest.versions import is_outrun, numbers_of

FIRST_VERSION = "1.0.0"
SCHEMA = "SEMANTIC"
DIGEST_KEY = digest_key("features")
"""In the metadata of a version."""
_TRIES_MAX = 20
"""Each that fails is a version that somebody else made."""


class ChangeRefused(HeldBack):
    """The change would break who reads what is published. `changes` are those that would."""

    def __init__(self, message: str, changes: list[DefinitionChange]) -> None:
        super().__init__(message)
        self.changes = changes


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFeatures:
    """A version of definitions, and what it changed; `is_new` is False where that very version was there before."""

    dataset: str
    version: str
    digest: str
    changes: tuple[DefinitionChange, ...] = ()
    is_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFeatures:
    """Definitions, and which version of a dataset they are."""

    metadata: FeatureMetadata
    version: str
    digest: str
    place: str = ""
    """As text that names it, `NAME@1.2.0` or ambry://account/container/NAME@1.2.0."""


def publish(
    client: AmbryClient,
    dataset: str,
    metadata: FeatureMetadata,
    *,
    version: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> PublishedFeatures:
    """Make the next version of the definitions, of which the dataset is made if there is none; durable on return.

    Without `version` the part rises that the changes ask for. `notes` are kept as user metadata of the version. Raises
    ChangeRefused where the change breaks readers whatever its number, or where `version` rises less than it has to;
    InvalidRequest for what could not be read again; UpdateConflict where others publish all the time.
    """
    return _publish(client, dataset, lambda latest: metadata, version, notes or {})


def publish_change(
    client: AmbryClient,
    dataset: str,
    change: Callable[[FeatureMetadata], FeatureMetadata],
    *,
    notes: Mapping[str, str] | None = None,
) -> PublishedFeatures:
    """Make of the newest version the next one by `change`, which is asked again where somebody else published meanwhile.

    So no two changes undo each other. Raises BlobNotFound where nothing was published, and what `publish` raises.
    """

    def changed(latest: FeatureMetadata | None) -> FeatureMetadata:
        if latest is None:
            raise BlobNotFound(f"the dataset {dataset!r} has no definitions; publish them first")
        return change(latest)

    return _publish(client, dataset, changed, None, notes or {})


def _publish(
    client: AmbryClient,
    dataset: str,
    make: Callable[[FeatureMetadata | None], FeatureMetadata],
    version: str | None,
    notes: Mapping[str, str],
) -> PublishedFeatures:
    for _ in range(_TRIES_MAX):
        latest = _latest(client, dataset)
        metadata = make(None if latest is None else latest.metadata)
        packed, name = pack(metadata), package_digest(metadata)
        if latest is None:
            changes: list[DefinitionChange] = []
            number = version or FIRST_VERSION
            _parts(number)
        else:
            changes = changes_after(client, dataset, latest, metadata)
            if not changes and version in (None, latest.version):
                return PublishedFeatures(dataset=dataset, version=latest.version, digest=latest.digest, is_new=False)
            number = next_version(latest.version, changes, version)
        # What cannot be read again would be the end of the dataset: nothing is published over what nobody reads.
        unpack(packed)
        told = {**notes, DIGEST_KEY: name}
        try:
            # The number and not `MINOR`: what others publish meanwhile was not compared with.
            client.put_version(
                dataset, packed, number, content_type=CONTENT_TYPE, metadata=told, filename="features.zip"
            )
        except (AlreadyExists, UpdateConflict):
            if version is not None:
                raise
            continue
        if _contradicts(client, dataset, latest, number, metadata):
            # Somebody published another level in this moment, which was not compared with. Now it is.
            client.delete(in_dataset(dataset, number))
            continue
        return PublishedFeatures(dataset=dataset, version=number, digest=name, changes=tuple(changes))
    raise UpdateConflict(is_outrun(dataset))


def changes_after(
    client: AmbryClient, dataset: str, latest: LoadedFeatures, metadata: FeatureMetadata
) -> list[DefinitionChange]:
    """What is different from the newest version, and REFUSED what was gone in it and comes back as something else."""
    back = returning(_older(client, dataset, _parts(latest.version)), latest.metadata, metadata)
    return back + compare(latest.metadata, metadata)


def _older(client: AmbryClient, dataset: str, latest: tuple[int, int, int]) -> Iterator[tuple[str, FeatureMetadata]]:
    """The versions before which something went, the newest first, with what they define: the last of each MAJOR.

    Nothing goes within one (`next_version`), so those say all that older ones do. Each is fetched once for a cache.
    """
    last: dict[int, tuple[int, int, int]] = {}
    for entry in client.versions(dataset):
        number = _parts(entry.version)
        if number[0] < latest[0]:
            last[number[0]] = max(number, last.get(number[0], number))
    for _, number in sorted(last.items(), reverse=True):
        version = ".".join(map(str, number))
        with suppress(BlobNotFound):
            yield version, load(client, in_dataset(dataset, version)).metadata


def _contradicts(
    client: AmbryClient, dataset: str, latest: LoadedFeatures | None, number: str, metadata: FeatureMetadata
) -> bool:
    """Whether a version that came since `latest` was read breaks with this one, or this one with it.

    Each publisher asks it once its own version is there, so of two that contradict each other at least one does, and goes.
    """
    mine = _parts(number)
    known = (0, 0, 0) if latest is None else _parts(latest.version)
    for entry in client.versions(dataset):
        other = _parts(entry.version)
        if other <= known or other == mine:
            continue
        try:
            theirs = load(client, in_dataset(dataset, entry.version)).metadata
        except BlobNotFound:
            continue
        changes = compare(metadata, theirs) if other > mine else compare(theirs, metadata)
        level = level_of(changes)
        if level is Level.REFUSED or (level is Level.MAJOR and other[0] == mine[0]):
            return True
    return False


def load(client: AmbryClient, place: Place, *, digest: str | None = None) -> LoadedFeatures:
    """Definitions of `NAME`, `NAME@1.2.0`, `NAME@alias` or `NAME@sha256:DIGEST` (places.py), out of the cache where they are in
    it.

    With `digest` they are the version that has it; where a version or an alias is said too, that one or none.
    Raises BlobNotFound, ChecksumMismatch for another digest, InvalidRequest for what is no package.
    """
    said = place
    try:
        place = located(client, place, digest)
        info = client.head(place)
    except BlobNotFound as error:
        name = version_of(said).dataset
        if Path(name).is_dir():
            error.message += f"; `ambry features publish {name} NAME` publishes the directory that is here, as NAME"
        raise
    if info.size > PACKAGE_SIZE_MAX:
        raise InvalidRequest(f"{place} has {info.size} bytes; definitions have at most {PACKAGE_SIZE_MAX}")
    # By its number: LATEST and aliases may point elsewhere by now.
    exact = replace(place, version=info.version)
    metadata = unpack(used_at_once(client, exact, Path.read_bytes))
    found = package_digest(metadata)
    check_digest(exact, found, said, digest)
    return LoadedFeatures(metadata=metadata, version=info.version, digest=found, place=shown_version(exact))


def next_version(latest: str, changes: Sequence[DefinitionChange], asked: str | None = None) -> str:
    """What comes after `latest` with these changes: the lowest number that may, or `asked` if that is high enough.

    Raises ChangeRefused, InvalidRequest for what is no version.
    """
    before = _parts(latest)
    level = level_of(changes)
    if level is Level.REFUSED:
        broken = [change for change in changes if change.level is Level.REFUSED]
        raise ChangeRefused(f"this breaks who reads version {latest}: {_words(broken)}", broken)
    major, minor, patch = before
    lowest = {
        Level.MAJOR: (major + 1, 0, 0),
        Level.MINOR: (major, minor + 1, 0),
    }.get(level or Level.PATCH, (major, minor, patch + 1))
    if asked is None:
        return ".".join(str(part) for part in lowest)
    if _parts(asked) < lowest:
        gravest = [change for change in changes if change.level is level]
        part = (level or Level.PATCH).name
        raise ChangeRefused(
            f"after {latest} the {part} part has to rise, so at least {'.'.join(map(str, lowest))}, and not {asked}: "
            f"{_words(gravest) or 'nothing is different'}",
            gravest,
        )
    return asked


def _latest(client: AmbryClient, dataset: str) -> LoadedFeatures | None:
    """None where there is no version yet; the dataset is there then."""
    try:
        return load(client, dataset)
    except BlobNotFound:
        pass
    check_schema(dataset_for(client, dataset, SCHEMA, "features"), SCHEMA, "definitions")
    return None


def _parts(version: str) -> tuple[int, int, int]:
    """Raises InvalidRequest."""
    try:
        major, minor, patch = numbers_of(version)
    except ValueError:  # It is none, or has another count of parts.
        raise InvalidRequest(f"{version!r} is not a version; write three numbers with dots, such as 1.2.0") from None
    return major, minor, patch


def _words(changes: Sequence[DefinitionChange]) -> str:
    more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
    return "; ".join(change.words for change in changes[:3]) + more
