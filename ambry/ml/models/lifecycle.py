"""Which version serves: aliases that move and move back, and what a version was made from.

Deployment is an alias (`champion`) of the dataset, moved only from where its mover saw it, each move kept with who and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ambry.client.datasets import AliasInfo
from ambry.client.refs import LATEST, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ml.digests import located
from ambry.ml.models.histories import CHAMPION
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.places import Place, dataset_of, dataset_text, in_dataset, shown_version, version_of
from ambry.ml.watching import VersionWatch

LINEAGE_MAX = 100
"""Parents of parents that are looked up."""
POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageStep:
    """A model, and what it was made from. `model` is None where that version is not there any more."""

    version: str
    model: StoredModel | None


def promote(
    client: AmbryClient,
    place: Place,
    alias: str = CHAMPION,
    *,
    newest: bool = False,
    expected: str | None = "AS_IT_IS",
    who: str = "",
    why: str = "",
) -> AliasInfo:
    """Let an alias point to a model; where it points there already, that move is given and no other one made.

    `place` names a version, an alias or a digest, or with `newest` none of them: nothing is promoted that nobody chose. Raises
    InvalidRequest, BlobNotFound, UpdateConflict where the alias moved meanwhile.
    """
    check_chosen(place, newest)
    model = open_model(client, place)
    if expected in ("AS_IT_IS", model.version):
        now = alias_of(client, dataset_text(model.place), alias)
        if now is not None and now.version == model.version:
            return now
    return client.set_alias(dataset_text(model.place), alias, model.version, expected=expected, who=who, why=why)


def check_chosen(place: Place, newest: bool) -> None:
    """Raises InvalidRequest where what is to be promoted names no version, or names one and is to be the newest."""
    said = version_of(place)
    if newest and said.version != LATEST:
        raise InvalidRequest(f"{shown_version(said)} names a version already; leave out newest=True")
    if not newest and said.version == LATEST:
        name = dataset_text(said)
        raise InvalidRequest(f"{name} names no version to promote; write {name}@1.2.0, or say newest=True")


def alias_of(client: AmbryClient, dataset: str, alias: str) -> AliasInfo | None:
    """Where an alias points, and who moved it there; None where there is none."""
    with suppress(BlobNotFound):
        return client.alias(dataset, alias)
    return None


def roll_back(client: AmbryClient, place: Place, alias: str = CHAMPION, *, who: str = "", why: str = "") -> AliasInfo:
    """Let an alias point to the version before, as `AmbryClient.roll_back_alias`.

    `NAME@ALIAS` is that alias. A version or a digest, or what was published or opened, is what is taken back: where the alias
    does not point to it, nothing is changed (UpdateConflict). Raises InvalidRequest where there is no version before.
    """
    said = located(client, place)
    dataset = dataset_text(said)
    if said.version.startswith("@"):
        return client.roll_back_alias(dataset, said.version[1:], who=who, why=why)
    if said.version == LATEST:
        return client.roll_back_alias(dataset, alias, who=who, why=why)
    return client.roll_back_alias(dataset, alias, expected=said.version, who=who, why=why)


def lineage(client: AmbryClient, place: Place) -> Iterator[LineageStep]:
    """A model, its parent, and so on. Raises BlobNotFound for the first; a parent that is gone ends the line and says so."""
    model = open_model(client, place)
    for _ in range(LINEAGE_MAX):
        yield LineageStep(version=str(model), model=model)
        parent = model.manifest.parent
        if not parent:
            return
        try:
            model = open_model(client, parent)
        except BlobNotFound:
            yield LineageStep(version=parent, model=None)
            return


class ModelWatch(VersionWatch[StoredModel]):
    """A model that follows an alias: `current` is the one that it pointed to when it was last looked at.

    A new model is opened and handed to `prepare` (which loads it, so that nobody waits for the first answer) before it is
    `current`.
    """

    def __init__(
        self,
        client: AmbryClient,
        dataset: Place,
        alias: str = CHAMPION,
        *,
        prepare: Callable[[StoredModel], object] | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        """The empty alias is the newest version. Raises BlobNotFound where it is not there, and what `prepare` raises."""
        place = in_dataset(dataset_of(dataset), f"@{alias}" if alias else LATEST)

        def opened(exact: VersionRef) -> StoredModel:
            model = open_model(client, exact)
            if prepare is not None:
                prepare(model)
            return model

        super().__init__(client, place, opened, poll_s=poll_s, name=f"ambry-watch-{alias or 'newest'}")

    def told_of(self, found: StoredModel) -> dict[str, Any]:
        return {"sha256": found.digest}
