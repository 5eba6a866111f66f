"""Datasets that parts of this library write to: made where there are none, and of the schema that the part needs."""

from __future__ import annotations

from contextlib import suppress

from ambry.client.datasets import DatasetInfo
from ambry.client.sync.client import AmbryClient
from ambry.errors import AccessDenied, AlreadyExists, BlobNotFound, InvalidRequest
from ambry.ml.places import dataset_text, in_dataset
from ambry.rest.versions import VersionSchema, parse

KIND_TAG = "kind"
"""The tag of a dataset that says what its versions are: model, snapshot, features, ..."""


KINDS = frozenset(("model", "snapshot", "features", "relations", "parquet", "experiment"))
"""Those that this library makes; a tag may say others, which are whoever's set it."""


def dataset_there(client: AmbryClient, dataset: str, kind: str) -> DatasetInfo | None:
    """What holds for a dataset that versions of a `kind` are published to; None where there is none yet.

    Raises InvalidRequest for a name that none can have, and for a dataset of another kind, AccessDenied.
    """
    try:
        found = client.dataset(dataset_text(in_dataset(dataset)))
    except BlobNotFound:
        return None
    _check_kind(found, kind)
    return found


def dataset_for(client: AmbryClient, dataset: str, schema: str, kind: str) -> DatasetInfo:
    """The dataset, of whatever schema it is; made with `schema`, and the tag of a `kind`, where there is none.

    Raises InvalidRequest for one of another kind.
    """
    if (found := dataset_there(client, dataset, kind)) is not None:
        return found
    try:
        return client.create_dataset(dataset, schema, tags={KIND_TAG: kind})
    except AlreadyExists:
        # Somebody else made it in this moment.
        found = client.dataset(dataset)
    _check_kind(found, kind)
    return found


def check_plain(client: AmbryClient, dataset: str) -> None:
    """Raises InvalidRequest for a dataset whose versions this library writes and reads: any file would be its newest one."""
    with suppress(BlobNotFound, AccessDenied):  # Who may only write is told by the put what it may not.
        found = client.dataset(dataset)
        if (kind := found.tags.get(KIND_TAG)) in KINDS:
            raise InvalidRequest(
                f"the versions of {found.name!r} are of the kind {kind}, and a file would be taken for the newest of them; "
                f"name another dataset, or let the tag {KIND_TAG!r} of this one say something else"
            )


def _check_kind(found: DatasetInfo, kind: str) -> None:
    """Raises InvalidRequest: what is written would be the newest version, and none for whoever reads the others."""
    told = found.tags.get(KIND_TAG)
    if told in KINDS and told != kind:
        raise InvalidRequest(
            f"the versions of {found.name!r} are of the kind {told}, and this one would be of the kind {kind}; name another "
            "dataset"
        )


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
