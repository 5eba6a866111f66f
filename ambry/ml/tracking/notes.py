"""What MLflow lets its users change of a model or a version: a description and tags, in a document beside the dataset.

    <dataset>.notes/model.json
    <dataset>.notes/<version>.json

A version never changes; this does, each time only from what was read before, so that of two changes at once none is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import (
    MALFORMED,
    AlreadyExists,
    BlobNotFound,
    DataCorrupt,
    InvalidRequest,
    PreconditionFailed,
    UpdateConflict,
)

MODEL = "model"
NOTES_SIZE_MAX = 4 << 20
"""Bytes."""
TAGS_MAX = 1_000
_TRIES_MAX = 20
_CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNotes:
    """Of a model, or of one version."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0
    """When MLflow made it; 0 where it did not."""

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if len(self.tags) > TAGS_MAX:
            raise InvalidRequest(f"a model or a version has at most {TAGS_MAX} tags")

    def encode(self) -> bytes:
        """Raises InvalidRequest for what is too large."""
        said = {"description": self.description, "tags": dict(self.tags), "created_ms": self.created_ms}
        data = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
        if len(data) > NOTES_SIZE_MAX:
            raise InvalidRequest(
                f"the description and the tags have {len(data)} bytes; at most {NOTES_SIZE_MAX} are kept"
            )
        return data

    @classmethod
    def parse(cls, data: bytes) -> ModelNotes:
        """Raises DataCorrupt."""
        try:
            said: Any = json.loads(data)
            return cls(
                description=str(said["description"]),
                tags={str(key): str(value) for key, value in said["tags"].items()},
                created_ms=int(said["created_ms"]),
            )
        except MALFORMED as error:
            raise DataCorrupt(f"these are no notes of a model: {error}") from error


def notes_of(client: AmbryClient, dataset: str, what: str = MODEL) -> ModelNotes:
    """Of a version, or of the model; empty where nobody wrote any."""
    return _read(client, _place(dataset, what))[0]


def change_notes(
    client: AmbryClient, dataset: str, change: Callable[[ModelNotes], ModelNotes], what: str = MODEL
) -> ModelNotes:
    """Change them, on top of whatever others change meanwhile. Raises UpdateConflict where they change all the time."""
    place = _place(dataset, what)
    for _ in range(_TRIES_MAX):
        before, etag = _read(client, place)
        after = change(before)
        if after == before and etag is not None:
            return after
        try:
            client.put(after.encode(), name=place, if_absent=etag is None, if_match=etag, content_type=_CONTENT_TYPE)
        except (AlreadyExists, PreconditionFailed, UpdateConflict):
            continue
        return after
    raise UpdateConflict(f"others change the notes of {dataset!r} all the time; try again")


def drop_notes(client: AmbryClient, dataset: str, what: str = MODEL) -> None:
    """Delete them; fine where there are none."""
    client.delete(_place(dataset, what))


def _place(dataset: str, what: str) -> NameRef:
    return NameRef(f"{dataset}.notes/{what}.json")


def _read(client: AmbryClient, place: NameRef) -> tuple[ModelNotes, str | None]:
    """With their ETag; None where there are none."""
    try:
        with client.get(place) as reader:
            if reader.remaining > NOTES_SIZE_MAX:
                raise DataCorrupt(f"{place.name} has {reader.remaining} bytes; notes have at most {NOTES_SIZE_MAX}")
            return ModelNotes.parse(reader.read()), reader.info.etag
    except BlobNotFound:
        return ModelNotes(), None
