"""The versions of a model with what was measured of them, the moves of its aliases, and what two versions have apart.

A list of versions costs two requests besides one for each thousand of them, and one for the manifests of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ambry.client.datasets import AliasInfo, VersionEntry
from ambry.client.refs import LATEST, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AccessDenied, BlobNotFound, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.digests import located
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.models.manifest import MANIFEST_SIZE_MAX, ModelManifest, parse_manifest
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset

CHAMPION = "champion"
READ_BYTES_MAX = 32 << 20
READ_MAX = 1_000
"""Manifests of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A version of a model in a list."""

    place: VersionRef
    id: BlobId
    modified: datetime
    aliases: tuple[str, ...]
    """Those that point to it."""
    manifest: ModelManifest | None
    """None where the version is no model."""

    @property
    def version(self) -> str:
        return self.place.version

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest; empty where the version is no model."""
        return "" if self.manifest is None else self.manifest.digest

    @property
    def metrics(self) -> Mapping[str, float]:
        return {} if self.manifest is None else self.manifest.metrics


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What one version of a model says and another says otherwise; None where one says nothing of it.

    `what` is the field of the manifest, with what of it: `metrics.auc`, `parts.model.safetensors` (by its SHA-256), `note`.
    """

    what: str
    before: Any
    after: Any


def versions_of(client: AmbryClient, dataset: Place) -> Iterator[ModelVersion]:
    """The versions of a model, from the lowest number on, each with its manifest and the aliases that point to it.

    Manifests of a thousand versions, or of 32 MiB, are in memory at a time. Raises BlobNotFound.
    """
    place = in_dataset(dataset_of(dataset))
    aliases: dict[str | None, list[str]] = {}
    for each in client.aliases(dataset_text(place)):
        aliases.setdefault(each.version, []).append(each.alias)
    for some in _groups(client.versions(dataset_text(place))):
        for entry, manifest in zip(some, _manifests(client, some), strict=True):
            yield ModelVersion(
                place=replace(place, version=entry.version),
                id=entry.id,
                modified=entry.modified,
                aliases=tuple(aliases.get(entry.version, ())),
                manifest=manifest,
            )


def history(client: AmbryClient, place: Place, alias: str = CHAMPION) -> Iterator[AliasInfo]:
    """The moves of an alias of a model, the newest first.

    `NAME@ALIAS` is of that alias; with a version or a digest, the moves that let the alias point to that version. Raises
    BlobNotFound.
    """
    said = located(client, place)
    if said.version.startswith("@"):
        alias = said.version[1:]
    version = None if said.version == LATEST or said.version.startswith("@") else said.version
    for move in client.alias_history(dataset_text(said), alias):
        if version in (None, move.version):
            yield move


def diff(client: AmbryClient, before: Place, after: Place) -> list[ModelChange]:
    """What two models have apart, by their manifests, in the order of a manifest. Raises BlobNotFound."""
    one, other = (_said_by(open_model(client, place)) for place in (before, after))
    return [
        ModelChange(what, one.get(what), other.get(what))
        for what in sorted(one.keys() | other.keys(), key=_order)
        if one.get(what) != other.get(what)
    ]


_FIELDS = (
    "kind",
    "parts",
    "framework",
    "features",
    "definitions",
    "snapshot",
    "code",
    "metrics",
    "params",
    "parent",
    "note",
)
_BY_NAME = ("framework", "metrics", "params")


def _said_by(model: StoredModel) -> dict[str, Any]:
    manifest = model.manifest
    said: dict[str, Any] = {f"parts.{part.path}": part.sha256 for part in manifest.parts}
    for field in _FIELDS:
        if field in _BY_NAME:
            said |= {f"{field}.{name}": value for name, value in getattr(manifest, field).items()}
        elif field != "parts" and getattr(manifest, field) not in ("", ()):
            value = getattr(manifest, field)
            said[field] = list(value) if isinstance(value, tuple) else value
    return said


def _order(what: str) -> tuple[int, str]:
    return _FIELDS.index(what.partition(".")[0]), what


def _groups(entries: Iterable[VersionEntry]) -> Iterator[list[VersionEntry]]:
    some: list[VersionEntry] = []
    size = 0
    for entry in entries:
        if some and (len(some) == READ_MAX or size + entry.size > READ_BYTES_MAX):
            yield some
            some, size = [], 0
        some.append(entry)
        size += entry.size if entry.size <= MANIFEST_SIZE_MAX else 0
    if some:
        yield some


def _manifests(client: AmbryClient, some: Sequence[VersionEntry]) -> Iterator[ModelManifest | None]:
    read = [entry for entry in some if entry.size <= MANIFEST_SIZE_MAX]
    found = dict(zip([entry.id for entry in read], client.get_many([entry.id for entry in read]), strict=True))
    for entry in some:
        result = found.get(entry.id)
        try:
            if result is None:
                yield None
            elif isinstance(result.error, AccessDenied):
                yield parse_manifest(client.get_bytes(entry.ref))  # A key for names reads no ids.
            elif result.error is not None:
                raise result.error
            else:
                yield parse_manifest(result.data)
        except (InvalidRequest, BlobNotFound):
            yield None
