"""Models in memory: each one once, whoever serves it, for as long as somebody does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from ambry.client.refs import LATEST, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.ml.models.inputs import COLUMNS_MAX, INPUTS
from ambry.ml.models.lifecycle import ModelWatch
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.places import dataset_text, version_of
from ambry.ml.serving.drift import InputDrift
from ambry.ml.serving.online import check_online
from ambry.ml.serving.predictors import Predictor, predictor_of


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False, kw_only=True)
class ServedModel:
    """A model that was loaded, and what it has seen."""

    model: StoredModel
    predictor: Predictor
    drift: InputDrift
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.model))

    def column_names(self, count: int) -> tuple[str, ...]:
        """What the columns are called whose drift is known: features, or their numbers where some features are tensors."""
        names = self.predictor.columns.names
        return names[:count] if count == min(len(names), COLUMNS_MAX) else tuple(map(str, range(count)))


class ModelLoader:
    """Loads models, each once at a time; who asks for one that is in memory, or being loaded, gets that one."""

    def __init__(self, *, trust: bool, function: str, loaded: Callable[[str], None]) -> None:
        """`loaded` is told of each."""
        self._trust = trust
        self._function = function
        self._told = loaded
        self._lock = threading.Lock()
        # A turn is there for as long as somebody waits for it or has it.
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._served: WeakValueDictionary[str, ServedModel] = WeakValueDictionary()

    def get(self, model: StoredModel) -> ServedModel:
        """Raises WrongSource for one whose features are not online, and what `predictor_of` raises."""
        name = str(model)
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            if (found := self._served.get(name)) is not None:
                return found
            check_online(model)
            made = ServedModel(
                model=model,
                predictor=predictor_of(model, trust=self._trust, function=self._function),
                drift=InputDrift(model.manifest.params.get(INPUTS)),
            )
            self._served[name] = made
        self._told(name)
        return made


class ServingSlot(Protocol):
    """A place where a model serves."""

    served: ServedModel

    @property
    def error(self) -> Exception | None: ...

    def close(self) -> None: ...


class PinnedModel:
    """A version, which stays. It was opened once, and needs the store no more."""

    error: Exception | None = None

    def __init__(self, client: AmbryClient, place: VersionRef, loader: ModelLoader) -> None:
        self.served = loader.get(open_model(client, place))

    def close(self) -> None:
        """It has no thread."""


class FollowedModel(ModelWatch):
    """The model of an alias, or the newest one; `served` is it, loaded."""

    served: ServedModel

    def __init__(self, client: AmbryClient, place: VersionRef, loader: ModelLoader, *, poll_s: float) -> None:
        def prepare(model: StoredModel) -> None:
            self.served = loader.get(model)

        alias = place.version.removeprefix("@") if place.version != LATEST else ""
        super().__init__(client, dataset_text(place), alias, prepare=prepare, poll_s=poll_s)


def slot_of(client: AmbryClient, place: VersionRef | str, loader: ModelLoader, *, poll_s: float) -> ServingSlot:
    """The model at a place, followed where the place can move. Raises what opening and loading raise."""
    place = version_of(place)
    if place.version == LATEST or place.version.startswith("@"):
        return FollowedModel(client, place, loader, poll_s=poll_s)
    return PinnedModel(client, place, loader)
