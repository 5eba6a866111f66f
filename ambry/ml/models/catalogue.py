"""Which models there are: the datasets of a container whose versions are models, each with its newest version.

A page of a thousand costs one call. A dataset is known by its tag `kind` (datasets.py); one without, which an earlier release
made or somebody else, is a model if its newest version says so, which costs a call more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ambry.client.datasets import DatasetInfo
from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound
from ambry.ids import BlobId
from ambry.ml.datasets import KIND_TAG
from ambry.ml.models.publishing import KIND, KIND_KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model in a list. `place` is its newest version; `id` names the very bytes of its manifest."""

    name: str
    place: VersionRef
    id: BlobId
    modified: datetime

    @property
    def version(self) -> str:
        return self.place.version


def list_models(client: AmbryClient) -> Iterator[ListedModel]:
    """Those of the client's container that have a version, by name. Raises what a list raises."""
    for dataset in client.datasets(newest=True):
        newest = dataset.newest
        if newest is not None and is_model(client, dataset):
            yield ListedModel(name=dataset.name, place=newest.ref, id=newest.id, modified=newest.modified)


def is_model(client: AmbryClient, dataset: DatasetInfo) -> bool:
    """Whether the versions of a dataset are models."""
    told = dataset.tags.get(KIND_TAG)
    if told is not None:
        return told == KIND
    place = VersionRef(dataset.name, account=dataset.account, container=dataset.container)
    try:
        return KIND_KEY in client.head(place).metadata
    except BlobNotFound:
        return False
