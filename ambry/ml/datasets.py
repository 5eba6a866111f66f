"""Datasets that parts of this library write to: made where there are none, and of the schema that the part needs."""

from __future__ import annotations

from contextlib import suppress

from ambry.client.datasets import DatasetInfo
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, InvalidRequest
from ambry.ml.places import dataset_text, in_dataset
from ambry.rest.versions import VersionSchema, parse

KIND_TAG = "kind"
"""The tag of a dataset that says what its versions are: model, snapshot, features, ..."""


def dataset_there(client: AmbryClient, dataset: str) -> DatasetInfo | None:
    """What holds for a dataset that versions are published to; None where there is none yet.

    Raises InvalidRequest for a name that none can have, AccessDenied.
    """
    with suppress(BlobNotFound):
        return client.dataset(dataset_text(in_dataset(dataset)))
    return None


def dataset_for(client: AmbryClient, dataset: str, schema: str, kind: str) -> DatasetInfo:
    """The dataset, of whatever schema it is; made with `schema`, and the tag of a `kind`, where there is none."""
    try:
        return client.dataset(dataset)
    except BlobNotFound:
        try:
            return client.create_dataset(dataset, schema, tags={KIND_TAG: kind})
        except AlreadyExists:
            # Somebody else made it in this moment.
            return client.dataset(dataset)


def check_schema(found: DatasetInfo, schema: str, what: str) -> None:
    """Raises InvalidRequest where the versions of a dataset are not of the schema that `what` (definitions, ...) take."""
    if found.schema != schema:
        raise InvalidRequest(
            f"the versions of {found.name!r} are {found.schema}; {what} take a dataset whose versions are {schema}"
        )


def check_version_for(schema: str, version: str) -> None:
    """Raises InvalidRequest for what a put to a dataset of a schema takes for no version, before anything is stored for it.

    What a schema of a later release takes, the store alone says.
    """
    known = VersionSchema.__members__.get(schema)
    if known is None:
        return
    try:
        parse(known, version)
    except InvalidRequest:
        tokens = ", ".join(token.value for token in known.tokens)
        raise InvalidRequest(
            f"{version[:40]!r} is no version of a dataset of the schema {schema}: it is {known.shape}, or {tokens}"
        ) from None
