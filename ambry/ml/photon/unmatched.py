"""What rows leave out of a model, and what of them a model does not know. Nobody refuses either, as in Photon: it is told.

Counted as requests are scored (`UnmatchedCounts`; docs/guide/serving.md has the metrics), and of rows that are scored at once
said in sentences.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from ambry.ml.listed import listed
from ambry.ml.photon.examples import INTERCEPT, Examples, Feature, feature_text
from ambry.ml.photon.models import FEATURE_NAMES, PhotonModel


class UnmatchedCounts:
    """Since a model was loaded. Usable by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.names = 0
        """That the model was trained on and a row did not have: of each row as many as it left out."""
        self.terms = 0
        """Of rows, for which no effect had a coefficient."""
        self.entities = 0
        """Of rows, without a model."""

    def add(self, *, names: int = 0, terms: int = 0, entities: int = 0) -> None:
        with self._lock:
            self.names += names
            self.terms += terms
            self.entities += entities


def unknown_terms(asked: Iterable[Feature], known: Collection[Mapping[Feature, float]]) -> int:
    """How many of the features that a row says have a term, and no coefficient in any of these."""
    return sum(bool(feature[1]) and not any(feature in means for means in known) for feature in asked)


def trained_names(configurations: Mapping[str, Mapping[str, Any]], effects: Iterable[str]) -> frozenset[str] | None:
    """Those of all features of a training, also of those whose coefficients are 0; None where its effects do not say."""
    said = [configurations.get(name, {}).get(FEATURE_NAMES) for name in effects]
    if not all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in said):
        return None
    return frozenset(name for each in said if each is not None for name in each)


def unmatched_told(model: PhotonModel, rows: Examples) -> list[str]:
    """A sentence of each kind that there is."""
    return [*_left_out(model, rows), *_unknown(model, rows), *_without_models(model, rows)]


def _left_out(model: PhotonModel, rows: Examples) -> list[str]:
    names = trained_names(model.configurations, model) or frozenset()
    shards = {effect.shard for effect in model.coordinates.values()}
    there = {name for shard in shards for name, _ in rows.shard(shard).index.features}
    missing = sorted(names - there - {INTERCEPT[0]})
    return [f"no row has {listed(missing)}: the model was trained with it, and takes it as 0"] if missing else []


def _unknown(model: PhotonModel, rows: Examples) -> list[str]:
    known: dict[str, set[Feature]] = {}
    for effect in model.coordinates.values():
        known.setdefault(effect.shard, {INTERCEPT}).update(effect.index.features)
    found: set[Feature] = set()
    touched = np.zeros(len(rows), dtype=bool)
    for name, features in known.items():
        shard = rows.shard(name)
        columns = [place for place, feature in enumerate(shard.index.features) if feature not in features]
        found.update(shard.index.features[place] for place in columns)
        touched |= shard.matrix[:, columns].getnnz(axis=1) > 0
    if not touched.any():
        return []
    shown = listed(feature_text(each) for each in sorted(found))
    return [
        f"{touched.sum():,} of {len(rows):,} rows have what the model has no coefficient for, which adds nothing: {shown}"
    ]


def _without_models(model: PhotonModel, rows: Examples) -> list[str]:
    told = []
    for name, effect in model.random.items():
        count = sum(each not in effect.places for each in rows.entities(effect.entity))
        if count:
            of = f"{count:,} of {len(rows):,} rows are of a {effect.entity}"
            told.append(f"{of} without a model in {name}, which adds nothing to them")
    return told
