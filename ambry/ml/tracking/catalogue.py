"""Models as MLflow sees them: the datasets of a container whose versions are models, looked up when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from ambry.client.datasets import DatasetInfo
from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest, NameNotFound
from ambry.ml.datasets import KIND_TAG
from ambry.ml.models.catalogue import is_model
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.models.publishing import KIND
from ambry.ml.tracking.entities import SeenVersion, model_entity, version_entity
from ambry.ml.tracking.notes import notes_of
from ambry.ml.tracking.numbers import version_at

DATASET_TAGS = {KIND_TAG: KIND}
"""Of a dataset that MLflow made, so that it is a model before it has a version."""


class ModelCatalogue:
    """Those of one container."""

    def __init__(self, account: str, container: str) -> None:
        self.account, self.container = account, container
        self.client = AmbryClient.from_env(account=account, container=container)

    def dataset(self, name: str) -> DatasetInfo:
        """That of a model. Raises BlobNotFound."""
        check_name(name)
        try:
            found = self.client.dataset(name)
        except BlobNotFound:
            raise NameNotFound(f"there is no model {name!r} in {self.account}/{self.container}") from None
        if not self.is_model(found):
            raise NameNotFound(f"the dataset {name!r} has no models in it")
        return found

    def is_there(self, name: str) -> bool:
        """Whether there is a dataset of that name, whatever its versions are."""
        try:
            return self.client.dataset(name).name == name
        except BlobNotFound:
            return False

    def is_model(self, dataset: DatasetInfo) -> bool:
        """Whether MLflow made it as one, or its newest version is one."""
        return is_model(self.client, dataset)

    def place(self, name: str, version: Any) -> VersionRef:
        """A version of a model, by its number or its text. Raises BlobNotFound, InvalidRequest."""
        return VersionRef(name, version_at(version, self.dataset(name).schema))

    def at(self, name: str, version: Any) -> StoredModel:
        """Raises BlobNotFound."""
        return open_model(self.client, self.place(name, version))

    def aliases(self, name: str) -> dict[str, list[str]]:
        """By version."""
        found: dict[str, list[str]] = {}
        for each in self.client.aliases(name):
            found.setdefault(each.version or "", []).append(each.alias)
        return found

    def model(self, dataset: DatasetInfo) -> Any:
        """A model, as MLflow shows it."""
        entries = self.client.versions(dataset.name).all()
        newest = None
        if entries:
            last = entries[-1]
            newest = self.entity(open_model(self.client, last.ref), last.modified, self.aliases(dataset.name))
        return model_entity(
            dataset,
            notes_of(self.client, dataset.name),
            self.client.aliases(dataset.name),
            newest,
            entries[0].modified if entries else None,
        )

    def version(self, place: VersionRef) -> Any:
        """A version, as MLflow shows it. Raises BlobNotFound."""
        model = open_model(self.client, place)
        listed = (each.modified for each in self.client.versions(place.dataset) if each.version == model.version)
        return self.entity(model, next(listed, None), self.aliases(place.dataset))

    def entity(self, model: StoredModel, created: datetime | None, aliases: dict[str, list[str]]) -> Any:
        """The same of one that is open; `aliases` by version."""
        notes = notes_of(self.client, model.place.dataset, model.version)
        seen = SeenVersion(model=model, created=created, notes=notes, aliases=tuple(aliases.get(model.version, ())))
        return version_entity(seen, self.account, self.container)

    def candidates(self, wanted: str | None) -> Iterator[DatasetInfo]:
        """All models that MLflow can name, or the one that is wanted, if it is there."""
        try:
            named: Iterable[DatasetInfo] = self.client.datasets() if wanted is None else [self.client.dataset(wanted)]
            yield from (each for each in named if is_name(each.name) and self.is_model(each))
        except BlobNotFound:
            return


def is_name(name: str) -> bool:
    """Whether models:/ can say it."""
    return not any(sign in name for sign in "/:")


def check_name(name: str) -> None:
    """Raises InvalidRequest."""
    if not name or not is_name(name):
        raise InvalidRequest(f"{name!r} is no name that MLflow has for a model; take one without / and :")
