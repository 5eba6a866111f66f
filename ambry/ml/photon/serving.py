"""Scores out of a published model: of a random effect the record of the entity, by one range of a blob or from the cache.

Opened, a model costs its manifest, its fixed effects and the indexes of its entities (32 bytes each), which stay in the cache.
An entity without a model adds nothing, as in Photon.

    with AmbryClient.from_env() as client:
        scorer = photon.open_scorer(client, "jobs@champion")
        scorer.score({"memberId": "42"}, {("title", "engineer"): 1.0})
        scorer.fetch()                      # from now on nothing is asked for
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, DataCorrupt, InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.listed import listed
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.photon.entities import EntityIndex, EntityPlace, intact
from ambry.ml.photon.examples import INTERCEPT, Feature, check_intercept
from ambry.ml.photon.layout import (
    COEFFICIENTS,
    ID_INFO,
    INDEX,
    METADATA,
    MODEL_SCHEMA,
    coefficients_of,
    read_id_info,
    read_metadata,
    read_records,
)
from ambry.ml.photon.metadata import FIXED, RANDOM, configurations_of
from ambry.ml.photon.models import Task, fixed_text, no_effect, no_entity, random_text, said_entity
from ambry.ml.photon.unmatched import UnmatchedCounts, trained_names, unknown_terms

KIND = "photon"
RECORD_BYTES_MAX = 64 << 20


def open_scorer(client: AmbryClient, place: VersionRef | str, *, digest: str | None = None) -> PhotonScorer:
    """A model by its version, alias, or the newest. Raises BlobNotFound, InvalidRequest for one of another kind."""
    return PhotonScorer(open_model(client, place, digest=digest))


class PhotonScorer:
    """A published model that is asked for scores. Usable by threads.

    What the cache of this machine has of it is read once more when it is opened or mapped, and fetched again if it changed.
    """

    def __init__(self, model: StoredModel) -> None:
        """Raises InvalidRequest for a model of another kind or without indexes, DataCorrupt."""
        if model.manifest.kind != KIND:
            raise InvalidRequest(f"{model} is {model.manifest.kind}, and no model of Photon's")
        self.model = model
        paths = [part.path for part in model.manifest.parts]
        said, task = read_metadata(model.path(METADATA, verify=True)) if METADATA in paths else ({}, None)
        if task is None:
            raise InvalidRequest(
                f"{model} does not say its task; publish what photon.read_model gives of its directory"
            )
        self.task: Task = task
        effects = sorted({tuple(path.split("/")[:2]) for path in paths if path.count("/") >= 2})
        self._fixed = [_Fixed(model, name) for kind, name in effects if kind == FIXED]
        self._random = {name: _Random(model, name, paths) for kind, name in effects if kind == RANDOM}
        self.names = trained_names(configurations_of(said), [*(each.name for each in self._fixed), *self._random])
        """Of all features of its training, also of those whose coefficients are 0; None where its effects do not say."""

    def check_names(self, names: Iterable[str]) -> None:
        """Raises InvalidRequest for one that the model was not trained on, where that is known."""
        if self.names is None:
            return
        unknown = next((name for name in names if name not in self.names and name != INTERCEPT[0]), None)
        if unknown is not None:
            near = get_close_matches(unknown, self.names, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"it has {listed(sorted(self.names))}"
            raise InvalidRequest(f"{self.model} has no feature {unknown[:100]!r}; {meant}")

    @property
    def entity_kinds(self) -> tuple[str, ...]:
        """The ids that a score is asked for with."""
        return tuple(dict.fromkeys(each.entity for each in self._random.values()))

    @property
    def features(self) -> frozenset[Feature]:
        """Those that fixed effects have coefficients of, without intercepts."""
        return frozenset(feature for each in self._fixed for feature in each.means) - {INTERCEPT}

    @property
    def effects(self) -> dict[str, int]:
        """How many models each random effect has, by its name."""
        return {name: len(each.index) for name, each in self._random.items()}

    def fetch(self) -> PhotonScorer:
        """Bring all parts into the cache and map them: whoever is scored from now on costs no request."""
        for each in self._random.values():
            each.fetch()
        return self

    @property
    def described(self) -> dict[str, str]:
        """What each effect is, by its name."""
        return {
            **{each.name: fixed_text(len(each.means), each.shard) for each in self._fixed},
            **{name: random_text(len(each.index), each.entity, each.shard) for name, each in self._random.items()},
        }

    def coefficients(self, effect: str, entity: str | int | None = None) -> dict[Feature, float]:
        """Of a fixed effect, or of an entity. Raises InvalidRequest for one without a model."""
        fixed = next((each for each in self._fixed if each.name == effect), None)
        if fixed is not None:
            return dict(fixed.means)
        random = self._random.get(effect)
        if random is None:
            raise no_effect(str(self.model), effect, [*(each.name for each in self._fixed), *self._random])
        wanted = said_entity(effect, random.entity, entity)
        found = random.means(wanted)
        if found is None:
            raise no_entity(random.entity, wanted, len(random.index))
        return found

    def score(
        self,
        ids: Mapping[str, str | int],
        features: Mapping[Feature, float],
        *,
        by_shard: Mapping[str, Mapping[Feature, float]] | None = None,
        offset: float = 0.0,
    ) -> float:
        """The sum over all effects. `ids` are who is scored, by kind; `features` those of every shard that `by_shard` has not.

        The intercept is 1 where it is not among the features, or 0 there. A feature that is not said is 0, as in Photon, and a
        term that the model does not know adds nothing. Raises InvalidRequest where an id is missing, for an intercept that is
        something else, and for a key that is no name and term or has a name that the model was not trained on.
        """
        shards = by_shard or {}
        for told in (features, *shards.values()):
            _check_keys(told)
            self.check_names(name for name, _ in told)
        return self.sum_of(ids, features, shards, offset)

    def sum_of(
        self,
        ids: Mapping[str, str | int],
        features: Mapping[Feature, float],
        shards: Mapping[str, Mapping[Feature, float]],
        offset: float,
        unmatched: UnmatchedCounts | None = None,
    ) -> float:
        """As `score`, of features whose names were looked at before: of many rows with the same ones, once.

        Terms and entities that the model does not know are counted by `unmatched`.
        """
        for said in (features, *shards.values()):
            check_intercept(said.get(INTERCEPT, 0.0), "a row")
        total, used, strangers = offset, [], 0
        for fixed in self._fixed:
            total += _product(fixed.means, shards.get(fixed.shard, features))
            used.append(fixed.means)
        for random in self._random.values():
            entity = ids.get(random.entity)
            if entity is None:
                raise InvalidRequest(
                    f"{self.model} scores by {listed(self.entity_kinds)}, and no {random.entity} is said"
                )
            means = random.means(str(entity))
            if means is None:
                strangers += 1
                continue
            total += _product(means, shards.get(random.shard, features))
            used.append(means)
        if unmatched is not None:
            terms = unknown_terms({feature for said in (features, *shards.values()) for feature in said}, used)
            unmatched.add(terms=terms, entities=strangers)
        return total

    def predict(self, ids: Mapping[str, str | int], features: Mapping[Feature, float], **options: Any) -> float:
        """The mean of the response, as `score`."""
        return float(self.task.mean(self.score(ids, features, **options)))


class _Fixed:
    def __init__(self, model: StoredModel, name: str) -> None:
        base = f"{FIXED}/{name}"
        self.name = name
        [self.shard] = read_id_info(model.path(f"{base}/{ID_INFO}", verify=True), 1)
        parts = [part.path for part in model.manifest.parts if part.path.startswith(f"{base}/{COEFFICIENTS}/")]
        records = [record for part in parts for record in read_records(model.path(part, verify=True))]
        if len(records) != 1:
            raise InvalidRequest(f"{model}: the fixed effect {name!r} has {len(records)} models, and is one")
        self.means = records[0][1]


class _Random:
    def __init__(self, model: StoredModel, name: str, paths: list[str]) -> None:
        self._model, self._base = model, f"{RANDOM}/{name}"
        self.entity, self.shard = read_id_info(model.path(f"{self._base}/{ID_INFO}", verify=True), 2)
        if f"{self._base}/{INDEX}" not in paths:
            raise InvalidRequest(
                f"{model} has no index of the entities of {name!r}; publish what photon.read_model gives of its directory"
            )
        self.index = EntityIndex(model.path(f"{self._base}/{INDEX}", verify=True))
        self._parts = {part: model.manifest.part(f"{self._base}/{part}") for part in self.index.parts}
        self._refs = {name: model.ref(part) for name, part in self._parts.items()}
        self._maps: dict[str, mmap.mmap] = {}
        fastavro = needed("fastavro")
        self._schema, self._decode = fastavro.parse_schema(MODEL_SCHEMA), fastavro.schemaless_reader

    def fetch(self) -> None:
        self._maps = {
            name: _mapped(self._model.path(part.path, verify=True)) for name, part in self._parts.items() if part.size
        }

    def means(self, entity: str) -> dict[Feature, float] | None:
        """None where it has no model. Raises DataCorrupt."""
        for place in self.index.places(entity):
            record = self._record(place)
            if record["modelId"] == entity:
                return coefficients_of(record)
        return None

    def _record(self, place: EntityPlace) -> Any:
        where = f"{self._model}: bytes {place.offset} and on of {self._base}/{place.part}"
        end = place.offset + place.size
        if place.size > RECORD_BYTES_MAX or end > self._parts[place.part].size:
            raise DataCorrupt(f"{where} are said to be {place.size}, which the part has not; publish the model again")
        mapped = self._maps.get(place.part)
        data = b"" if mapped is None else mapped[place.offset : end]
        if not intact(data, place.check):
            # Not fetched, or changed on this machine since it was mapped.
            data = self._model.client.get_bytes(self._refs[place.part], range=(place.offset, end))
            if not intact(data, place.check):
                raise DataCorrupt(
                    f"{where} are not what the index says; do not use this version, publish the model again"
                )
        try:
            return self._decode(io.BytesIO(data), self._schema, None)
        except (AmbryError, MemoryError):
            raise
        except Exception as error:
            # Of whatever kind: what reads it is not ours.
            raise DataCorrupt(f"{where} are no model of Photon's: {type(error).__name__}: {error}") from error


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _check_keys(features: Mapping[Feature, float]) -> None:
    """Raises InvalidRequest."""
    for key in features:
        if not (isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str) and isinstance(key[1], str)):
            meant = f"; say ({key!r}, '')" if isinstance(key, str) else ""
            raise InvalidRequest(f"a feature is a pair of texts, its name and its term, and not {key!r}{meant}")


def _product(means: Mapping[Feature, float], features: Mapping[Feature, float]) -> float:
    total = 0.0 if features.get(INTERCEPT) else means.get(INTERCEPT, 0.0)
    for feature, value in features.items():
        mean = means.get(feature)
        if mean is not None:
            total += mean * value
    return total
