"""Where a trained model goes: a version, a directory, or both; what fails of these loses none of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ambry.cli.arguments import ChosenCluster
from ambry.cli.failures import describe
from ambry.cli.output import remark
from ambry.errors import AmbryError, BlobNotFound, InvalidRequest

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.models.publishing import SaidOfModel
    from ambry.ml.photon.models import PhotonModel


def keep_trained(
    cluster: ChosenCluster, model: PhotonModel, name: str | None, said: SaidOfModel, directory: Path | None
) -> dict[str, str]:
    """Publish it where there is a name, and write it where there is a directory; what it is called there.

    Raises what the first of them failed with, after the other was tried, with what became of that.
    """
    steps: dict[str, Callable[[], str]] = {}
    if name is not None:
        dataset = name
        steps["version"] = lambda: _published(cluster, dataset, model, said)
    if directory is not None:
        target = directory
        steps["directory"] = lambda: _written(target, model)
    kept: dict[str, str] = {}
    failed: list[Exception] = []
    for what, keep in steps.items():
        try:
            kept[what] = keep()
        except Exception as error:
            failed.append(error)
    if failed:
        first, *others = failed
        for each in others:
            first.add_note(describe(each))
        for what, where in kept.items():
            first.add_note(f"the model is kept as the {what} {where}")
        raise first
    return kept


def _written(directory: Path, model: PhotonModel) -> str:
    from ambry.ml.photon.layout import write_model

    write_model(directory, model)
    return str(directory)


def _published(cluster: ChosenCluster, name: str, model: PhotonModel, said: SaidOfModel) -> str:
    from ambry.ml import models

    with cluster.connect() as client:
        made = models.publish(client, name, model, **said)
        for place in _gone(client, made.manifest.snapshot, made.manifest.parent, made.manifest.definitions):
            remark(f"{place} is gone since the training began; version {made.version} says that it was made from it")
        return str(made)


def _gone(client: AmbryClient, *places: str) -> Iterator[str]:
    from ambry.ml.models.publishing import is_elsewhere
    from ambry.ml.places import version_of

    for place in places:
        if place and not is_elsewhere(place):
            try:
                client.head(version_of(place))
            except BlobNotFound:
                yield place
            except AmbryError:
                continue  # It is published, whether this can be told or not.


def kept_at(place: str) -> PhotonModel | None:
    """The model of a directory here, if there is one; its name hides a published model's.

    Raises InvalidRequest for one that is no model, DataCorrupt.
    """
    from ambry.ml.photon.layout import directory_at, read_model

    if (directory := directory_at(place)) is None:
        return None
    try:
        return read_model(directory)
    except InvalidRequest as error:
        if directory.name != place:
            raise
        raise InvalidRequest(f"{error}; a published model of that name is {place}@LATEST") from error
