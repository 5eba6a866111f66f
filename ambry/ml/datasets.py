"""Datasets that parts of this library write to: made where there are none, and of the schema that the part needs."""

from __future__ import annotations

from ambry.client.datasets import DatasetInfo
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, InvalidRequest

KIND_TAG = "kind"
"""The tag of a dataset that says what its versions are: model, snapshot, features, ..."""


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
